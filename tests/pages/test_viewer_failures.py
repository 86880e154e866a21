"""<cam-viewer> when the service fails, and what it offers while nothing is on show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.pages.conftest import until
from tests.pages.viewing import CELL, POST, Held, drawn, experiment_of, insert, requests_of, show

pytestmark = pytest.mark.system

OTHER = "crops_gt_crops/crops/test/ring/cell_001.jpg"
ENHANCED = "**/image?enhanced=true"
_DOWNLOADS = ("Download the picture", "Download the panel", "Download the maps", "Copy the link")


def _refusing(status: int, code: str, heading: str, **headers: str) -> Callable[[Route], None]:
    body = json.dumps({"code": code, "title": heading, "detail": "Nothing can be done."})

    def refuse(route: Route) -> None:
        kind = "application/problem+json"
        route.fulfill(status=status, content_type=kind, body=body, headers=headers)

    return refuse


BUSY = _refusing(503, "queue-full", "Too busy")
BROKEN = _refusing(500, "internal-error", "Something broke")  # not tried again by itself


@pytest.fixture
def bare(open_page: Callable[..., Any]) -> Iterator[Page]:
    """A page to put a viewer on, whose clock can be put forward."""
    expected = ("503", "500", "404", "ERR_INTERNET_DISCONNECTED")
    with open_page("/docs", expected=expected) as page:
        page.clock.install()
        yield page


@pytest.fixture
def view(bare: Page, lifecycle: Path) -> Page:
    """A page with a viewer on a bundled image."""
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    bare.wait_for_load_state("networkidle")
    return bare


def _errors(page: Page) -> list[dict[str, Any]]:
    return [detail["problem"] for said, detail in page.evaluate("heard") if said == "error"]


def _notice(page: Page) -> Locator:
    return page.locator("cam-viewer .message")


def _posts(asked: list[str]) -> int:
    return asked.count("POST /v1/explanations")


def test_a_change_that_fails_keeps_what_is_on_show(view: Page) -> None:
    before, facts = drawn(view), view.evaluate("viewer.facts")
    view.route(POST, BROKEN)
    view.get_by_label("Method").select_option("xgradcam")
    expect(_notice(view)).to_contain_text("Something broke")
    expect(_notice(view)).to_contain_text("Still shown: Grad-CAM++, schizont")
    expect(_notice(view).get_by_role("button", name="Try again")).to_be_visible()
    np.testing.assert_array_equal(drawn(view), before)
    expect(view.get_by_role("img")).to_be_visible()
    assert view.evaluate("viewer.facts") == facts
    assert view.get_by_label("Method").input_value() == ""
    assert [error["code"] for error in _errors(view)] == ["internal-error"]
    assert [detail["kept"] for said, detail in view.evaluate("heard") if said == "error"] == [True]
    for name in _DOWNLOADS:
        expect(view.get_by_role("button", name=name)).to_be_enabled()
    view.unroute(POST)
    _notice(view).get_by_role("button", name="Try again").click()
    view.wait_for_function("() => viewer.facts.options.method === 'xgradcam'")
    expect(_notice(view)).to_be_hidden()
    assert view.get_by_label("Method").input_value() == "xgradcam"


def test_going_back_to_what_is_on_show_ends_it(view: Page) -> None:
    asked = requests_of(view)
    view.route(POST, BUSY)
    view.get_by_label("Class explained").select_option("ring")
    expect(_notice(view)).to_contain_text("Too busy")
    assert view.get_by_label("Class explained").input_value() == ""
    view.evaluate("viewer.removeAttribute('target')")
    expect(_notice(view)).to_be_hidden()
    view.clock.fast_forward(120_000)
    assert _posts(asked) == 1


def test_choosing_it_once_more_is_another_try(view: Page) -> None:
    view.route(POST, BUSY)
    view.get_by_label("Method").select_option("hirescam")
    expect(_notice(view)).to_contain_text("Too busy")
    view.unroute(POST)
    view.get_by_label("Method").select_option("hirescam")
    view.wait_for_function("() => viewer.facts.options.method === 'hirescam'")


def test_a_page_that_finds_the_service_again_has_viewers_try_at_once(view: Page) -> None:
    view.route(POST, lambda route: route.abort("internetdisconnected"))
    view.clock.pause_at(view.evaluate("Date.now() + 1000"))
    view.get_by_label("Method").select_option("hirescam")
    expect(_notice(view)).to_contain_text("Still shown: Grad-CAM++, schizont")
    view.unroute(POST)
    asked = requests_of(view)
    said = "window.dispatchEvent(new CustomEvent('gradcam-away', { detail: %s }))"
    view.evaluate(said % "true")
    assert _posts(asked) == 0
    view.evaluate(said % "false")
    until(view, "viewer.facts.options.method === 'hirescam'")
    assert _posts(asked) == 1


def _watch_pauses(page: Page) -> None:
    """Keep what timers of a second and more are set to, in milliseconds, in `pauses`."""
    page.evaluate(
        "() => { window.pauses = []; const { setTimeout } = window;"
        " window.setTimeout = (call, after, ...rest) => {"
        " if (after >= 1000) window.pauses.push(after);"
        " return setTimeout(call, after, ...rest); }; }"
    )


def test_it_tries_again_by_itself_after_growing_pauses(view: Page) -> None:
    asked = requests_of(view)
    view.route(POST, BUSY)
    _watch_pauses(view)
    view.evaluate("viewer.setAttribute('method', 'layercam')")
    expect(_notice(view)).to_contain_text("tried again by itself")
    seconds = [2, 4, 8, 16, 30, 30]
    for number, pause in enumerate(seconds, start=1):
        until(view, f"window.pauses.length === {number}")
        assert _posts(asked) == number
        view.clock.fast_forward(1000 * pause + 1)
    until(view, f"window.pauses.length === {len(seconds) + 1}")
    assert view.evaluate("window.pauses") == [1000 * wait for wait in [*seconds, 30]]
    assert len(_errors(view)) == 1
    view.unroute(POST)
    view.clock.fast_forward(31_000)
    view.wait_for_function("() => viewer.facts.options.method === 'layercam'")
    expect(_notice(view)).to_be_hidden()


def test_it_waits_as_long_as_the_service_says(view: Page) -> None:
    view.route(POST, _refusing(503, "queue-full", "Too busy", **{"Retry-After": "7"}))
    _watch_pauses(view)
    view.evaluate("viewer.setAttribute('method', 'layercam')")
    expect(_notice(view)).to_contain_text("Too busy")
    assert view.evaluate("window.pauses") == [7000]


def test_a_fault_within_is_not_tried_again_by_itself(view: Page) -> None:
    asked = requests_of(view)
    view.route(POST, BROKEN)
    view.evaluate("viewer.setAttribute('method', 'layercam')")
    expect(_notice(view)).to_contain_text("Still shown")
    view.clock.fast_forward(120_000)
    assert _posts(asked) == 1
    assert view.evaluate("viewer.facts !== null")


def test_back_online_it_goes_on_at_once(view: Page) -> None:
    view.context.set_offline(True)
    view.evaluate("viewer.setAttribute('method', 'gradcam')")
    expect(_notice(view)).to_contain_text("The service cannot be reached")
    assert view.evaluate("viewer.facts.options.method") is None
    view.context.set_offline(False)
    view.wait_for_function("() => viewer.facts.options.method === 'gradcam'")


def test_what_is_wrong_with_the_request_takes_the_picture_away(view: Page) -> None:
    view.evaluate("viewer.setAttribute('model', 'nobody')")
    expect(_notice(view)).to_contain_text("No such model")
    assert view.evaluate("viewer.facts") is None
    expect(view.get_by_role("img")).to_be_hidden()
    for name in _DOWNLOADS:
        expect(view.get_by_role("button", name=name)).to_be_disabled()


def test_another_image_is_not_shown_as_the_one_before(view: Page) -> None:
    view.route(POST, BROKEN)
    view.evaluate("(image) => viewer.setAttribute('image', image)", OTHER)
    expect(_notice(view)).to_contain_text("Something broke")
    assert view.evaluate("viewer.facts") is None
    expect(view.get_by_role("img")).to_be_hidden()
    view.unroute(POST)
    _notice(view).get_by_role("button", name="Try again").click()
    view.wait_for_function("() => viewer.facts !== null")


def test_an_image_beneath_that_fails_is_asked_for_once_a_pause(bare: Page, lifecycle: Path) -> None:
    bare.route(ENHANCED, BUSY)
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    bare.wait_for_load_state("networkidle")
    before = drawn(bare)
    asked = requests_of(bare)
    bare.get_by_role("button", name="CLAHE", exact=True).click()
    expect(_notice(bare)).to_contain_text("Still shown: the image before CLAHE")
    for opacity in ("0.1", "0.2", "0.6"):
        bare.evaluate("(value) => viewer.setAttribute('opacity', value)", opacity)
        np.testing.assert_array_equal(drawn(bare).shape, before.shape)
    np.testing.assert_array_equal(drawn(bare), before)
    assert len(asked) == 1
    pressed = bare.get_by_role("button", name="Original", exact=True)
    assert pressed.get_attribute("aria-pressed") == "true"
    bare.unroute(ENHANCED)
    bare.clock.fast_forward(2100)
    expect(_notice(bare)).to_be_hidden()
    until(bare, "viewer.shadowRoot.querySelector('[value=enhanced]').ariaPressed === 'true'")
    assert np.abs(drawn(bare) - before).max() > 0


def test_the_image_that_is_there_ends_the_waiting_for_the_other(
    bare: Page, lifecycle: Path
) -> None:
    bare.route(ENHANCED, BUSY)
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    bare.wait_for_load_state("networkidle")
    bare.get_by_role("button", name="CLAHE", exact=True).click()
    expect(_notice(bare)).to_contain_text("Still shown")
    bare.get_by_role("button", name="Original", exact=True).click()
    expect(_notice(bare)).to_be_hidden()


def test_nothing_is_offered_that_there_is_not(bare: Page, lifecycle: Path) -> None:
    def enabled() -> list[bool]:
        states: list[bool] = bare.evaluate(
            "[...viewer.shadowRoot.querySelectorAll('[aria-label=\"Downloads and help\"] button')]"
            ".map((one) => !one.disabled)"
        )
        return states

    insert(bare)
    nothing = [False, False, False, False, True]  # the help is there
    assert enabled() == nothing
    held = Held(bare)
    attributes = {"experiment": experiment_of(lifecycle), "image": CELL}
    insert(bare, **attributes)
    until(bare, "viewer.shadowRoot.querySelector('.stage').dataset.state === 'loading'")
    assert enabled() == nothing
    held.let_go()
    bare.wait_for_function("() => viewer.facts !== null")
    assert enabled() == [True] * 5
    bare.evaluate("viewer.removeAttribute('image')")
    expect(_notice(bare)).to_contain_text("No image yet")
    assert enabled() == nothing
    assert bare.evaluate("viewer.toBlob()") is None


def test_sliders_only_redraw(view: Page) -> None:
    view.evaluate("() => { viewer.setAttribute('grid', 'on'); viewer.draw(); }")
    view.evaluate(
        "() => { window.rebuilt = []; const root = viewer.shadowRoot;"
        " const watch = new MutationObserver((all) => window.rebuilt.push("
        "   ...all.filter(({ addedNodes }) => addedNodes.length > 0)"
        "     .map(({ target }) => target.className.baseVal ?? target.className)));"
        " for (const one of root.querySelectorAll('.caption, .classes, svg, .stage, select'))"
        "   watch.observe(one, { childList: true, subtree: true }); window.heard.length = 0; }"
    )
    asked = requests_of(view)
    for number in range(1, 21):
        for name in ("Opacity", "Hide values"):
            view.get_by_role("slider", name=name).fill(str(number / 25))
    view.evaluate("viewer.draw()")
    changes = [detail["state"] for said, detail in view.evaluate("heard") if said == "change"]
    assert len(changes) == 40
    assert changes[-1] == {"grid": "on", "opacity": "0.8", "threshold": "0.8"}
    view.wait_for_load_state("networkidle")
    assert (asked, view.evaluate("rebuilt")) == ([], [])

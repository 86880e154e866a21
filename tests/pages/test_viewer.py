"""<cam-viewer> in a real browser: what it loads, its keys, pointers and states."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from processes.serving import running
from tests.pages.conftest import opened
from tests.pages.viewing import (
    CELL,
    drawn,
    experiment_of,
    insert,
    noise,
    png_of,
    requests_of,
    settled,
    show,
    upload,
)

_EMPTY = "No positive evidence for this class in this layer."


@pytest.fixture
def bare(open_page: Callable[..., Any]) -> Iterator[Page]:
    """A page to put a viewer on."""
    with open_page("/docs") as page:
        yield page


@pytest.fixture
def view(bare: Page, lifecycle: Path) -> Page:
    """A page with a viewer on a bundled image, in focus."""
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    bare.wait_for_load_state("networkidle")
    bare.evaluate("viewer.focus()")
    return bare


def _state(page: Page) -> dict[str, str]:
    return dict(page.evaluate("viewer.state"))


def _transform(page: Page) -> dict[str, float]:
    return dict(page.evaluate("viewer.transform"))


def _heard(page: Page, name: str) -> list[Any]:
    return [detail for said, detail in page.evaluate("heard") if said == name]


def _middle(page: Page) -> tuple[float, float]:
    box = page.locator("cam-viewer .stage").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_stored_image(view: Page) -> None:
    facts = view.evaluate("viewer.facts")
    assert facts["image"]["name"].endswith(CELL)
    label = view.get_by_role("img").get_attribute("aria-label") or ""
    assert facts["prediction"]["name"] in label
    assert "Layer fused" in label
    assert facts["prediction"]["name"] in view.get_by_role("status").inner_text()
    late = "(({ grid, width, height }) => [grid, width, height])(viewer.maps.layers.late)"
    assert view.evaluate(late) == [[7, 7], 224, 224]
    assert len(_heard(view, "load")) == 1
    classes = view.locator("cam-viewer .classes li")
    expect(classes).to_have_count(len(facts["top_classes"]))


def test_a_file(bare: Page) -> None:
    upload(bare, noise(80, 60), method="layercam")
    assert bare.evaluate("viewer.facts.method") == "layercam"
    assert bare.evaluate("[viewer.maps.width, viewer.maps.height]") == [80, 60]
    expect(bare.get_by_role("button", name="Copy the link")).to_be_disabled()
    assert "image" not in bare.evaluate("Object.fromEntries(viewer.link())")


def test_views_change_without_a_request_and_what_is_computed_with_one(view: Page) -> None:
    asked = requests_of(view)
    for label in ("Early", "Contours", "CLAHE"):
        view.get_by_role("button", name=label, exact=True).click()
    view.get_by_role("slider", name="Opacity").or_(view.get_by_label("Hide values")).last.fill(
        "0.3"
    )
    view.get_by_label("Colours").select_option("viridis")
    view.get_by_label("Native grid").check()
    view.get_by_label("Overlay").uncheck()
    wanted = {"layer": "early", "mode": "contour", "base": "enhanced", "colormap": "viridis"}
    assert _state(view) == wanted | {"grid": "on", "overlay": "off", "threshold": "0.3"}
    assert _heard(view, "change")[-1]["state"] == _state(view)
    view.wait_for_load_state("networkidle")
    assert asked == []
    view.get_by_label("Method").select_option("xgradcam")
    view.wait_for_function("() => viewer.facts.options.method === 'xgradcam'")
    view.get_by_label("Class explained").select_option("ring")
    view.wait_for_function("() => viewer.facts.target.name === 'ring'")
    assert asked.count("POST /v1/explanations") == 2
    assert _state(view)["target"] == "ring"


def test_viewers_of_the_same_image_ask_once(bare: Page, lifecycle: Path) -> None:
    asked = requests_of(bare)
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    bare.evaluate(
        "() => { for (const layer of ['early', 'late']) { const one = viewer.cloneNode();"
        " one.setAttribute('layer', layer); document.body.append(one); } }"
    )
    bare.wait_for_function(
        "() => [...document.querySelectorAll('cam-viewer')].every((one) => one.facts)"
    )
    assert asked.count("POST /v1/explanations") == 1


def test_what_was_answered_to_one_caller_is_not_shown_to_another(
    bare: Page, lifecycle: Path
) -> None:
    """Viewers of one page may have keys of their own."""
    asked = requests_of(bare)
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    for key, requests in (("one", 2), ("another", 3), ("one", 3)):
        bare.evaluate(
            "(key) => { const one = viewer.cloneNode(); one.headers = { 'X-API-Key': key };"
            " document.body.append(one); }",
            key,
        )
        bare.wait_for_function(
            "() => [...document.querySelectorAll('cam-viewer')].every((one) => one.facts)"
        )
        assert asked.count("POST /v1/explanations") == requests


def test_what_was_forgotten_is_asked_for_again(
    open_page: Callable[..., Any], lifecycle: Path
) -> None:
    refused: list[str] = []

    def gone_once(route: Route) -> None:
        if refused:
            return route.continue_()
        refused.append(route.request.url)
        body = json.dumps({"code": "explanation-gone", "title": "Explanation is gone"})
        return route.fulfill(status=410, content_type="application/problem+json", body=body)

    with open_page("/docs", expected=("410",)) as page:
        page.route("**/v1/explanations/*/image?*", gone_once)
        show(page, experiment=experiment_of(lifecycle), image=CELL)
        assert len(refused) == 1
        assert page.evaluate("viewer.facts") is not None


def test_keys(view: Page) -> None:
    for key, layer in zip("1234", ("early", "mid", "late", "fused"), strict=True):
        view.keyboard.press(key)
        assert _state(view)["layer"] == layer
    for key, name, value in (
        ("o", "overlay", "off"),
        ("c", "mode", "contour"),
        ("g", "grid", "on"),
        ("b", "base", "enhanced"),
        ("[", "opacity", "0.5"),
    ):
        view.keyboard.press(key)
        assert _state(view) == {"layer": "fused", name: value}
        view.keyboard.press("]" if key == "[" else key)
        assert _state(view) == {"layer": "fused"}
    view.keyboard.press("ArrowRight")
    view.keyboard.press("ArrowLeft")
    assert _heard(view, "navigate") == [{"step": 1}, {"step": -1}]
    view.keyboard.press("+")
    before = _transform(view)
    view.keyboard.press("Shift+ArrowRight")
    view.keyboard.press("Shift+ArrowUp")
    after = _transform(view)
    assert (before["scale"], after["scale"]) == (1.5, 1.5)
    assert after["x"] > before["x"]
    assert after["y"] < before["y"]
    view.keyboard.press("-")
    assert _transform(view) == {"scale": 1, "x": 0.5, "y": 0.5}
    view.keyboard.press("?")
    expect(view.get_by_role("dialog", name="Keys")).to_be_visible()
    view.keyboard.press("1")
    assert _state(view) == {"layer": "fused"}
    view.keyboard.press("Escape")
    expect(view.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_keys_are_left_to_who_writes_and_to_sliders(view: Page) -> None:
    view.get_by_label("Hide values").focus()
    view.keyboard.press("ArrowRight")
    assert _state(view) == {"threshold": "0.01"}
    assert _heard(view, "navigate") == []
    view.evaluate(
        "() => { viewer.state = {}; const field = document.createElement('input');"
        " document.body.append(field); field.focus(); }"
    )
    view.keyboard.type("1o[")
    view.keyboard.press("ArrowRight")
    assert _state(view) == {}
    assert _heard(view, "navigate") == []


def test_without_focus_keys_go_to_the_viewer_used_last(view: Page) -> None:
    view.evaluate(
        "async () => { const other = viewer.cloneNode(); document.body.append(other);"
        " window.other = other;"
        " await new Promise((done) => other.addEventListener('cam-load', done)); }"
    )
    other = view.locator("cam-viewer").nth(1)
    view.evaluate("viewer.blur(), document.activeElement.blur()")
    view.keyboard.press("1")
    other.get_by_role("button", name="Mid").click()
    view.evaluate("document.activeElement.blur()")
    view.keyboard.press("o")
    assert _state(view) == {"layer": "early"}
    assert view.evaluate("other.state") == {"layer": "mid", "overlay": "off"}


def test_wheel_and_drag(view: Page) -> None:
    x, y = _middle(view)
    view.mouse.move(x + 50, y)
    cursor = _heard(view, "cursor")[-1]["cursor"]
    assert cursor["x"] > 0.5
    view.mouse.wheel(0, -400)
    view.wait_for_function("() => viewer.transform.scale > 2")
    zoomed = _transform(view)
    assert zoomed["x"] > 0.5
    view.mouse.down()
    view.mouse.move(x - 30, y + 20, steps=4)
    view.mouse.up()
    dragged = _transform(view)
    assert dragged["scale"] == zoomed["scale"]
    assert dragged["x"] > zoomed["x"]
    assert dragged["y"] < zoomed["y"]
    assert _heard(view, "transform")[-1]["transform"] == dragged
    view.mouse.move(1, 1)
    assert _heard(view, "cursor")[-1] == {"cursor": None}


def test_pinch(open_page: Callable[..., Any], lifecycle: Path) -> None:
    with open_page("/docs", has_touch=True) as page:
        show(page, experiment=experiment_of(lifecycle), image=CELL)
        x, y = _middle(page)
        touch = page.context.new_cdp_session(page)

        def send(kind: str, *gaps: int) -> None:
            points = [{"x": x + gap, "y": y, "id": i} for i, gap in enumerate(gaps)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        send("touchStart", -20, 20)
        for gap in (30, 40, 60):
            send("touchMove", -gap, gap)
        send("touchEnd")
        page.wait_for_function("() => viewer.transform.scale > 2")


def test_transform_and_cursor_can_be_set(view: Page) -> None:
    view.evaluate("() => { viewer.transform = { scale: 40, x: 0, y: 1 }; }")
    assert _transform(view) == {"scale": 16, "x": 0.03125, "y": 0.96875}
    assert _heard(view, "transform") == []
    view.evaluate("() => { viewer.cursor = { x: 0.25, y: 0.5 }; }")
    assert view.evaluate("viewer.cursor") == {"x": 0.25, "y": 0.5}
    assert view.locator("path.cross").get_attribute("d") == "M56 0V224M0 112H224"
    view.evaluate("() => { viewer.cursor = null; }")
    assert view.locator("path.cross").count() == 0


def test_its_link_opens_the_same_view(view: Page) -> None:
    state = {"layer": "mid", "colormap": "cividis", "threshold": "0.2", "zoom": "2,0.4,0.6"}
    view.evaluate("(state) => { viewer.state = state; }", state)
    view.evaluate("viewer.setAttribute('target', 'ring')")
    view.wait_for_function("() => viewer.facts.target.name === 'ring'")
    settled(view)
    first, link = drawn(view), view.evaluate("Object.fromEntries(viewer.link())")
    show(view, **link)
    assert _state(view) == state | {"target": "ring"}
    assert _transform(view) == {"scale": 2, "x": 0.4, "y": 0.6}
    np.testing.assert_array_equal(drawn(view), first)


def test_a_map_without_evidence_is_called_that(bare: Page, sample_run: Path) -> None:
    (species,) = sample_run.glob("experiments/*_species")
    model = f"{experiment_of(species)}/cls_mobilenetv3_small_050_cb"
    grey = np.full((64, 64, 3), 128, np.uint8)
    upload(bare, png_of(grey), model=model, target="malariae", method="gradcam", layer="late")
    assert bare.evaluate("viewer.facts.layers.find((one) => one.name === 'late').empty")
    expect(bare.get_by_text(_EMPTY)).to_be_visible()
    assert "no positive evidence" in (bare.get_by_role("img").get_attribute("aria-label") or "")
    np.testing.assert_array_equal(drawn(bare), grey)
    bare.evaluate("viewer.setAttribute('layer', 'early')")
    expect(bare.get_by_text(_EMPTY)).to_be_hidden()


def test_what_cannot_be_had_is_said(open_page: Callable[..., Any], lifecycle: Path) -> None:
    with open_page("/docs", expected=("404",)) as page:
        insert(page)
        expect(page.get_by_text("No image yet")).to_be_visible()
        show(page, experiment=experiment_of(lifecycle), image=CELL, model="nobody")
        expect(page.get_by_text("No such model", exact=True)).to_be_visible()
        [said] = _heard(page, "error")
        problem = said["problem"]
        assert (problem["status"], problem["code"]) == (404, "model-not-found")
        assert page.evaluate("viewer.facts") is None
        page.evaluate("viewer.removeAttribute('model')")
        page.wait_for_function("() => viewer.facts !== null")


def test_without_a_connection_it_says_so_and_tries_again(
    open_page: Callable[..., Any], lifecycle: Path
) -> None:
    with open_page("/docs", expected=("ERR_INTERNET_DISCONNECTED",)) as page:
        insert(page)
        page.context.set_offline(True)
        attributes = {"experiment": experiment_of(lifecycle), "image": CELL}
        page.evaluate(
            "(all) => { for (const [name, value] of Object.entries(all))"
            " viewer.setAttribute(name, value); }",
            attributes,
        )
        expect(page.get_by_text("The service cannot be reached", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        page.context.set_offline(False)  # which the browser tells the page of
        page.wait_for_function("() => viewer.facts !== null")
        page.wait_for_load_state("networkidle")
        page.context.set_offline(True)
        page.get_by_role("button", name="panel").click()
        notice = page.get_by_text("No panel: The service cannot be reached")
        expect(notice.locator("visible=true").first).to_be_visible()
        assert page.evaluate("viewer.facts !== null")


@pytest.mark.system
def test_it_loads_once_it_has_a_key(
    browser: Browser, sample_run: Path, lifecycle: Path, tmp_path: Path
) -> None:
    with (
        running(sample_run, tmp_path, api_keys="key-of-the-viewer") as server,
        opened(browser, server.url, ("401",)) as page,
    ):
        page.goto(f"{server.url}/")
        show(page, experiment=experiment_of(lifecycle), image=CELL)
        [said] = _heard(page, "error")
        assert said["problem"]["status"] == 401
        page.evaluate("() => { viewer.headers = { 'X-API-Key': 'key-of-the-viewer' }; }")
        page.wait_for_function("() => viewer.facts !== null")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_for_everybody(open_page: Callable[..., Any], lifecycle: Path, scheme: str) -> None:
    narrow = {"width": 400, "height": 800}
    with open_page("/", color_scheme=scheme, viewport=narrow) as page:
        page.wait_for_load_state("networkidle")
        show(page, experiment=experiment_of(lifecycle), image=CELL)
        assert page.evaluate("document.documentElement.scrollWidth") <= narrow["width"]
        violations = Axe().run(page, "cam-viewer").response["violations"]
        assert [violation["id"] for violation in violations] == []
        page.evaluate("viewer.setAttribute('controls', 'none')")
        expect(page.get_by_role("button", name="Early")).to_be_hidden()
        expect(page.get_by_role("img")).to_be_visible()

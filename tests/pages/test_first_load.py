"""What pages load: what they named beforehand, once, and their own scripts before the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import until
from tests.pages.holding import Holding
from tests.pages.test_experiment import LIFECYCLE
from tests.pages.viewing import CELL

QUERY = f"?experiment={LIFECYCLE}&image={CELL}"
PATHS = ["/", "/experiment", "/compare", "/jobs", f"/embed/viewer{QUERY}"]
VIEWER = r"/viewer/element\.js$"
_NAMED = "[...document.querySelectorAll('link[rel=modulepreload]')].map((one) => one.href)"
_LOADED = """performance.getEntriesByType('resource')
  .filter((one) => one.name.includes('/static/'))
  .map((one) => [one.name, one.transferSize])"""


def loaded(page: Page) -> dict[str, int]:
    """The page's files once it has them all: address -> bytes that came over the network."""
    page.wait_for_load_state("networkidle")
    return dict(page.evaluate(_LOADED))


@pytest.mark.parametrize("path", PATHS)
def test_a_page_loads_the_modules_that_it_names_and_no_others(
    open_page: Callable[..., Any], path: str
) -> None:
    with open_page(path, expected=("503",)) as page:
        scripts = [name for name in loaded(page) if name.endswith(".js")]
        assert sorted(scripts) == sorted(page.evaluate(_NAMED))
        assert len(scripts) > 10


@pytest.mark.parametrize("path", PATHS)
def test_what_is_there_already_is_not_asked_for_again(
    open_page: Callable[..., Any], path: str
) -> None:
    with open_page(path, expected=("503",)) as page:
        first = loaded(page)
        page.goto("/docs")
        page.goto(path)
        again = loaded(page)
        assert again.keys() == first.keys()
        assert [name for name, size in again.items() if size > 0] == []


def test_models_and_samples_do_not_wait_for_the_viewer(page: Page) -> None:
    held = Holding(page, VIEWER)
    page.goto("/", wait_until="commit")
    expect(page.locator("#model")).to_be_enabled()
    ring = page.locator("#samples").get_by_role("button", name="ring")
    ring.click()
    expect(page.locator("#state")).to_contain_text("is shown as soon as")
    held.wait()
    held.let_go()
    until(page, "document.querySelector('#viewer').facts?.image.name.includes('ring')")
    expect(ring).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(("path", "viewer"), [("/", "#viewer"), ("/compare", "#viewer-a")])
def test_a_link_waits_for_the_viewer(page: Page, path: str, viewer: str) -> None:
    element = f"document.querySelector('{viewer}')"
    held = Holding(page, VIEWER)
    page.goto(f"{path}{QUERY}&layer=early", wait_until="commit")
    held.wait()
    page.wait_for_timeout(500)  # for the API's answers, which are to come first
    held.let_go()
    until(page, f"{element}.facts?.image.name.includes('schizont')")
    assert page.evaluate(f"{element}.state.layer") == "early"


def test_a_dialog_that_opens_before_the_viewer_is_there_hands_the_keys_to_it(page: Page) -> None:
    held = Holding(page, VIEWER)
    page.goto(f"/experiment?path={LIFECYCLE}&image={CELL}", wait_until="commit")
    expect(page.locator("#viewing-title")).to_be_visible()
    held.wait()
    held.let_go()
    until(page, "document.querySelector('#viewer').facts != null")
    assert page.evaluate("document.activeElement.id") == "viewer"

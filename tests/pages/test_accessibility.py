"""Every page for everybody: contrast, names, keyboard, narrow screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import grave_violations, until

pytestmark = pytest.mark.system

PAGES = ("/", "/compare", "/experiment", "/jobs")
WITHOUT_JOBS = ("503",)  # the console says so where there is no Redis
_SPECIES = "experiments/experiment_synthetic_species"
_IMAGE = "image=crops_gt_crops/crops/test/vivax/cell_001.jpg"
SAMPLE = f"/?experiment={_SPECIES}&{_IMAGE}"
EXPERIMENT = f"/experiment?path={_SPECIES}"
DIALOG = f"{EXPERIMENT}&{_IMAGE}"
WIDTHS = (400, 1920)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, SAMPLE, EXPERIMENT, DIALOG])
def test_axe_finds_nothing_serious(open_page: Callable[..., Any], path: str, scheme: str) -> None:
    with open_page(path, expected=WITHOUT_JOBS, color_scheme=scheme) as page:
        page.wait_for_load_state("networkidle")
        expect(page.get_by_role("dialog")).to_have_count(int(path == DIALOG))
        assert grave_violations(page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", [*PAGES, SAMPLE, EXPERIMENT, DIALOG])
def test_nothing_scrolls_sideways(open_page: Callable[..., Any], path: str, width: int) -> None:
    with open_page(path, expected=WITHOUT_JOBS, viewport={"width": width, "height": 800}) as page:
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


_FOCUSABLE = """() => {
  const within = (root) => [...root.querySelectorAll('*')].flatMap((one) =>
    one.inert ? [] : [one, ...(one.shadowRoot ? within(one.shadowRoot) : [])]);
  const can = "a[href], button, select, input, [tabindex='0']";
  window.seen = new Set();
  window.wanted = within(document).filter((one) =>
    one.matches(can) && one.checkVisibility() && !one.disabled && !one.closest('[inert]')
    // The Tab key comes to a group's chosen button, arrow keys to the others.
    && !one.matches("input[type='radio']:not(:checked)"));
  return window.wanted.length;
}"""
_NOTE_FOCUS = """() => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  window.seen.add(at);
}"""
_UNREACHED = "window.wanted.filter((one) => !window.seen.has(one)).map((one) => one.outerHTML)"


def unreached(page: Page) -> list[str]:
    """What takes focus but is not come to with the Tab key."""
    for _ in range(page.evaluate(_FOCUSABLE) + 5):
        page.keyboard.press("Tab")
        page.evaluate(_NOTE_FOCUS)
    return list(page.evaluate(_UNREACHED))


@pytest.mark.parametrize("path", PAGES)
def test_the_tab_key_reaches_everything(open_page: Callable[..., Any], path: str) -> None:
    with open_page(path, expected=WITHOUT_JOBS) as page:
        page.wait_for_load_state("networkidle")
        assert unreached(page) == []


def test_an_overlay_is_had_and_changed_by_keyboard_alone(open_page: Callable[..., Any]) -> None:
    with open_page("/") as page:
        page.locator("#samples button").first.wait_for()
        page.evaluate(_FOCUSABLE)
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.closest('#samples') !== null"):
                break
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#viewer').facts != null")
        expect(page.locator("#layers > button")).to_have_count(3)
        for key in ("3", "o", "]"):
            page.keyboard.press(key)
        shown = page.evaluate("document.querySelector('#viewer').state")
        assert shown == {"layer": "late", "overlay": "off", "opacity": "0.7"}
        assert unreached(page) == []

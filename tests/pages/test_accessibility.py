"""Every page for everybody: contrast, names, keyboard, narrow screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.pages.conftest import until

PAGES = ("/", "/compare", "/experiment", "/jobs")
WITHOUT_JOBS = ("503",)  # the console says so where there is no Redis
_SPECIES = "experiments/experiment_synthetic_species"
SAMPLE = f"/?experiment={_SPECIES}&image=crops_gt_crops/crops/test/vivax/cell_001.jpg"
EXPERIMENT = f"/experiment?path={_SPECIES}"
_GRAVE = {"serious", "critical"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, SAMPLE, EXPERIMENT])
def test_axe_finds_nothing_serious(open_page: Callable[..., Any], path: str, scheme: str) -> None:
    with open_page(path, expected=WITHOUT_JOBS, color_scheme=scheme) as page:
        page.wait_for_load_state("networkidle")
        found = Axe().run(page).response["violations"]
        grave = [
            (one["id"], [node["html"] for node in one["nodes"]])
            for one in found
            if one["impact"] in _GRAVE
        ]
    assert grave == []


@pytest.mark.parametrize("path", [*PAGES, SAMPLE, EXPERIMENT])
def test_nothing_scrolls_sideways_at_400_pixels(open_page: Callable[..., Any], path: str) -> None:
    with open_page(path, expected=WITHOUT_JOBS, viewport={"width": 400, "height": 800}) as page:
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


_FOCUSABLE = """() => {
  const within = (root) => [...root.querySelectorAll('*')].flatMap((one) =>
    one.inert ? [] : [one, ...(one.shadowRoot ? within(one.shadowRoot) : [])]);
  const can = "a[href], button, select, input, [tabindex='0']";
  window.seen = new Set();
  window.wanted = within(document).filter((one) =>
    one.matches(can) && one.checkVisibility() && !one.disabled && !one.closest('[inert]'));
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

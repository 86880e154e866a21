"""Every page for everybody: contrast, names, keyboard, narrow screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

PAGES = ("/", "/compare", "/experiment", "/jobs")
_GRAVE = {"serious", "critical"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(open_page: Callable[..., Any], path: str, scheme: str) -> None:
    with open_page(path, color_scheme=scheme) as page:
        page.wait_for_load_state("networkidle")
        found = Axe().run(page).response["violations"]
        grave = [
            (one["id"], [node["html"] for node in one["nodes"]])
            for one in found
            if one["impact"] in _GRAVE
        ]
    assert grave == []


@pytest.mark.parametrize("path", PAGES)
def test_nothing_scrolls_sideways_at_400_pixels(open_page: Callable[..., Any], path: str) -> None:
    with open_page(path, viewport={"width": 400, "height": 800}) as page:
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_keyboard_alone_reaches_everything_on_the_first_page(
    open_page: Callable[..., Any],
) -> None:
    reachable = (
        "[...document.querySelectorAll('a[href], button, select, input')]"
        ".filter((one) => one.checkVisibility() && !one.disabled).length"
    )
    with open_page("/") as page:
        page.locator("#samples button").first.wait_for()
        wanted = page.evaluate(reachable)
        page.evaluate("window.seen = new Set()")
        for _ in range(wanted):
            page.keyboard.press("Tab")
            page.evaluate("window.seen.add(document.activeElement)")
        assert page.evaluate("window.seen.size") == wanted

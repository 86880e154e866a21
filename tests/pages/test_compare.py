"""Two explanations side by side: in step, with numbers that are right."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import until


@pytest.fixture
def compared(page: Page) -> Page:
    """The page with both explanations there."""
    page.goto("/compare")
    expect(page.locator("#correlation")).to_have_text(re.compile(r"\d"))
    return page


def values(page: Page, side: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    viewer = f"document.querySelector('#viewer-{side}')"
    return np.array(page.evaluate(f"[...{viewer}.maps.layers[{viewer}.facts.layer].values]"))


def test_the_numbers_are_those_of_the_maps(compared: Page) -> None:
    a, b = values(compared, "a"), values(compared, "b")
    expected = np.corrcoef(a, b)[0, 1]
    shown = float(compared.locator("#correlation").inner_text())
    assert shown == pytest.approx(expected, abs=0.006)
    high = [(one > 0) & (one >= np.sort(one)[int(len(one) * 0.8)]) for one in (a, b)]
    overlap = (high[0] & high[1]).sum() / (high[0] | high[1]).sum()
    assert float(compared.locator("#overlap").inner_text()) == pytest.approx(overlap, abs=0.006)


def test_the_same_model_twice_agrees_wholly(compared: Page) -> None:
    compared.select_option("#b", compared.locator("#a").input_value())
    expect(compared.locator("#correlation")).to_have_text("1.00")
    expect(compared.locator("#overlap")).to_have_text("1.00")


def test_zoom_and_cursor_move_together(compared: Page) -> None:
    box = compared.locator("#viewer-a").bounding_box()
    assert box is not None
    compared.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["width"] / 2)
    until(compared, "document.querySelector('#viewer-b').cursor != null")
    compared.mouse.wheel(0, -400)
    until(compared, "document.querySelector('#viewer-b').transform.scale > 1")
    a, b = (
        compared.evaluate(f"document.querySelector('#viewer-{side}').transform") for side in "ab"
    )
    assert a == b

"""High contrast, in which the system chooses the colours: states must not be colours alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.pages.conftest import until
from tests.pages.holding import Holding
from tests.pages.test_experiment import LIFECYCLE

pytestmark = pytest.mark.system

_STYLE = """(one) => {
  const style = getComputedStyle(one);
  return ['outlineStyle', 'outlineWidth', 'backgroundColor', 'borderTopWidth', 'borderTopStyle',
    'textDecorationLine'].map((name) => style[name]);
}"""


@pytest.fixture(params=["light", "dark"])
def contrast(open_page: Callable[..., Any], request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in forced colours."""
    with open_page("/docs", forced_colors="active", color_scheme=request.param) as page:
        yield page


def pixels(part: Locator) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """(H, W, 3): what is seen of an element."""
    with Image.open(io.BytesIO(part.screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16)


def style(part: Locator) -> list[str]:
    return list(part.evaluate(_STYLE))


def test_the_sample_and_the_layer_on_show_are_marked(contrast: Page) -> None:
    contrast.goto("/")
    samples = contrast.locator("#samples button")
    samples.first.click()
    layers = contrast.locator("#layers > button")
    expect(layers).to_have_count(3)
    layers.nth(1).click()
    contrast.mouse.move(0, 0)
    contrast.evaluate("document.activeElement.blur()")
    assert style(samples.nth(0)) != style(samples.nth(1))
    assert style(layers.nth(1)) != style(layers.nth(0)) == style(layers.nth(2))
    outline = layers.nth(1).evaluate("(one) => getComputedStyle(one).outlineWidth")
    assert float(outline.removesuffix("px")) >= 3


def test_progress_is_seen(contrast: Page) -> None:
    held = Holding(contrast, r"/predictions\?")
    contrast.goto(f"/experiment?path={LIFECYCLE}")
    held.wait()
    bar = contrast.locator("#predicted")
    contrast.evaluate("document.querySelector('#predicted').value = 48")  # of 96: half
    seen = pixels(bar)
    middle = seen[seen.shape[0] // 2]
    quarter, rest = middle[len(middle) // 4], middle[3 * len(middle) // 4]
    assert np.abs(quarter - rest).max() > 60
    edge = seen[:, 0]
    assert np.abs(edge - rest).max() > 60  # its end is seen too


def test_tiles_tell_which_one_is_chosen_and_which_are_wrong(contrast: Page) -> None:
    contrast.goto(f"/experiment?path={LIFECYCLE}&sort=unsurest")
    until(contrast, "document.querySelector('.tile[data-kind=bad]') !== null")
    until(contrast, "document.querySelector('.tile[data-kind=good]') !== null")
    good = contrast.locator(".tile[data-kind=good]").first
    bad = contrast.locator(".tile[data-kind=bad]").first
    assert style(good) != style(bad)
    contrast.locator("#gallery").focus()
    contrast.keyboard.press("ArrowRight")
    chosen = contrast.locator(".tile[aria-selected=true]")
    others = contrast.locator(".tile[data-kind=good][aria-selected=false]").first
    contrast.get_by_label("Class", exact=True).focus()
    assert style(chosen)[:2] != style(others)[:2]


def test_the_page_that_one_is_on_is_marked(contrast: Page) -> None:
    contrast.goto("/compare")
    pages = contrast.get_by_role("navigation").get_by_role("link")
    current = contrast.locator("nav [aria-current]")
    assert style(current) != style(pages.first)

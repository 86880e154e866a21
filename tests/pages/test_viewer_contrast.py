"""<cam-viewer> in colours that the user's system forces on pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pages.viewing import CELL, decoded, experiment_of, show

pytestmark = pytest.mark.system

_COLOURS = """() => {
  const root = viewer.shadowRoot;
  const back = (selector) => getComputedStyle(root.querySelector(selector)).backgroundColor;
  const [pressed, plain] = ['true', 'false'].map((one) => `.toolbar [aria-pressed=${one}]`);
  return { pressed: back(pressed), plain: back(plain), share: back('.share i'),
    behind: back('.share'), border: getComputedStyle(root.querySelector('.share')).borderTopWidth,
    text: getComputedStyle(root.querySelector(pressed)).color };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pressed_buttons_and_bars_are_told_apart(
    open_page: Callable[..., Any], lifecycle: Path, scheme: str
) -> None:
    with open_page("/docs", forced_colors="active", color_scheme=scheme) as page:
        show(page, experiment=experiment_of(lifecycle), image=CELL)
        colours = page.evaluate(_COLOURS)
        assert colours["pressed"] != colours["plain"]
        assert colours["pressed"] != colours["text"]
        assert colours["share"] != colours["behind"]
        assert colours["border"] == "1px"
        bar = page.locator("cam-viewer .share").first
        shot = page.screenshot(clip=bar.bounding_box())
        assert len(np.unique(decoded(shot).reshape(-1, 3), axis=0)) > 2

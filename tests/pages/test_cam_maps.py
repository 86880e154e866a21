"""Maps at a picture's size: the browser's against the engine's."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from cam_engine.pictures.rendering import full_size_map
from cam_engine.results import FloatMap, LayerMap
from processes.serving import Server
from tests.pages.conftest import opened

_MOST_DIFFERENCE = 2e-4  # of 1; a grey level is 4e-3
_DRAWN = """async ([cells, grid, height, width]) => {
  const { cellsOf, fullSizeMap } = await import('/static/viewer/drawing/maps.js');
  const { buffer } = fullSizeMap(cellsOf(cells), grid, height, width);
  const bytes = new Uint8Array(buffer);
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192)
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}"""


@pytest.fixture(scope="module")
def bare(browser: Browser, site: Server) -> Iterator[Page]:
    """A page that may load the pages' scripts."""
    with opened(browser, site.url, ()) as page:
        page.goto(f"{site.url}/docs")
        yield page


def _in_browser(page: Page, cells: FloatMap, size: tuple[int, int]) -> FloatMap:
    text = base64.b64encode(cells.astype("<f4").tobytes()).decode()
    data = base64.b64decode(page.evaluate(_DRAWN, [text, [*cells.shape], *size]))
    return np.frombuffer(data, "<f4").reshape(size)


def _cells(grid: tuple[int, int], seed: int = 0) -> FloatMap:
    """A map as layers have it: a few peaks, mostly low, its highest cell 1."""
    values = np.random.default_rng(seed).random(grid, dtype=np.float32) ** 3
    return np.asarray(values / values.max(), np.float32)


@pytest.mark.parametrize(
    ("grid", "size"),
    [
        ((28, 28), (224, 224)),  # the finer map is as large as the picture
        ((28, 28), (500, 375)),
        ((14, 14), (224, 224)),
        ((7, 7), (300, 300)),
        ((7, 7), (56, 56)),
        ((7, 7), (40, 30)),  # by area, over parts of samples
        ((28, 28), (56, 56)),  # by area, over whole samples
        ((14, 14), (2, 3)),
        ((14, 14), (40, 2048)),  # one side shrinks
        ((7, 7), (1536, 2048)),
        ((56, 56), (333, 512)),
        ((100, 60), (400, 300)),
        ((200, 3), (300, 700)),  # two samples a cell
        ((300, 20), (64, 512)),  # one sample a cell
        ((3, 17), (90, 120)),
        ((1, 1), (20, 30)),
        ((1, 5), (33, 65)),
    ],
)
def test_they_are_the_engines(bare: Page, grid: tuple[int, int], size: tuple[int, int]) -> None:
    cells = _cells(grid)
    wanted = full_size_map(LayerMap("late", "", "gradcam", cells, 1.0), size)
    drawn_map = _in_browser(bare, cells, size)
    assert np.abs(drawn_map - wanted).max() <= _MOST_DIFFERENCE


def test_sharp_ones_stay_within_their_range(bare: Page) -> None:
    cells = np.full((7, 7), 0.25, np.float32)
    cells[3, 3] = 1.0
    wanted = full_size_map(LayerMap("late", "", "gradcam", cells, 1.0), (224, 224))
    drawn_map = _in_browser(bare, cells, (224, 224))
    assert np.abs(drawn_map - wanted).max() <= _MOST_DIFFERENCE
    assert (drawn_map.min(), drawn_map.max() <= 1.0) == (0.25, True)


def test_even_and_empty_ones(bare: Page) -> None:
    assert (_in_browser(bare, np.full((7, 7), 1.0, np.float32), (50, 60)) == 1.0).all()
    assert (_in_browser(bare, np.zeros((7, 7), np.float32), (50, 60)) == 0.0).all()

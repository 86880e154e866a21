"""The pixels and lines that <cam-viewer> draws, against the service's."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page

from processes.serving import Server
from tests.pages.viewing import CELL, decoded, drawn, experiment_of, noise, show, upload

_EXPLANATIONS = "/v1/explanations"
_LAYERS = ("early", "mid", "late", "fused")
_MOST_LEVELS = 2

_BLOB = """async () => {
  const reader = new FileReader();
  reader.readAsDataURL(await viewer.toBlob());
  await new Promise((resolve) => { reader.onload = resolve; });
  return reader.result;
}"""


@pytest.fixture
def bare(open_page: Callable[..., Any]) -> Iterator[Page]:
    """A page to put a viewer on."""
    with open_page("/docs") as page:
        yield page


@pytest.fixture
def view(bare: Page, lifecycle: Path) -> Page:
    """A page with a viewer on a bundled image."""
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    return bare


def _assert_equal(page: Page, answer: httpx.Response) -> None:
    assert answer.status_code == httpx.codes.OK, answer.text
    expected, found = decoded(answer.content), drawn(page)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= _MOST_LEVELS


def _between(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear in rows and columns that need not be whole."""
    top = np.clip(np.floor(rows).astype(int), 0, values.shape[0] - 2)
    left = np.clip(np.floor(columns).astype(int), 0, values.shape[1] - 2)
    down, right = rows - top, columns - left
    upper = values[top, left] * (1 - right) + values[top, left + 1] * right
    lower = values[top + 1, left] * (1 - right) + values[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)


def _state(page: Page, **state: str) -> None:
    page.evaluate("(state) => { viewer.state = state; }", state)


@pytest.mark.parametrize("size", [(96, 96), (150, 70), (2500, 40), (30, 20), (900, 1300)])
def test_it_draws_what_the_service_draws(bare: Page, site: Server, size: tuple[int, int]) -> None:
    image = noise(*size)
    upload(bare, image)
    with site.client() as client:
        for layer in _LAYERS:
            for colours in ("inferno", "jet"):
                _state(bare, layer=layer, colormap=colours)
                fields = {"layer": layer, "colormap": colours}
                files = {"image": ("cell.png", image)}
                _assert_equal(bare, client.post(_EXPLANATIONS, files=files, data=fields))


def test_a_bundled_image_looks_as_the_service_draws_it(
    view: Page, site: Server, lifecycle: Path
) -> None:
    body = {"experiment": experiment_of(lifecycle), "image": CELL}
    with site.client() as client:
        for colours, opacity in (("viridis", 1.0), ("turbo", 0.35), ("magma", 0.0)):
            _state(view, colormap=colours, opacity=str(opacity))
            options = {"colormap": colours, "alpha": opacity}
            _assert_equal(view, client.post(_EXPLANATIONS, json=body | options))


def test_below_the_threshold_the_image_shows(view: Page) -> None:
    _state(view, overlay="off")
    plain = drawn(view)
    _state(view)
    coloured = drawn(view)
    _state(view, threshold="0.5")
    values = np.array(view.evaluate("[...viewer.maps.layers.fused.values]")).reshape(224, 224)
    above = drawn(view)
    below, higher = values < 0.4998, values > 0.5002  # it is drawn in 4,096 levels
    np.testing.assert_array_equal(above[below], plain[below])
    np.testing.assert_array_equal(above[higher], coloured[higher])
    assert 0 < higher.mean() < 0.5


def test_sliders_and_modes_change_the_picture(view: Page) -> None:
    view.wait_for_load_state("networkidle")
    first = drawn(view)
    changes = {
        "opacity": "0.2",
        "threshold": "0.7",
        "colormap": "viridis",
        "layer": "late",
        "base": "enhanced",
        "overlay": "off",
        "mode": "contour",
    }
    for name, value in changes.items():
        _state(view, **{name: value})
        assert np.abs(drawn(view) - first).max() > _MOST_LEVELS, name
    _state(view)
    np.testing.assert_array_equal(drawn(view), first)


def test_the_image_beneath_is_the_services(view: Page, site: Server) -> None:
    view.wait_for_load_state("networkidle")
    digest = view.evaluate("viewer.facts.digest")
    with site.client() as client:
        for base, enhanced in (("original", "false"), ("enhanced", "true")):
            _state(view, base=base, overlay="off")
            answer = client.get(f"{_EXPLANATIONS}/{digest}/image?enhanced={enhanced}")
            np.testing.assert_array_equal(drawn(view), decoded(answer.content))


def test_contours_run_where_the_map_crosses_their_level(view: Page) -> None:
    _state(view, mode="contour", layer="late")
    view.evaluate("viewer.draw()")
    lines = view.evaluate(
        "[...viewer.shadowRoot.querySelectorAll('path.contour')].map((one) => one.outerHTML)"
    )
    values = np.array(view.evaluate("[...viewer.maps.layers.late.values]")).reshape(224, 224)
    assert len(lines) == 3
    for line, level in zip(lines, (0.25, 0.5, 0.75), strict=True):
        points = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", line), float) - 0.5
        assert len(points) > 20
        # A pixel's value stands for its centre; between centres the map runs straight.
        assert np.abs(_between(values, points[:, 1], points[:, 0]) - level).max() < 0.002
    _state(view, mode="contour", layer="late", threshold="0.6")
    view.evaluate("viewer.draw()")
    assert view.locator("path.contour").count() == 1


def test_the_native_grid_has_the_layers_cells(view: Page) -> None:
    for layer in ("early", "late"):
        _state(view, grid="on", layer=layer)
        view.evaluate("viewer.draw()")
        rows, columns = view.evaluate(f"viewer.maps.layers.{layer}.grid")
        line = view.locator("path.grid").get_attribute("d") or ""
        assert line.count("M") == rows + columns + 2
    assert (rows, columns) == (7, 7)


def test_its_png_is_the_picture_as_seen(view: Page) -> None:
    def blob() -> Any:
        return decoded(base64.b64decode(view.evaluate(_BLOB).partition(",")[2]))

    plain = drawn(view)
    np.testing.assert_array_equal(blob(), plain)
    _state(view, grid="on")
    lined = blob()
    assert lined.shape == (1120, 1120, 3)
    cell = lined.shape[0] // 28
    on_line, beside = lined[cell], lined[cell + cell // 2]
    assert on_line.mean() > beside.mean() + 10
    _state(view, zoom="2,0.25,0.25")
    corner = blob()[::5, ::5][::2, ::2]
    assert np.abs(corner - plain[:112, :112]).mean() < 4

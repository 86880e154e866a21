"""One explanation's pictures, each drawn when it is asked for: sizes, depths, recipes."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cam_engine.images.decoded import ImageFacts
from cam_engine.images.png import read_png_text
from cam_engine.options import CamOptions
from cam_engine.pictures.picture_set import (
    Pictures,
    PictureSource,
    ShownImage,
    at_most_output,
    to_integers,
)
from cam_engine.pictures.recipes import Recipes
from cam_engine.pictures.rendering import colour_table, full_size_map, output_size
from cam_engine.results import ClassScore, Explanation, LayerMap, RgbImage
from tests.run_facts import run_facts

RING = ClassScore(0, "ring", 1.0)
OPTIONS = CamOptions(layers=("late",), colormap="viridis")
RECIPES = Recipes(run_facts(class_names=("ring",), options=OPTIONS))
LAYER = LayerMap(
    "late", "layer4", "gradcam", np.array([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]], np.float32), 2.0
)


def image(height: int = 60, width: int = 90) -> RgbImage:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pictures(shown: ShownImage | None = None, **more: Any) -> Pictures:
    source = PictureSource("x", "ring/x.jpg", "1" * 64, "ring", ImageFacts(format="JPEG"))
    answer = Explanation(RING, (RING,), (LAYER,))
    return Pictures(RECIPES, OPTIONS, source, shown or ShownImage(image(), None), answer, **more)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_all_pictures_of_a_layer_are_of_one_size() -> None:
    drawn = pictures()
    height, width = output_size(image())
    for data in (drawn.heatmap(LAYER), drawn.overlay(LAYER), drawn.grey(LAYER)):
        assert opened(data).size == (width, height)
    assert drawn.original.shape == (height, width, 3)
    assert drawn.enhanced is None
    with_clahe = pictures(ShownImage(image(), 255 - image()))
    assert with_clahe.enhanced is not None
    assert with_clahe.enhanced.shape == (height, width, 3)
    assert not np.array_equal(with_clahe.enhanced, with_clahe.original)


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (16, 65_535)])
def test_a_grey_map_goes_over_its_types_whole_range(bits: Any, most: int) -> None:
    values = full_size_map(LAYER, output_size(image()))
    pixels = np.asarray(opened(pictures().grey(LAYER, bits)))
    np.testing.assert_allclose(pixels / most, values, atol=0.5001 / most)
    assert to_integers(np.array([[0.0, 1.0]], np.float32), bits).tolist() == [[0, most]]
    assert to_integers(values, bits).dtype == f"uint{bits}"


def test_a_heatmap_has_the_colours_that_were_asked_for() -> None:
    pixels = np.asarray(opened(pictures().heatmap(LAYER)).convert("RGB"))
    table = {tuple(colour) for colour in colour_table("viridis").tolist()}
    assert {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()} <= table


def test_maps_are_drawn_once() -> None:
    kept: dict[str, Any] = {}
    drawn = pictures(maps=kept)
    assert drawn.values(LAYER) is drawn.values(LAYER)
    assert kept["late"] is drawn.maps["late"]
    again = pictures(maps=kept)
    assert again.values(LAYER) is kept["late"]
    assert again.original is again.original


def test_a_picture_says_of_which_layer_it_is_and_the_panel_where_its_input_is() -> None:
    drawn = pictures()
    for data in (drawn.heatmap(LAYER), drawn.overlay(LAYER), drawn.grey(LAYER)):
        text = read_png_text(data)
        assert text["Layer"] == "late: layer4, 2x3"
        assert json.loads(text["Recipe"])["layer"] == "late"
    text = read_png_text(drawn.panel({"Row": "r"}))
    assert "Layer" not in text
    assert text["Row"] == "r"
    assert json.loads(text["Places"])


def test_a_paper_figure_is_a_png_of_its_resolution_or_a_pdf() -> None:
    drawn = pictures()
    small, large = (opened(drawn.paper("png", dpi)) for dpi in (50, 100))
    assert abs(large.width - 2 * small.width) <= 2
    assert drawn.paper("pdf", 100, {"Row": "r"}).startswith(b"%PDF")


def test_what_waits_to_be_drawn_has_no_more_pixels_than_its_pictures() -> None:
    small = ShownImage(image(), image())
    while output_size(small.original) != small.original.shape[:2]:
        small = at_most_output(small)
    assert at_most_output(small) is small
    large = image(3000, 2500)
    shown = at_most_output(ShownImage(large, 255 - large))
    assert shown.original.shape[:2] == output_size(large)
    assert shown.enhanced is not None
    assert shown.enhanced.shape == shown.original.shape
    assert at_most_output(ShownImage(large, None)).enhanced is None

"""Figures as lists of things: where each of them is once it is drawn, at any scale."""

from __future__ import annotations

import numpy as np
import pytest

from cam_engine.pictures.drawing import Box, Drawing, Item, Picture, Text
from cam_engine.pictures.lettering import Style, line_metrics, text_tile
from cam_engine.results import RgbImage

RED = (200, 30, 40)


def drawn(*items: Item, scale: float = 1.0, size: tuple[int, int] = (60, 40)) -> RgbImage:
    return Drawing(*size, scale, items).to_pixels()


def painted(pixels: RgbImage) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is not white."""
    rows, columns = np.nonzero((pixels < 250).any(axis=2))
    left, top = int(columns.min()), int(rows.min())
    return left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
def test_a_drawing_is_white_and_as_large_as_its_scale_says(scale: float) -> None:
    pixels = drawn(scale=scale)
    assert pixels.shape == (40 * scale, 60 * scale, 3)
    assert (pixels == 255).all()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_box_is_where_it_is_put(scale: float) -> None:
    pixels = drawn(Box(6, 4, 20, 10, RED), scale=scale)
    assert painted(pixels) == tuple(scale * number for number in (6, 4, 20, 10))
    inside = pixels[round(4 * scale) : round(14 * scale), round(6 * scale) : round(26 * scale)]
    assert (inside == RED).all()


def test_a_rounded_box_has_white_corners_and_full_ends() -> None:
    pixels = drawn(Box(6, 4, 20, 10, RED, rounded=True))
    assert painted(pixels) == (6, 4, 20, 10)
    for row, column in ((4, 6), (13, 6), (4, 25), (13, 25)):
        assert (pixels[row, column] > 200).all()
    assert (pixels[4:14, 11:21] == RED).all()
    assert (pixels[9, 7:25] == RED).all()
    left, right = (pixels[4:14, part].astype(int) for part in (slice(6, 16), slice(25, 15, -1)))
    assert np.abs(left - right).max() < 64  # up to a quarter of a pixel


def test_later_things_lie_over_earlier_ones() -> None:
    pixels = drawn(Box(0, 0, 20, 20, RED), Box(5, 5, 5, 5, (0, 0, 0)))
    assert (pixels[5:10, 5:10] == 0).all()
    assert tuple(pixels[4, 4]) == RED


def test_a_picture_keeps_its_pixels_and_what_is_outside_is_cut_off() -> None:
    picture = np.random.default_rng(1).integers(0, 250, (10, 12, 3), dtype=np.uint8)
    pixels = drawn(Picture(3, 2, 12, 10, picture))
    np.testing.assert_array_equal(pixels[2:12, 3:15], picture)
    for left, top in ((-4, -3), (55, 35), (-50, 0), (0, 90)):
        canvas = np.full((300, 300, 3), 255, np.uint8)
        canvas[100 + top : 110 + top, 100 + left : 112 + left] = picture
        expected = canvas[100:140, 100:160]
        np.testing.assert_array_equal(drawn(Picture(left, top, 12, 10, picture)), expected)


def test_a_text_stands_on_its_baseline() -> None:
    style = Style(16)
    tile = text_tile("Ring", style)
    pixels = drawn(Text("Ring", style, 5, 30))
    top = 30 - line_metrics(style)[0]
    np.testing.assert_array_equal(pixels[top : top + tile.shape[0], 5 : 5 + tile.shape[1]], tile)


def test_an_upright_text_runs_upwards_from_its_place() -> None:
    style = Style(12)
    tile = np.rot90(text_tile("Ring", style))
    pixels = drawn(Text("Ring", style, 30, 38, upright=True))
    left, top = 30 - line_metrics(style)[0], 38 - tile.shape[0]
    np.testing.assert_array_equal(
        pixels[top : top + tile.shape[0], left : left + tile.shape[1]], tile
    )


def test_letters_grow_with_the_scale() -> None:
    style = Style(10)
    pixels = drawn(Text("Ring", style, 4, 20), scale=2.0)
    tile = text_tile("Ring", Style(20))
    top = 40 - line_metrics(Style(20))[0]
    np.testing.assert_array_equal(pixels[top : top + tile.shape[0], 8 : 8 + tile.shape[1]], tile)

"""Tiles side by side: where each lies, and its words below it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cam_engine.reports.mosaics import SIDE, Tile, mosaic, on

RED, BLUE = (np.full((20, 30, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))


def pixels(*tiles: Tile, columns: int = 8) -> np.ndarray:
    picture = mosaic("m", "A mosaic.", tiles, columns)
    assert (picture.media_type, picture.caption) == ("image/jpeg", "A mosaic.")
    return np.array(Image.open(io.BytesIO(picture.data)).convert("RGB"), int)


def test_tiles_lie_in_rows() -> None:
    made = pixels(Tile(RED), Tile(BLUE), Tile(BLUE), columns=2)
    assert made.shape == (2 * SIDE + 24, 2 * SIDE + 24, 3)
    at = 8 + SIDE // 2
    assert abs(made[at, at] - (200, 0, 0)).max() < 12
    assert abs(made[at, at + SIDE + 8] - (0, 0, 200)).max() < 12
    assert abs(made[at + SIDE + 8, at] - (0, 0, 200)).max() < 12
    assert made[at + SIDE + 8, at + SIDE + 8].min() > 240


def test_words_stand_below_and_warnings_are_red() -> None:
    plain = pixels(Tile(RED, ("named: ring", "88%")))
    warned = pixels(Tile(RED, ("named: ring", "88%"), frozenset({0})))
    below = slice(SIDE + 10, None)
    assert plain[below].min() < 120
    assert (warned[below, :, 0] - warned[below, :, 2]).max() > 80
    assert (plain[below, :, 0] - plain[below, :, 2]).max() < 60


def test_no_tiles_are_no_mosaic() -> None:
    with pytest.raises(ValueError, match="no tiles"):
        mosaic("m", "", [])


def test_a_map_lies_over_its_image() -> None:
    image = np.full((40, 40, 3), 128, np.uint8)
    values = np.zeros((40, 40), np.float32)
    values[10:20, 10:20] = 1
    made = on(image, values)
    assert (made[30, 30] == 128).all()
    assert (made[15, 15] != 128).any()

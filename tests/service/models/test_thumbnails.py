"""Small JPEGs: their sizes, and that their colours are the picture's."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from service.models.thumbnails import jpeg_thumbnail


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((100, 200), 64, (64, 32)),
        ((200, 100), 64, (32, 64)),
        ((30, 20), 64, (20, 30)),  # never enlarged
        ((64, 64), 64, (64, 64)),
        ((1, 900), 64, (64, 1)),  # no side becomes nothing
    ],
)
def test_the_longer_side_is_of_that_size_at_most(
    shape: tuple[int, int], size: int, expected: tuple[int, int]
) -> None:
    data = jpeg_thumbnail(np.zeros((*shape, 3), np.uint8), size)
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == ("JPEG", expected)


def test_colours_are_the_pictures() -> None:
    pixels = np.zeros((80, 160, 3), np.uint8)
    pixels[:, :80], pixels[:, 80:] = (200, 30, 60), (10, 90, 220)
    with Image.open(io.BytesIO(jpeg_thumbnail(pixels, 40))) as opened:
        small = np.asarray(opened.convert("RGB")).astype(int)
    assert np.abs(small[:, :15] - (200, 30, 60)).max() < 12
    assert np.abs(small[:, 25:] - (10, 90, 220)).max() < 12

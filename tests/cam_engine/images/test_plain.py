"""Pictures of at most 8 bits, against Pillow's own conversion and its own turning."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from cam_engine.images.plain import flatten, orientation_of, turn_upright
from tests.cam_engine.images.test_decoding import encoded

RNG = np.random.default_rng(7)
# More than two strips, and no whole number of them.
PIXELS = RNG.integers(0, 256, (600, 11, 4), dtype=np.uint8)


def png(image: Image.Image, **options: Any) -> PngImageFile:
    return PngImageFile(io.BytesIO(encoded(image, "PNG", **options)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_every_mode_is_as_pillow_converts_it(mode: str) -> None:
    image = Image.fromarray(PIXELS[..., :3]).convert(mode)
    flat = flatten(png(image), "beneath")
    np.testing.assert_array_equal(flat.pixels, np.asarray(image.convert("RGB")))
    assert flat.alpha == "none"


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_colours_beneath_transparency_are_kept(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    flat = flatten(png(image), "beneath")
    np.testing.assert_array_equal(flat.pixels, np.asarray(image.convert("RGB")))
    assert flat.alpha == "beneath"


@pytest.mark.parametrize(("background", "ground"), [("white", 255), ("black", 0)])
def test_transparency_is_laid_on_a_colour_where_that_is_asked_for(
    background: Any, ground: int
) -> None:
    pixels = PIXELS.copy()
    pixels[..., 3] = RNG.choice([0, 255], pixels.shape[:2])
    flat = flatten(png(Image.fromarray(pixels)), background)
    expected = np.where(pixels[..., 3:] == 255, pixels[..., :3], ground)
    np.testing.assert_array_equal(flat.pixels, expected)
    assert flat.alpha == background


@pytest.mark.parametrize(("opacity", "alpha"), [(255, "opaque"), (0, "empty")])
def test_an_alpha_that_says_nothing_is_not_heeded(opacity: int, alpha: str) -> None:
    pixels = PIXELS.copy()
    pixels[..., 3] = opacity
    flat = flatten(png(Image.fromarray(pixels)), "white")
    np.testing.assert_array_equal(flat.pixels, pixels[..., :3])
    assert flat.alpha == alpha


def test_one_pixel_in_the_last_strip_makes_a_difference() -> None:
    pixels = PIXELS.copy()
    pixels[..., 3] = 255
    pixels[-1, -1, 3] = 254
    assert flatten(png(Image.fromarray(pixels)), "white").alpha == "white"


def test_a_transparent_colour_of_a_palette_is_transparency() -> None:
    image = Image.fromarray(PIXELS[..., :3]).quantize(8)
    flat = flatten(png(image, transparency=0), "beneath")
    np.testing.assert_array_equal(flat.pixels, np.asarray(image.convert("RGB")))
    assert flat.alpha == "beneath"


def test_opacities_of_a_palette_are_transparency_too() -> None:
    image = Image.fromarray(PIXELS[..., :3]).quantize(8)
    flat = flatten(png(image, transparency=bytes([0, 128, *[255] * 6])), "beneath")
    np.testing.assert_array_equal(flat.pixels, np.asarray(image.convert("RGB")))
    assert flat.alpha == "beneath"
    assert flat.pixels.dtype == np.uint8


def test_a_picture_that_says_nothing_stands_upright() -> None:
    assert orientation_of(png(Image.fromarray(PIXELS[:9]))) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    image = Image.fromarray(PIXELS[:9, :, :3])
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = png(image, exif=exif)
    assert orientation_of(opened) == orientation
    turned = turn_upright(np.asarray(opened.convert("RGB")), orientation)
    np.testing.assert_array_equal(turned, np.asarray(ImageOps.exif_transpose(opened)))


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_there_is_not_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert orientation_of(png(Image.fromarray(PIXELS[:9]), exif=exif)) == 1
    assert turn_upright(PIXELS, orientation) is PIXELS


def test_a_broken_exif_block_is_no_reason_to_refuse_a_picture() -> None:
    assert orientation_of(png(Image.fromarray(PIXELS[:9]), exif=b"Exif\0\0MM\0*\xff\xff")) == 1

"""Pictures of more than 8 bits a sample: the truth is the 8-bit picture that they were made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cam_engine.images.decoding import decode_image
from tests.cam_engine.images.pictures import DIM, OME, RNG, Entries, decoded, stack
from tests.cam_engine.images.test_decoding import encoded, png16, png_chunk, tiff


@pytest.mark.parametrize("pixels", [DIM, DIM[..., 0]], ids=["colour", "grey"])
@pytest.mark.parametrize("write", [png16, tiff])
def test_the_same_picture_in_16_bits_is_the_same_picture(
    pixels: NDArray[Any], write: Callable[..., bytes]
) -> None:
    deep = decode_image(write(pixels.astype(np.uint16) * 257))
    plain = decode_image(encoded(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(deep, plain)


def test_sixteen_bits_in_full_use_are_scaled_by_their_type_without_a_word() -> None:
    pixels = RNG.integers(0, 2**16, (24, 32), dtype=np.uint16)
    image = decoded(tiff(pixels))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(pixels / 257).astype(np.uint8))
    assert (image.facts.scaling, image.facts.notices) == ("type", ())


def test_dim_samples_of_8_bits_that_were_doubled_stay_as_dim() -> None:
    dim = RNG.integers(0, 10, (24, 32), dtype=np.uint8)  # doubled, less than 12 bits hold it
    image = decoded(tiff(dim.astype(np.uint16) * 257))
    np.testing.assert_array_equal(image.pixels[..., 0], dim)
    assert image.facts.scaling == "type"


@pytest.mark.parametrize(("most", "bits"), [(1000, 10), (3000, 12), (9000, 14)])
def test_a_camera_of_fewer_bits_is_scaled_by_them_and_it_is_said(most: int, bits: int) -> None:
    pixels = np.linspace(300, most, 24 * 32).reshape(24, 32).astype(np.uint16)
    image = decoded(tiff(pixels))
    truth = np.rint(pixels / (2**bits - 1) * 255)
    np.testing.assert_array_equal(image.pixels[..., 1], truth)
    said = f"16 bits scaled by {bits} bits (the image's largest sample)"
    assert image.facts.notices == (said,)
    assert image.facts.least_bits == bits


def test_two_images_of_one_camera_keep_their_difference() -> None:
    bright = np.linspace(300, 4000, 24 * 32).reshape(24, 32).astype(np.uint16)
    shown = [decode_image(tiff(grey)).astype(int) for grey in (bright, bright // 2 + 1050)]
    assert abs(shown[0].mean() - shown[1].mean()) < 8
    assert shown[1].min() == round((150 + 1050) / 4095 * 255)


def test_the_depth_of_the_folder_holds_for_images_that_would_need_less() -> None:
    pixels = np.linspace(0, 900, 24 * 32).reshape(24, 32).astype(np.uint16)
    image = decoded(tiff(pixels), depth_bits=12)
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(pixels / 4095 * 255))
    assert image.facts.notices == ("16 bits scaled by 12 bits (the folder's largest sample)",)
    assert image.facts.least_bits == 10


DECLARATIONS: dict[str, Entries] = {
    "MaxSampleValue": {281: ("H", [4095])},
    "ImageJ": {270: b"ImageJ=1.54f\nimages=1\nmin=0.0\nmax=4095.0\n"},
    "OME": {270: OME % b'SignificantBits="12" SizeC="1" SizeZ="1" SizeT="1"'},
}


@pytest.mark.parametrize("how", DECLARATIONS)
def test_a_depth_that_a_tiff_names_is_taken(how: str) -> None:
    pixels = np.linspace(0, 900, 24 * 32).reshape(24, 32).astype(np.uint16)
    image = decoded(stack((pixels, DECLARATIONS[how])))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(pixels / 4095 * 255))
    assert (image.facts.scaling, image.facts.notices) == ("declared", ())


@pytest.mark.parametrize(
    "tags",
    [
        {281: ("H", [65535])},
        {270: b"ImageJ=1.54f\nmax=65535.0\n"},
        {270: OME % b'SignificantBits="16" SizeC="1"'},
    ],
)
def test_the_depth_of_the_type_declares_nothing(tags: dict[int, Any]) -> None:
    pixels = np.linspace(0, 3000, 24 * 32).reshape(24, 32).astype(np.uint16)
    image = decoded(stack((pixels, tags)))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(pixels / 4095 * 255))
    assert image.facts.scaling == "image"


def test_significant_bits_of_a_png() -> None:
    pixels = np.linspace(0, 900, 24 * 32).reshape(24, 32).astype(np.uint16)
    image = decoded(png16(pixels, png_chunk(b"sBIT", b"\x0c")))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(pixels / 4095 * 255))
    # As the standard has it: the samples were scaled up to 16 bits.
    scaled = decoded(png16(pixels * 70, png_chunk(b"sBIT", b"\x0c")))
    np.testing.assert_array_equal(scaled.pixels[..., 0], np.rint(pixels * 70 / 65535 * 255))


def test_a_depth_that_the_samples_exceed_is_not_believed() -> None:
    pixels = np.linspace(0, 9000, 24 * 32).reshape(24, 32).astype(np.uint16)
    image = decoded(stack((pixels, DECLARATIONS["OME"])))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(pixels / (2**14 - 1) * 255))
    assert "above the declared depth" in image.facts.notices[0]


def test_intensity_may_be_chosen() -> None:
    pixels = np.linspace(300, 3000, 24 * 32).reshape(24, 32).astype(np.uint16)
    by_type = decoded(tiff(pixels), intensity="type")
    np.testing.assert_array_equal(by_type.pixels[..., 0], np.rint(pixels / 257))
    own = decoded(tiff(pixels), intensity="min-max")
    np.testing.assert_array_equal(own.pixels[..., 0], np.rint((pixels - 300.0) / 2700 * 255))
    assert own.facts.notices == ("16-bit samples scaled by the image's own min and max",)


def test_floats_in_0_to_1_are_scaled_by_1_and_others_by_their_range() -> None:
    pixels = np.linspace(0.25, 0.5, 24 * 32, dtype=np.float32).reshape(24, 32)
    inside = decoded(tiff(pixels))
    np.testing.assert_array_equal(inside.pixels[..., 0], np.rint(pixels.astype(float) * 255))
    assert inside.facts.notices == ()
    outside = decoded(tiff(pixels * 400))
    assert (outside.pixels.min(), outside.pixels.max()) == (0, 255)
    assert outside.facts.notices == ("Float samples scaled by the image's own min and max",)


def test_signed_8_bit_samples_do_not_wrap() -> None:
    pixels = (DIM[..., 0].astype(int) - 55).astype(np.int8)
    image = decoded(tiff(pixels))
    np.testing.assert_array_equal(image.pixels[..., 0], pixels.astype(int) + 128)
    assert image.facts.notices == ("Signed 8-bit samples: 128 was added",)


def test_signed_16_bit_samples_below_0() -> None:
    pixels = np.linspace(-2000, 1900, 24 * 32).reshape(24, 32).astype(np.int16)
    image = decoded(tiff(pixels))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint((pixels + 2048.0) / 4095 * 255))
    assert image.facts.notices == ("Signed samples below 0: scaled by 12 bits around 0",)

"""TIFFs of several pages, of channels as pages, and what their decoders would fill up."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from cam_engine.errors import InvalidImage, InvalidOption, PageNotFound
from cam_engine.images.decoding import decode_image
from cam_engine.options import DecodingOptions
from tests.cam_engine.images.pictures import DIM, OME, RNG, Entries, decoded, stack
from tests.cam_engine.images.test_decoding import encoded, smooth, tiff

CHANNELS = {
    "ImageJ": {270: b"ImageJ=1.54f\nimages=3\nchannels=3\nmode=composite\n"},
    "OME": {270: OME % b'SizeC="3" SizeZ="1" SizeT="1"'},
}


@pytest.mark.parametrize("how", CHANNELS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deep", [False, True])
def test_three_channels_as_pages_are_one_colour_picture(how: str, order: str, deep: bool) -> None:
    pixels = DIM.astype(np.uint16) * 257 if deep else DIM
    pages = [(pixels[..., channel], CHANNELS[how] if not channel else {}) for channel in range(3)]
    image = decoded(stack(*pages, order=order))
    np.testing.assert_array_equal(image.pixels, DIM)
    said = "Channels of page 1 of 1 read as red, green and blue"
    assert image.facts.notices == (said,)


def test_channels_that_do_not_vary_fastest() -> None:
    sizes = b'SizeC="3" SizeZ="2" SizeT="1"'
    text = (OME % sizes).replace(b"XYCZT", b"XYZCT")
    other = 255 - DIM
    pages: list[tuple[NDArray[Any], Entries]] = [
        (array[..., channel], {}) for channel in range(3) for array in (DIM, other)
    ]
    pages[0] = (pages[0][0], {270: text})
    np.testing.assert_array_equal(decode_image(stack(*pages)), DIM)
    np.testing.assert_array_equal(decoded(stack(*pages), page=2).pixels, other)


@pytest.mark.parametrize("order", "<>")
def test_deep_planes_are_one_picture(order: str) -> None:
    data = tiff(DIM.astype(np.uint16) * 257, planar=2, order=order)
    np.testing.assert_array_equal(decode_image(data), DIM)


def test_a_reduced_copy_is_not_the_picture() -> None:
    small = np.ascontiguousarray(DIM[::2, ::2])
    reduced = {254: ("I", [1])}
    image = decoded(stack((small, reduced), (DIM, {})))
    np.testing.assert_array_equal(image.pixels, DIM)
    assert image.facts.notices == ("Page 2 of 2 was read",)
    asked = decoded(stack((small, reduced), (DIM, {})), page=1)
    np.testing.assert_array_equal(asked.pixels, small)
    assert asked.facts.notices == ("Page 1 of 2 was read",)
    pyramid = decoded(stack((DIM, {}), (small, reduced)))
    np.testing.assert_array_equal(pyramid.pixels, DIM)
    assert pyramid.facts.notices == ()


def test_any_page_may_be_read_and_which_is_said() -> None:
    other = 255 - DIM
    data = stack((DIM, {}), (other, {}), (DIM.astype(np.uint16) * 257, {}))
    first = decoded(data)
    np.testing.assert_array_equal(first.pixels, DIM)
    assert first.facts.notices == ("Page 1 of 3 was read",)
    second = decoded(data, page=2)
    np.testing.assert_array_equal(second.pixels, other)
    assert second.facts.notices == ("Page 2 of 3 was read",)
    np.testing.assert_array_equal(decoded(data, page=3).pixels, DIM)
    with pytest.raises(PageNotFound, match=r"page 4 was asked for, but the file has 3 pages"):
        decoded(data, page=4)
    with pytest.raises(PageNotFound, match="page 2 was asked for; of a PNG only the first"):
        decoded(encoded(Image.fromarray(DIM), "PNG"), page=2)
    with pytest.raises(InvalidOption, match="page must lie"):
        DecodingOptions(page=0)


def test_pages_in_a_circle_are_refused() -> None:
    data = stack((DIM, {}), (DIM, {}))
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, first + 2 + 12 * entries)[0]
    link = second + 2 + 12 * struct.unpack_from("<H", data, second)[0]
    circle = data[:link] + struct.pack("<I", first) + data[link + 4 :]
    with pytest.raises(InvalidImage, match="no end"):
        decode_image(circle)


def bilevel() -> Image.Image:
    """Lines of many widths, so that no part is like what a decoder fills in."""
    return Image.fromarray((np.cumsum(RNG.integers(-1, 2, (300, 400)), 1) % 7) > 3)


DAMAGED = {
    "fax 4": (bilevel, "group4"),
    "fax 3": (bilevel, "group3"),
    "jpeg": (lambda: Image.fromarray(smooth(200, 300)), "jpeg"),
}


@pytest.mark.parametrize("how", ["zeros", "ones"])
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_strip_of_a_tiff_that_ends_too_early_is_noticed(kind: str, how: str) -> None:
    image, compression = DAMAGED[kind]
    data = encoded(image(), "TIFF", compression=compression)
    assert decode_image(data).any()
    with Image.open(io.BytesIO(data)) as opened:
        assert isinstance(opened, TiffImageFile)
        place, size = opened.tag_v2[273][-1], opened.tag_v2[279][-1]
    half = place + size // 2
    rest = (b"\0" if how == "zeros" else b"\xff") * (place + size - half)
    with pytest.raises(InvalidImage):
        decode_image(data[:half] + rest + data[place + size :])

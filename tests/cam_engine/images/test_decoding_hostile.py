"""Small files that ask for much work or memory: refused in words, before anything is decoded."""

from __future__ import annotations

import io
import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from cam_engine.errors import ImageTooLarge, InvalidImage
from cam_engine.images.decoding import ImageLimits, decode_image
from cam_engine.options import DecodingOptions
from tests.hostile_images import (
    animated,
    bmp_of_single_runs,
    chunk,
    encoded,
    hostile,
    jpeg_of_many_scans,
    jpeg_with,
    png,
    segment,
    tiff_image,
    tiff_of_doubles,
    tiff_of_many_pages,
    tiff_of_one_strip_for_all,
)

FUZZED = ImageLimits(max_pixels=4_000_000)
REFUSED = {
    "jpeg of 900 scans": (ImageTooLarge, "a JPEG of this size in 101 scans or more.* baseline"),
    "jpeg of many segments": (InvalidImage, "more segments or padding than any picture needs"),
    "jpeg of padding": (InvalidImage, "more segments or padding than any picture needs"),
    "jpeg of padding that ends wrongly": (InvalidImage, "more segments or padding than"),
    "png of many chunks": (InvalidImage, "more than 20,000 chunks"),
    "png of many pixels' chunks": (InvalidImage, "more than 20,000 chunks"),
    "png of many profiles": (InvalidImage, "more than one colour profile"),
    "png of many texts": (InvalidImage, "more than 16 compressed texts"),
    "png of many long texts": (InvalidImage, "more than 16 compressed texts"),
    "png of wide texts": (InvalidImage, "more than 16 compressed texts"),
    "tiff of doubles": (ImageTooLarge, "4 channels of 64 bits.* memory.* 8 bits a channel"),
    "tiff of one strip for all": (InvalidImage, "share bytes: they claim 16,200 of a file of"),
    "tiff of one long strip for all": (InvalidImage, "strips or tiles of the TIFF share bytes"),
    "tiff of overlapping strips": (InvalidImage, "strips or tiles of the TIFF share bytes"),
    "tiff of tiles far larger than it": (ImageTooLarge, "tiles of 31,744,000 pixels altogether"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_nothing_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = hostile(name)
    error, says = REFUSED[name]
    begun = []
    for owner, what in ((ImageFile.ImageFile, "load"), (cv2, "imdecode")):
        monkeypatch.setattr(owner, what, lambda *_args, **_options: begun.append(1))
    with pytest.raises(error, match=says) as caught:
        decode_image(data, FUZZED)
    assert type(caught.value) is error
    assert not begun


def test_as_large_as_is_allowed_they_are_refused_at_once() -> None:
    """With the usual limits: these took half a minute and gigabytes."""
    files = jpeg_of_many_scans(7000, 900), tiff_of_doubles(6976), tiff_of_many_doubles(6976)
    tracemalloc.start()
    with pytest.raises(ImageTooLarge, match="in 101 scans or more takes too long"):
        decode_image(files[0])
    with pytest.raises(ImageTooLarge, match=r"4 channels of 64 bits of this size takes 3,\d{3},"):
        decode_image(files[1])
    with pytest.raises(InvalidImage, match="share bytes"):
        decode_image(files[2])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def tiff_of_many_doubles(side: int) -> bytes:
    """One strip for all, of which a kilobyte holds megabytes."""
    strips = ((8, 12_000),) * (side // 32)
    return tiff_image(side, side, strips, bytes(12_000), bits=64, channels=4, floats=True)


def test_scans_are_bounded_by_size_as_well() -> None:
    decode_image(jpeg_of_many_scans(400, 60))
    data, pixels = jpeg_of_many_scans(400, 60), 400 * 400
    with pytest.raises(ImageTooLarge, match=r"in \d\d scans or more"):
        decode_image(data, ImageLimits(max_pixels=pixels))


def test_scans_of_a_preview_do_not_count() -> None:
    previews = (segment(0xE1, b"Exif\0\0" + b"\xff\xda" * 400),)
    assert decode_image(jpeg_with(*previews)).shape == (16, 16, 3)
    assert decode_image(encoded("RGB", 16, "JPEG") + b"\xff\xda" * 400).shape == (16, 16, 3)


def test_a_jpeg_of_whole_chroma_in_scans_still_fits() -> None:
    data = encoded("RGB", 4000, "JPEG", progressive=True, subsampling=0)
    limits = ImageLimits(max_pixels=16_000_000)
    assert decode_image(data, limits).shape == (4000, 4000, 3)  # 10 bytes a pixel


def test_a_jpeg_of_four_colours_in_scans_is_told_what_it_takes() -> None:
    data = encoded("CMYK", 4000, "JPEG", progressive=True, subsampling=0)
    with pytest.raises(ImageTooLarge, match="a progressive JPEG of this size takes 192,000,000 b"):
        decode_image(data, ImageLimits(max_pixels=16_000_000))


def test_a_run_length_bitmap_is_bounded_by_its_bytes() -> None:
    assert decode_image(bmp_of_single_runs(300, 200)).shape == (200, 300, 3)
    with pytest.raises(ImageTooLarge, match="4,194,304 allowed for a run-length BMP; save it as"):
        decode_image(bmp_of_single_runs(2600, 2600))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_a_moving_picture_the_first_is_read(kind: str) -> None:
    image = decode_image(animated(kind, 40, 5))
    np.testing.assert_array_equal(image, np.zeros((40, 40, 3), np.uint8))


def test_of_many_pages_the_first_is_read() -> None:
    assert decode_image(tiff_of_many_pages(20)).shape == (16, 16, 3)


def test_a_deep_moving_png_is_as_one_of_its_first_picture() -> None:
    pixels = np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3) * 80
    still = cv2.imencode(".png", pixels)[1].tobytes()
    control = chunk(b"acTL", struct.pack(">II", 50_000, 0))
    moving = still[:33] + control + still[33:]
    np.testing.assert_array_equal(decode_image(moving), decode_image(still))


def test_packed_strips_without_sizes_are_refused() -> None:
    """Each would begin where it says, and go on to the end of the file."""
    with pytest.raises(InvalidImage, match="the sizes of its strips or tiles are missing"):
        decode_image(without_tag(tiff_of_one_strip_for_all(8, 8, 4), 279))


def without_tag(data: bytes, tag: int) -> bytes:
    """The same little-endian TIFF with a tag renamed to a private one."""
    changed = bytearray(data)
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry) == (tag,):
            struct.pack_into("<H", changed, entry, 280)
    return bytes(changed)


@pytest.mark.parametrize(("bits", "colour", "side"), [(16, 2, 3600), (16, 6, 3200), (16, 4, 3200)])
def test_a_deep_png_is_told_what_it_takes(bits: int, colour: int, side: int) -> None:
    limits = ImageLimits(max_pixels=20_000_000)
    with pytest.raises(ImageTooLarge, match="a PNG of 16 bits a channel of this size takes 2"):
        decode_image(png(side, side, bits, colour), limits)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_deep_pictures_are_scaled_as_before(dtype: type[np.generic]) -> None:
    """All in one go, in float64: what strips and tables must agree with."""
    rng = np.random.default_rng(4)
    picture = (rng.random((700, 90, 3)) * 4095).astype(dtype)
    data = cv2.imencode(".tiff", picture)[1].tobytes()
    values = picture[..., ::-1].astype(np.float64)
    low, high = values.min() / 2, values.max() / 2
    wanted = np.rint((np.clip(values / 2, low, high) - low) / (high - low) * 255.0)
    np.testing.assert_array_equal(
        decode_image(data, options=DecodingOptions(intensity="min-max")), wanted.astype(np.uint8)
    )


def test_transparency_is_laid_on_white_strip_by_strip() -> None:
    rng = np.random.default_rng(9)
    picture = rng.integers(0, 256, (600, 31, 4), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture, "RGBA").save(buffer, "PNG")
    canvas = Image.new("RGBA", (31, 600), "white")
    canvas.alpha_composite(Image.fromarray(picture, "RGBA"))
    wanted = np.asarray(canvas.convert("RGB"))
    options = DecodingOptions(background="white")
    np.testing.assert_array_equal(decode_image(buffer.getvalue(), options=options), wanted)

"""What decoding does to pixels, and that it says so.

The truth is Pillow's `convert("RGB")`, as training scripts call it.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cam_engine.errors import ImageTooLarge, InvalidImage
from cam_engine.images.decoding import decode, decode_image
from cam_engine.options import DecodingOptions
from tests.cam_engine.images.pictures import BLACK, DIM, WHITE, as_pillow, decoded
from tests.cam_engine.images.test_decoding import encoded, png16, png_chunk, smooth, tiff

# ---- transparency


def transparent(kind: str) -> tuple[Image.Image, dict[str, Any]]:
    """An image of which a half is transparent over colours of its own, in one of Pillow's modes."""
    alpha = np.full(DIM.shape[:2], 255, np.uint8)
    alpha[:, ::2], alpha[::3] = 0, 90
    if kind == "RGBA":
        return Image.fromarray(np.dstack([DIM, alpha])), {}
    if kind == "LA":
        return Image.fromarray(np.dstack([DIM[..., 0], alpha]), "LA"), {}
    if kind == "P":
        return Image.fromarray(DIM).quantize(8), {"transparency": bytes([0, 255, 128, 0])}
    if kind == "L":
        return Image.fromarray(DIM[..., 0]), {"transparency": int(DIM[0, 0, 0])}
    return Image.fromarray(DIM), {"transparency": tuple(map(int, DIM[0, 0]))}


CASES = [("PNG", kind) for kind in ("RGBA", "LA", "P", "L", "RGB")]
CASES += [("TIFF", "RGBA"), ("TIFF", "LA"), ("WEBP", "RGBA"), ("GIF", "P")]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of Pillow's own reading
@pytest.mark.parametrize(("form", "kind"), CASES)
def test_transparent_pixels_are_read_as_training_read_them(form: str, kind: str) -> None:
    image, options = transparent(kind)
    if form == "WEBP":
        options = {"lossless": True, "exact": True}
    if form == "GIF":
        options = {"transparency": 0}
    data = encoded(image, form, **options)
    read = decoded(data)
    np.testing.assert_array_equal(read.pixels, as_pillow(data))
    assert read.facts.notices == ("Transparency: the colours beneath it were read",)


def test_16_bit_colours_beneath_transparency() -> None:
    rgba = np.dstack([DIM, np.zeros(DIM.shape[:2], np.uint8)])
    rgba[:12, :, 3] = 255
    for data in (png16(rgba.astype(np.uint16) * 257), tiff(rgba.astype(np.uint16) * 257, extra=2)):
        image = decoded(data)
        np.testing.assert_array_equal(image.pixels, DIM)
        assert image.facts.alpha == "beneath"


@pytest.mark.parametrize(("options", "ground"), [(WHITE, 255), (BLACK, 0)])
def test_a_background_may_be_chosen(options: DecodingOptions, ground: int) -> None:
    image, _ = transparent("RGBA")
    rgba = np.asarray(image).astype(float)
    opacity = rgba[..., 3:] / 255
    truth = rgba[..., :3] * opacity + ground * (1 - opacity)
    for data in (encoded(image, "PNG"), png16(np.asarray(image).astype(np.uint16) * 257)):
        read = decode(data, options=options)
        assert np.abs(read.pixels - truth).max() <= 1
        assert read.facts.notices == (f"Transparency was laid on {options.background}",)


def bmp_with_alpha(rgba: NDArray[Any]) -> bytes:
    """A BMP with the masks of a version 4 header, as Windows programs write it."""
    height, width = rgba.shape[:2]
    bgra = np.ascontiguousarray(rgba[::-1, :, [2, 1, 0, 3]]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(bgra), 0, 0, 0, 0)
    info += masks + bytes(108 - len(info) - len(masks))
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(bgra), 0, 0, 14 + 108) + info + bgra


def test_an_alpha_that_is_0_everywhere_is_ignored() -> None:
    rgba = np.dstack([DIM, np.zeros(DIM.shape[:2], np.uint8)])
    image = Image.fromarray(rgba)
    files = [encoded(image, "PNG"), encoded(image, "TIFF"), bmp_with_alpha(rgba)]
    files += [encoded(image, "WEBP", lossless=True, exact=True)]
    files += [png16(rgba.astype(np.uint16) * 257)]
    for data in files:
        for background in ("beneath", "white", "black"):
            read = decoded(data, background=background)
            np.testing.assert_array_equal(read.pixels, DIM)
            assert read.facts.notices == ("Transparency of 0 everywhere was ignored",)


def test_an_opaque_alpha_says_nothing() -> None:
    rgba = np.dstack([DIM, np.full(DIM.shape[:2], 255, np.uint8)])
    for data in (encoded(Image.fromarray(rgba), "PNG"), png16(rgba.astype(np.uint16) * 257)):
        image = decoded(data)
        np.testing.assert_array_equal(image.pixels, DIM)
        assert (image.facts.alpha, image.facts.notices) == ("opaque", ())


# ---- GIF, and moving pictures


def test_a_gif_is_read_and_its_first_frame_said() -> None:
    frames = [Image.fromarray(array).quantize(64) for array in (DIM, 255 - DIM)]
    still = encoded(frames[0], "GIF")
    image = decoded(still)
    np.testing.assert_array_equal(image.pixels, as_pillow(still))
    assert (image.facts.format, image.facts.notices) == ("GIF", ())
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image = decoded(moving)
    np.testing.assert_array_equal(image.pixels, as_pillow(moving))
    assert image.facts.notices == ("The first frame of an animated GIF was read",)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_moving_pictures_say_so_too(kind: str) -> None:
    frames = [Image.fromarray(array) for array in (DIM, 255 - DIM)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert "animated" in decoded(data).facts.notices[0]


def gif_of(width: int, height: int, picture: tuple[int, int, int, int]) -> bytes:
    """A GIF of a screen, and where its first picture lies: (left, top, width, height)."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", *picture, 0) + b"\x02\x02\x4c\x01\0;"


@pytest.mark.parametrize(
    "data",
    [
        gif_of(60_000, 60_000, (0, 0, 1, 1)),
        gif_of(1, 1, (0, 0, 60_000, 60_000)),
        gif_of(1, 1, (60_000, 60_000, 1, 1)),
    ],
)
def test_a_gif_of_too_many_pixels_is_refused_before_it_is_decoded(data: bytes) -> None:
    with pytest.raises(ImageTooLarge, match="pixels are more than the 50,000,000 allowed"):
        decode_image(data)


def test_a_gif_in_tiny_blocks_is_refused() -> None:
    data = gif_of(1, 1, (0, 0, 1, 1))[:-5] + b"\x01\xff" * 2**20
    with pytest.raises(InvalidImage, match="more blocks than any picture needs"):
        decode_image(data)


# ---- PNGs with much beside their pixels


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt", b"iCCP"])
def test_long_texts_and_profiles_cost_nothing(name: bytes) -> None:
    megabytes = b"x" * (3 * 2**20)
    body = b"Comment\0" + megabytes
    if name != b"tEXt":
        body = b"Comment\0\0" + zlib.compress(megabytes)
    chunk = png_chunk(name, body)
    plain = encoded(Image.fromarray(DIM), "PNG")
    for at in (33, len(plain) - 12):
        if name == b"iCCP" and at != 33:
            continue
        data = plain[:at] + chunk + plain[at:]
        np.testing.assert_array_equal(decode_image(data), DIM)
        damaged = data.replace(chunk, chunk[:-1] + bytes([chunk[-1] ^ 1]))
        with pytest.raises(InvalidImage):
            decode_image(damaged)


# ---- nothing said of ordinary pictures


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_ordinary_pictures_say_nothing(kind: str) -> None:
    for pixels in (smooth(), smooth()[..., 0]):
        facts = decoded(encoded(Image.fromarray(pixels), kind)).facts
        assert facts.notices == ()
        assert (facts.bits, facts.scaling, facts.page, facts.pages) == (8, "none", 1, 1)

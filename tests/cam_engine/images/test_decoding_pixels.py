"""What decoding does to pixels, and that it says so.

The truth is Pillow's `convert("RGB")`, as training scripts call it, or the 8-bit picture that a
deep one was made of.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from cam_engine.errors import ImageTooLarge, InvalidImage, InvalidOption, PageNotFound
from cam_engine.images.decoded import DecodedImage
from cam_engine.images.decoding import decode, decode_image
from cam_engine.options import DecodingOptions
from tests.cam_engine.images.test_decoding import encoded, png16, png_chunk, smooth, tiff

# Of a TIFF, by tag: a text, or a code of `struct` and values.
Entries = dict[int, Any]

RNG = np.random.default_rng(31)
DIM = RNG.integers(20, 90, (24, 32, 3), dtype=np.uint8)
WHITE, BLACK = DecodingOptions(background="white"), DecodingOptions(background="black")


def decoded(data: bytes, **options: Any) -> DecodedImage:
    return decode(data, options=DecodingOptions(**options))


def as_pillow(data: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def directory(entries: Entries, at: int, order: str = "<") -> tuple[bytes, bytes]:
    """A TIFF directory at `at` of {tag: (code, values) or bytes}; answers its bytes, no successor.

    What does not fit into an entry follows the directory.
    """
    body, beyond = struct.pack(f"{order}H", len(entries)), b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, entry in sorted(entries.items()):
        if isinstance(entry, bytes):
            kind, count, packed = 2, len(entry) + 1, entry + b"\0"
        else:
            code, values = entry
            kind, count = (3 if code == "H" else 4), len(values)
            packed = struct.pack(f"{order}{count}{code}", *values)
        body += struct.pack(f"{order}HHI", tag, kind, count)
        if len(packed) > 4:
            body += struct.pack(f"{order}I", start + len(beyond))
            beyond += packed
        else:
            body += packed.ljust(4, b"\0")
    return body, beyond


def stack(*pages: tuple[NDArray[Any], Entries], order: str = "<") -> bytes:
    """A TIFF of several pages, each (pixels, {tag: entry}), by hand."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    link = 4
    for pixels, tags in pages:
        samples = 1 if pixels.ndim == 2 else pixels.shape[2]
        raw = pixels.astype(
            np.dtype(f"{order}{pixels.dtype.kind}{pixels.dtype.itemsize}")
        ).tobytes()
        place = len(data)
        data += raw + bytes(len(raw) % 2)
        at = len(data)
        kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
        entries = {
            256: ("I", [pixels.shape[1]]),
            257: ("I", [pixels.shape[0]]),
            258: ("H", [8 * pixels.dtype.itemsize] * samples),
            259: ("H", [1]),
            262: ("H", [2 if samples == 3 else 1]),
            273: ("I", [place]),
            277: ("H", [samples]),
            278: ("I", [pixels.shape[0]]),
            279: ("I", [len(raw)]),
            339: ("H", [kind] * samples),
            **tags,
        }
        body, beyond = directory(entries, at, order)
        data = data[:link] + struct.pack(f"{order}I", at) + data[link + 4 :]
        link = at + len(body)
        data += body + bytes(4) + beyond + bytes(len(beyond) % 2)
    return data


# ---- more than 8 bits


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
    found = decoded(tiff(pixels))
    np.testing.assert_array_equal(found.pixels[..., 0], np.rint(pixels / 257).astype(np.uint8))
    assert (found.facts.scaling, found.facts.notices) == ("type", ())


@pytest.mark.parametrize(("most", "bits"), [(1000, 10), (3000, 12), (9000, 14)])
def test_a_camera_of_fewer_bits_is_scaled_by_them_and_it_is_said(most: int, bits: int) -> None:
    pixels = np.linspace(300, most, 24 * 32).reshape(24, 32).astype(np.uint16)
    found = decoded(tiff(pixels))
    truth = np.rint(pixels / (2**bits - 1) * 255)
    np.testing.assert_array_equal(found.pixels[..., 1], truth)
    said = f"16 bits scaled by {bits} bits (the image's largest sample)"
    assert found.facts.notices == (said,)
    assert found.facts.least_bits == bits


def test_two_images_of_one_camera_keep_their_difference() -> None:
    bright = np.linspace(300, 4000, 24 * 32).reshape(24, 32).astype(np.uint16)
    shown = [decode_image(tiff(one)).astype(int) for one in (bright, bright // 2 + 1050)]
    assert abs(shown[0].mean() - shown[1].mean()) < 8
    assert shown[1].min() == round((150 + 1050) / 4095 * 255)


def test_the_depth_of_the_folder_holds_for_images_that_would_need_less() -> None:
    pixels = np.linspace(0, 900, 24 * 32).reshape(24, 32).astype(np.uint16)
    found = decoded(tiff(pixels), depth_bits=12)
    np.testing.assert_array_equal(found.pixels[..., 0], np.rint(pixels / 4095 * 255))
    assert found.facts.notices == ("16 bits scaled by 12 bits (the folder's largest sample)",)
    assert found.facts.least_bits == 10


OME = (
    b'<?xml version="1.0"?><OME><Image><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
    b'SizeX="32" SizeY="24" %s Type="uint16"></Pixels></Image></OME>'
)
DECLARATIONS: dict[str, Entries] = {
    "MaxSampleValue": {281: ("H", [4095])},
    "ImageJ": {270: b"ImageJ=1.54f\nimages=1\nmin=0.0\nmax=4095.0\n"},
    "OME": {270: OME % b'SignificantBits="12" SizeC="1" SizeZ="1" SizeT="1"'},
}


@pytest.mark.parametrize("how", DECLARATIONS)
def test_a_depth_that_a_tiff_names_is_taken(how: str) -> None:
    pixels = np.linspace(0, 900, 24 * 32).reshape(24, 32).astype(np.uint16)
    found = decoded(stack((pixels, DECLARATIONS[how])))
    np.testing.assert_array_equal(found.pixels[..., 0], np.rint(pixels / 4095 * 255))
    assert (found.facts.scaling, found.facts.notices) == ("declared", ())


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
    found = decoded(stack((pixels, tags)))
    np.testing.assert_array_equal(found.pixels[..., 0], np.rint(pixels / 4095 * 255))
    assert found.facts.scaling == "image"


def test_significant_bits_of_a_png() -> None:
    pixels = np.linspace(0, 900, 24 * 32).reshape(24, 32).astype(np.uint16)
    found = decoded(png16(pixels, png_chunk(b"sBIT", b"\x0c")))
    np.testing.assert_array_equal(found.pixels[..., 0], np.rint(pixels / 4095 * 255))
    # As the standard has it: the samples were scaled up to 16 bits.
    scaled = decoded(png16(pixels * 70, png_chunk(b"sBIT", b"\x0c")))
    np.testing.assert_array_equal(scaled.pixels[..., 0], np.rint(pixels * 70 / 65535 * 255))


def test_a_depth_that_the_samples_exceed_is_not_believed() -> None:
    pixels = np.linspace(0, 9000, 24 * 32).reshape(24, 32).astype(np.uint16)
    found = decoded(stack((pixels, DECLARATIONS["OME"])))
    np.testing.assert_array_equal(found.pixels[..., 0], np.rint(pixels / (2**14 - 1) * 255))
    assert "above the declared depth" in found.facts.notices[0]


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
    found = decoded(tiff(pixels))
    np.testing.assert_array_equal(found.pixels[..., 0], pixels.astype(int) + 128)
    assert found.facts.notices == ("Signed 8-bit samples: 128 was added",)


def test_signed_16_bit_samples_below_0() -> None:
    pixels = np.linspace(-2000, 1900, 24 * 32).reshape(24, 32).astype(np.int16)
    found = decoded(tiff(pixels))
    np.testing.assert_array_equal(found.pixels[..., 0], np.rint((pixels + 2048.0) / 4095 * 255))
    assert found.facts.notices == ("Signed samples below 0: scaled by 12 bits around 0",)


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
    found = decoded(data)
    np.testing.assert_array_equal(found.pixels, as_pillow(data))
    assert found.facts.notices == ("Transparency: the colours beneath it were read",)


def test_16_bit_colours_beneath_transparency() -> None:
    rgba = np.dstack([DIM, np.zeros(DIM.shape[:2], np.uint8)])
    rgba[:12, :, 3] = 255
    for data in (png16(rgba.astype(np.uint16) * 257), tiff(rgba.astype(np.uint16) * 257, extra=2)):
        found = decoded(data)
        np.testing.assert_array_equal(found.pixels, DIM)
        assert found.facts.alpha == "beneath"


@pytest.mark.parametrize(("options", "ground"), [(WHITE, 255), (BLACK, 0)])
def test_a_background_may_be_chosen(options: DecodingOptions, ground: int) -> None:
    image, _ = transparent("RGBA")
    rgba = np.asarray(image).astype(float)
    opacity = rgba[..., 3:] / 255
    truth = rgba[..., :3] * opacity + ground * (1 - opacity)
    for data in (encoded(image, "PNG"), png16(np.asarray(image).astype(np.uint16) * 257)):
        found = decode(data, options=options)
        assert np.abs(found.pixels - truth).max() <= 1
        assert found.facts.notices == (f"Transparency was laid on {options.background}",)


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
            found = decoded(data, background=background)
            np.testing.assert_array_equal(found.pixels, DIM)
            assert found.facts.notices == ("Transparency of 0 everywhere was ignored",)


def test_an_opaque_alpha_says_nothing() -> None:
    rgba = np.dstack([DIM, np.full(DIM.shape[:2], 255, np.uint8)])
    for data in (encoded(Image.fromarray(rgba), "PNG"), png16(rgba.astype(np.uint16) * 257)):
        found = decoded(data)
        np.testing.assert_array_equal(found.pixels, DIM)
        assert (found.facts.alpha, found.facts.notices) == ("opaque", ())


# ---- pages and channels


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
    found = decoded(stack(*pages, order=order))
    np.testing.assert_array_equal(found.pixels, DIM)
    said = "Channels of page 1 of 1 read as red, green and blue"
    assert found.facts.notices == (said,)


def test_channels_that_do_not_vary_fastest() -> None:
    sizes = b'SizeC="3" SizeZ="2" SizeT="1"'
    text = (OME % sizes).replace(b"XYCZT", b"XYZCT")
    other = 255 - DIM
    pages: list[tuple[NDArray[Any], Entries]] = [
        (one[..., channel], {}) for channel in range(3) for one in (DIM, other)
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
    found = decoded(stack((small, reduced), (DIM, {})))
    np.testing.assert_array_equal(found.pixels, DIM)
    assert found.facts.notices == ("Page 2 of 2 was read",)
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


# ---- GIF, and moving pictures


def test_a_gif_is_read_and_its_first_frame_said() -> None:
    frames = [Image.fromarray(one).quantize(64) for one in (DIM, 255 - DIM)]
    still = encoded(frames[0], "GIF")
    found = decoded(still)
    np.testing.assert_array_equal(found.pixels, as_pillow(still))
    assert (found.facts.format, found.facts.notices) == ("GIF", ())
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    found = decoded(moving)
    np.testing.assert_array_equal(found.pixels, as_pillow(moving))
    assert found.facts.notices == ("The first frame of an animated GIF was read",)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_moving_pictures_say_so_too(kind: str) -> None:
    frames = [Image.fromarray(one) for one in (DIM, 255 - DIM)]
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


# ---- TIFFs whose decoders fill up what is missing


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

"""Decoding of every kind of file that is promised. The truth is the array that was written."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cam_engine.images.preparing import IMAGE_SUFFIXES, decode_image, read_image
from cam_engine.options import DecodingOptions

WHITE = DecodingOptions(background="white")
MIN_MAX = DecodingOptions(intensity="min-max")
MIN_MAX_ON_WHITE = DecodingOptions(intensity="min-max", background="white")
RNG = np.random.default_rng(20)
NOISE = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
# Unlike in any two of the eight orientations.
ARROW = np.arange(1, 6 * 9 * 3 + 1, dtype=np.uint8).reshape(6, 9, 3)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(height: int = 64, width: int = 96) -> NDArray[Any]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([y * 3, x * 2, 200 - y - x], axis=2).astype(np.uint8)


def tiff(
    pixels: Any,
    *,
    order: str = "<",
    orientation: int | None = None,
    photometric: int | None = None,
    extra: int | None = None,
    planar: int = 1,
    bits: int | None = None,
) -> bytes:
    """An uncompressed TIFF by hand (TIFF 6.0): one strip, or one a plane where planar is 2.

    With `bits`, `pixels` is a (height, width, packed bytes) triple of that depth.
    """
    if bits is None:
        height, width = pixels.shape[:2]
        samples = 1 if pixels.ndim == 2 else pixels.shape[2]
        depth, kind = pixels.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
        stored = np.moveaxis(pixels, 2, 0) if planar == 2 else pixels
        raw = stored.astype(pixels.dtype.newbyteorder(order)).tobytes()
    else:
        height, width, raw = pixels
        samples, depth, kind = 1, bits, 1
    strips = samples if planar == 2 else 1
    color = 2 if samples >= 3 else 1
    fields = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [depth] * samples),
        259: ("H", [1]),
        262: ("H", [color if photometric is None else photometric]),
        273: ("I", [0] * strips),
        274: ("H", [orientation or 1]),
        277: ("H", [samples]),
        278: ("I", [height]),
        279: ("I", [len(raw) // strips] * strips),
        284: ("H", [planar]),
        339: ("H", [kind] * samples),
    }
    if extra is not None:
        fields[338] = ("H", [extra])
    sizes = {tag: struct.calcsize(f"{len(v)}{code}") for tag, (code, v) in fields.items()}
    outside = 8 + 2 + 12 * len(fields) + 4
    start = outside + sum(size for size in sizes.values() if size > 4)
    fields[273] = ("I", [start + k * (len(raw) // strips) for k in range(strips)])
    directory, beyond = struct.pack(f"{order}H", len(fields)), b""
    for tag, (code, values) in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        directory += struct.pack(f"{order}HHI", tag, 3 if code == "H" else 4, len(values))
        if len(packed) > 4:
            directory += struct.pack(f"{order}I", outside + len(beyond))
            beyond += packed
        else:
            directory += packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return b"".join([head, directory, bytes(4), beyond, raw])


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png16(pixels: NDArray[Any], *chunks: bytes) -> bytes:
    """A 16-bit PNG by hand (ISO 15948): grey, grey + alpha, RGB or RGBA by its channels."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    color = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = png_chunk(b"IHDR", header) + b"".join(chunks)
    body += png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def orientation_exif(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def stretched(pixels: NDArray[Any]) -> NDArray[Any]:
    """The documented rescaling, in exact arithmetic's neighbourhood."""
    wide = pixels.astype(np.float64)
    scaled = (wide - wide.min()) / (wide.max() - wide.min()) * 255
    rgb = scaled if scaled.ndim == 3 else scaled[..., None]
    return np.broadcast_to(np.rint(rgb), (*pixels.shape[:2], 3)).astype(np.uint8)


def check(image: NDArray[Any]) -> NDArray[Any]:
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous
    return image


# ---- 8 bits and fewer


LOSSLESS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True, "exact": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff big": ("TIFF", {"big_tiff": True}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_come_back_exactly(name: str) -> None:
    kind, options = LOSSLESS[name]
    image = check(decode_image(encoded(Image.fromarray(NOISE), kind, **options)))
    np.testing.assert_array_equal(image, NOISE)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {"quality": 95}), ("MPO", {})],
)
def test_lossy_formats_come_back_nearly(kind: str, options: dict[str, Any]) -> None:
    image = check(decode_image(encoded(Image.fromarray(smooth()), kind, **options)))
    assert np.abs(image.astype(int) - smooth()).mean() < 3


def test_of_several_pictures_the_first_is_read() -> None:
    pictures = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    for kind, options in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)
        np.testing.assert_array_equal(decode_image(data), NOISE)


def test_grey_is_repeated_in_all_channels() -> None:
    grey = NOISE[..., 0]
    for kind in ("PNG", "TIFF", "BMP"):
        image = check(decode_image(encoded(Image.fromarray(grey), kind)))
        np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))
    jpeg = decode_image(encoded(Image.fromarray(smooth()[..., 0]), "JPEG"))
    assert np.abs(jpeg.astype(int) - smooth()[..., :1]).mean() < 3


def test_black_and_white_becomes_0_and_255() -> None:
    mask = NOISE[..., 0] > 127
    for kind in ("PNG", "TIFF", "BMP"):
        image = decode_image(encoded(Image.fromarray(mask), kind))
        np.testing.assert_array_equal(image[..., 1], np.where(mask, 255, 0))


def test_a_palette_gives_its_colours() -> None:
    palette = Image.fromarray(NOISE).quantize(16)
    truth = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)[np.array(palette)]
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(decode_image(encoded(palette, kind)), truth)


@pytest.mark.parametrize("transparent", [3, bytes([0, 255, 255, 0])])
def test_transparent_palette_entries_are_white(transparent: int | bytes) -> None:
    palette = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) % 4, "P")
    colors = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9]
    palette.putpalette(colors)
    image = check(decode_image(encoded(palette, "PNG", transparency=transparent), options=WHITE))
    assert image[0, 3].tolist() == [255, 255, 255]
    assert image[0, 1].tolist() == [0, 255, 0]
    first = [255, 255, 255] if isinstance(transparent, bytes) else [255, 0, 0]
    assert image[0, 0].tolist() == first


def test_alpha_is_laid_on_white() -> None:
    alpha = RNG.integers(0, 256, NOISE.shape[:2], dtype=np.uint8)
    alpha[0, 0], alpha[0, 1] = 0, 255
    rgba = np.dstack([NOISE, alpha])
    opacity = alpha[..., None] / 255
    truth = NOISE * opacity + 255 * (1 - opacity)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        image = check(decode_image(encoded(Image.fromarray(rgba), kind, **options), options=WHITE))
        assert np.abs(image - truth).max() <= 1
        assert image[0, 0].tolist() == [255, 255, 255]
        assert image[0, 1].tolist() == NOISE[0, 1].tolist()


def test_grey_with_alpha_is_laid_on_white() -> None:
    pair = np.zeros((2, 2, 2), np.uint8)
    pair[..., 0] = [[10, 20], [30, 40]]
    pair[..., 1] = [[255, 0], [0, 255]]
    for kind in ("PNG", "TIFF"):
        image = decode_image(encoded(Image.fromarray(pair, "LA"), kind), options=WHITE)
        assert image[..., 0].tolist() == [[10, 255], [255, 40]]


def test_cmyk_jpeg_has_the_colours_that_went_in() -> None:
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    image = check(decode_image(encoded(cmyk, "JPEG", quality=95)))
    assert np.abs(image.astype(int) - smooth()).mean() < 4


# ---- more than 8 bits


def twelve_bit(*shape: int, dtype: type[np.generic] = np.uint16) -> NDArray[Any]:
    pixels = RNG.integers(100, 4000, shape).astype(dtype)
    pixels.flat[0], pixels.flat[-1] = 0, 4095
    return pixels


@pytest.mark.parametrize("shape", [(11, 14), (11, 14, 3)])
@pytest.mark.parametrize(
    "write",
    [
        png16,
        tiff,
        lambda pixels: tiff(pixels, order=">"),
        lambda pixels: cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1],
        lambda pixels: cv2.imencode(".tiff", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1],
    ],
    ids=["png", "tiff", "tiff big-endian", "png by cv2", "tiff lzw by cv2"],
)
def test_twelve_bits_in_sixteen_use_the_whole_range(
    write: Callable[..., bytes], shape: tuple[int, ...]
) -> None:
    pixels = twelve_bit(*shape)
    image = check(decode_image(bytes(write(pixels))))
    np.testing.assert_array_equal(image, stretched(pixels))
    assert (image.min(), image.max()) == (0, 255)
    assert len(np.unique(image)) > 100


def test_channels_share_one_range_so_that_colours_stay() -> None:
    pixels = np.zeros((2, 2, 3), np.uint16)
    pixels[0, 0] = [4000, 2000, 1000]
    for data in (png16(pixels), tiff(pixels)):
        assert decode_image(data, options=MIN_MAX)[0, 0].tolist() == [255, 128, 64]


needs_unsigned_32 = pytest.mark.skipif(
    cv2.__version__.startswith("4."), reason="OpenCV 4 reads no unsigned 32-bit TIFF"
)


@pytest.mark.parametrize(
    "dtype",
    [np.int16, np.int32, pytest.param(np.uint32, marks=needs_unsigned_32), np.float32, np.float64],
)
@pytest.mark.parametrize("shape", [(11, 14), (11, 14, 3)])
@pytest.mark.parametrize("order", "<>")
def test_other_deep_tiffs_are_rescaled_too(
    dtype: type[np.generic], shape: tuple[int, ...], order: str
) -> None:
    pixels = twelve_bit(*shape, dtype=dtype)
    image = check(decode_image(tiff(pixels, order=order)))
    np.testing.assert_array_equal(image, stretched(pixels))


@needs_unsigned_32
def test_unsigned_32_bit_values_beyond_the_signed_range_do_not_wrap() -> None:
    pixels = np.array([[0, 2**31], [2**32 - 1, 2**30]], np.uint32)
    assert decode_image(tiff(pixels))[..., 0].tolist() == [[0, 128], [255, 64]]


def test_a_float_tiff_by_pillow_and_fractions_between_0_and_1() -> None:
    pixels = np.linspace(0.25, 0.5, 12, dtype=np.float32).reshape(3, 4)
    image = decode_image(encoded(Image.fromarray(pixels), "TIFF"), options=MIN_MAX)
    np.testing.assert_array_equal(image, stretched(pixels))


def test_nan_and_infinity_do_not_spoil_the_range() -> None:
    pixels = np.array([[0.0, 1.0, 2.0], [np.nan, np.inf, -np.inf]], np.float32)
    assert decode_image(tiff(pixels))[..., 0].tolist() == [[0, 128, 255], [0, 255, 0]]


def test_extreme_float64_values_neither_overflow_nor_warn() -> None:
    pixels = np.array([[-1.7e308, 0.0, 1.7e308]])
    assert decode_image(tiff(pixels))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("value", [0, 700, 65535])
def test_a_constant_deep_picture_is_no_division_by_zero(value: int) -> None:
    pixels = np.full((5, 6, 3), value, np.uint16)
    for data in (png16(pixels), tiff(pixels), png16(pixels[..., 0]), tiff(pixels[..., 0])):
        assert not check(decode_image(data, options=MIN_MAX)).any()


def test_white_is_zero_is_inverted() -> None:
    pixels = twelve_bit(5, 6)
    image = decode_image(tiff(pixels, photometric=0))
    np.testing.assert_array_equal(image, 255 - stretched(pixels))


def test_packed_twelve_bit_samples() -> None:
    values = RNG.integers(0, 4096, (4, 6))
    values[0, 0], values[-1, -1] = 0, 4095
    pairs = values.reshape(-1, 2)
    packed = b"".join(int(a << 12 | b).to_bytes(3, "big") for a, b in pairs)
    image = decode_image(tiff((4, 6, packed), bits=12))
    np.testing.assert_array_equal(image, stretched(values))


def test_deep_alpha_is_apart_from_the_range_and_laid_on_white() -> None:
    pixels = np.zeros((1, 4, 4), np.uint16)
    pixels[0, :, :3] = np.array([0, 500, 1000, 60000])[:, None]
    pixels[0, :, 3] = [65535, 65535, 32768, 0]  # the brightest value cannot be seen
    expected = [0, 128, 255, 255]
    for data in (png16(pixels), tiff(pixels, extra=2)):
        assert decode_image(data, options=MIN_MAX_ON_WHITE)[0, :, 0].tolist() == expected


def test_a_fourth_channel_that_is_no_alpha_is_left_out() -> None:
    pixels = np.concatenate([twelve_bit(5, 6, 3), np.zeros((5, 6, 1), np.uint16)], axis=2)
    np.testing.assert_array_equal(decode_image(tiff(pixels, extra=0)), stretched(pixels[..., :3]))


def test_premultiplied_colours_are_divided_by_their_alpha() -> None:
    plain = np.array([[[0, 0, 0], [40000, 20000, 10000]]], np.uint16)
    alpha = np.array([[[65535], [13107]]], np.uint16)  # 1 and 0.2
    stored = np.concatenate([(plain * (alpha / 65535)).astype(np.uint16), alpha], axis=2)
    shown = decode_image(tiff(stored, extra=1), options=MIN_MAX_ON_WHITE)[0, 1]
    on_white = 0.2 * np.array([255, 127.5, 63.75]) + 0.8 * 255
    np.testing.assert_allclose(shown, on_white, atol=1)


def test_deep_grey_with_alpha_and_with_a_transparent_value() -> None:
    pixels = np.zeros((1, 3, 2), np.uint16)
    pixels[0, :, 0], pixels[0, :, 1] = [0, 1000, 9], [65535, 65535, 0]
    assert decode_image(png16(pixels), options=MIN_MAX_ON_WHITE)[0, :, 0].tolist() == [0, 255, 255]
    keyed = png16(pixels[..., 0], png_chunk(b"tRNS", struct.pack(">H", 9)))
    assert decode_image(keyed, options=MIN_MAX_ON_WHITE)[0, :, 0].tolist() == [0, 255, 255]
    color = np.repeat(pixels[..., :1], 3, axis=2)
    keyed = png16(color, png_chunk(b"tRNS", struct.pack(">HHH", 9, 9, 9)))
    assert decode_image(keyed, options=MIN_MAX_ON_WHITE)[0, :, 0].tolist() == [0, 255, 255]


# ---- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = orientation_exif(orientation)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(ARROW), kind, exif=exif, **options)
    np.testing.assert_array_equal(check(decode_image(data)), turned(ARROW, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg(orientation: int) -> None:
    data = encoded(Image.fromarray(smooth()), "JPEG", exif=orientation_exif(orientation))
    image = check(decode_image(data))
    with Image.open(io.BytesIO(data)) as opened:
        truth = np.array(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(image, truth)
    assert np.abs(image.astype(int) - turned(smooth(), orientation)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_orientation_of_deep_pictures(channels: int, orientation: int) -> None:
    pixels = ARROW.astype(np.uint16) * 20
    pixels = pixels[..., 0] if channels == 1 else pixels
    truth = turned(stretched(pixels), orientation)
    np.testing.assert_array_equal(
        decode_image(tiff(pixels, orientation=orientation), options=MIN_MAX), truth
    )
    exif = png_chunk(b"eXIf", orientation_exif(orientation).tobytes().removeprefix(b"Exif\0\0"))
    np.testing.assert_array_equal(decode_image(png16(pixels, exif), options=MIN_MAX), truth)


def turned(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """EXIF 2.32, tag 0x0112, spelled out: where row 0 and column 0 of the stored picture belong."""
    height, width = stored.shape[:2]
    shown = np.empty((width, height, 3) if orientation > 4 else (height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            bottom, right = height - 1 - y, width - 1 - x
            place = {
                1: (y, x),
                2: (y, right),
                3: (bottom, right),
                4: (bottom, x),
                5: (x, y),
                6: (x, bottom),
                7: (right, bottom),
                8: (right, y),
            }[orientation]
            shown[place] = stored[y, x]
    return shown


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_means_nothing_is_ignored(orientation: int) -> None:
    data = encoded(Image.fromarray(NOISE), "PNG", exif=orientation_exif(orientation))
    np.testing.assert_array_equal(decode_image(data), NOISE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so while opening
def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x01\x02\x03"
    data = encoded(Image.fromarray(smooth()), "JPEG", exif=exif)
    assert np.abs(decode_image(data).astype(int) - smooth()).mean() < 3


# ---- files


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "cell.jpg"
    path.write_bytes(encoded(Image.fromarray(NOISE), "PNG"))
    np.testing.assert_array_equal(read_image(path), NOISE)


def test_suffixes_are_lower_case_with_a_dot() -> None:
    wanted = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    assert wanted == IMAGE_SUFFIXES


def test_many_threads_read_the_same() -> None:
    pixels = twelve_bit(60, 70, 3)
    files = [
        encoded(Image.fromarray(smooth()), "JPEG", exif=orientation_exif(6)),
        encoded(Image.fromarray(NOISE), "WEBP"),
        encoded(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw"),
        png16(pixels),
        tiff(pixels),
    ] * 20
    alone = [decode_image(data) for data in files[:5]] * 20
    with ThreadPoolExecutor(8) as pool:
        for image, truth in zip(pool.map(decode_image, files), alone, strict=True):
            np.testing.assert_array_equal(image, truth)


@pytest.mark.parametrize("height", [255, 256, 257, 700])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_tall_pictures_are_whole(height: int, mode: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (height, 3, 3), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), np.array(picture.convert("RGB")))

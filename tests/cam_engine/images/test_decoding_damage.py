"""Damaged, hostile and mistaken input: one clear error each, and never half a picture."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile

from cam_engine.errors import CamError, ImageNotFound, ImageTooLarge, InvalidImage, InvalidOption
from cam_engine.images.preparing import ImageLimits, decode_image, read_image

RNG = np.random.default_rng(22)
PICTURE = RNG.integers(0, 256, (23, 31, 3), dtype=np.uint8)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(kind: str, picture: NDArray[Any] = PICTURE, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def deep(suffix: str) -> bytes:
    pixels = RNG.integers(0, 4096, PICTURE.shape, dtype=np.uint16)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *, bits: int = 8, body: bytes = b"") -> bytes:
    """An RGB PNG whose header may promise more than its body holds."""
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return PNG_SIGNATURE + chunk(b"IHDR", header) + data


def claim(data: bytes, where: int, layout: str, *values: int | bytes) -> bytes:
    """The same file with other numbers written over its header."""
    changed = bytearray(data)
    struct.pack_into(layout, changed, where, *values)
    return bytes(changed)


def tiff_claim(data: bytes, tag: int, value: int) -> bytes:
    """The same little-endian TIFF with one field of its directory changed."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry) == (tag,):
            return claim(data, entry + 2, "<HII", 4, 1, value)
    raise AssertionError(f"no tag {tag}")


def jpeg_claim(data: bytes, width: int, height: int) -> bytes:
    frame = data.index(b"\xff\xc0")
    return claim(data, frame + 5, ">HH", height, width)


WHOLE = {
    "png": encoded("PNG"),
    "png 16 bit": deep(".png"),
    "jpeg": encoded("JPEG"),
    "jpeg progressive": encoded("JPEG", progressive=True),
    "mpo": encoded("MPO"),
    "webp": encoded("WEBP"),
    "webp lossless": encoded("WEBP", lossless=True),
    "bmp": encoded("BMP"),
    "tiff": encoded("TIFF"),
    "tiff deflate": encoded("TIFF", compression="tiff_adobe_deflate"),
    "tiff 16 bit": deep(".tiff"),
}
TRUTH = {name: decode_image(data) for name, data in WHOLE.items()}


# ---- a table of bad input


TIFF = WHOLE["tiff"]
BAD = {
    "nothing": (b"", InvalidImage, "empty"),
    "text": (b"path,label\ncell.png,1\n", InvalidImage, "not an image in a format"),
    "pdf": (b"%PDF-1.4\n%\xe2\xe3", InvalidImage, r"^a PDF document, .* save its picture as PNG"),
    "gif": (b"GIF89a" + bytes(20), InvalidImage, "no pixels"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(20), InvalidImage, "^a HEIC or AVIF, "),
    "page": (b"\n<!DOCTYPE html><p>", InvalidImage, "^a web page or other text with tags, "),
    "zip": (b"PK\x03\x04" + bytes(20), InvalidImage, "^a zip archive or office document, "),
    "dicom": (bytes(128) + b"DICM" + bytes(9), InvalidImage, "^a DICOM file, "),
    "one byte": (b"\xff", InvalidImage, "not an image in a format"),
    "only a signature": (PNG_SIGNATURE, InvalidImage, "PNG data is damaged"),
    "half a jpeg": (WHOLE["jpeg"][:-200], InvalidImage, "JPEG data .* truncated"),
    "half a png": (WHOLE["png"][:-200], InvalidImage, "PNG data .* cut short"),
    "half a deep png": (WHOLE["png 16 bit"][:-200], InvalidImage, "PNG data .* cut short"),
    "half a webp": (WHOLE["webp"][:-20], InvalidImage, "WebP data is damaged"),
    "half a bmp": (WHOLE["bmp"][:-20], InvalidImage, "BMP data .* truncated"),
    "half a tiff": (TIFF[:-20], InvalidImage, "TIFF data is damaged"),
    "half a deep tiff": (WHOLE["tiff 16 bit"][:-20], InvalidImage, "TIFF data is damaged"),
    "png of no width": (png(0, 5), InvalidImage, "no pixels .0 x 5."),
    "bmp of no height": (claim(WHOLE["bmp"], 22, "<i", 0), InvalidImage, "BMP data is damaged"),
    "tiff of no width": (tiff_claim(TIFF, 256, 0), InvalidImage, "no pixels"),
    "png without its rows": (png(40, 40, body=bytes(300)), InvalidImage, "truncated"),
    "deep png without rows": (png(40, 40, bits=16, body=bytes(300)), InvalidImage, "truncated"),
    "png with a flipped bit": (
        claim(WHOLE["png"], 200, "B", WHOLE["png"][200] ^ 1),
        InvalidImage,
        "checksum",
    ),
    "png bomb": (png(60_000, 60_000), ImageTooLarge, "60,000 x 60,000 pixels are more than"),
    "deep png bomb": (png(60_000, 60_000, bits=16), ImageTooLarge, "60,000 x 60,000"),
    "jpeg bomb": (jpeg_claim(WHOLE["jpeg"], 65_000, 65_000), ImageTooLarge, "65,000 x 65,000"),
    "bmp bomb": (claim(WHOLE["bmp"], 18, "<ii", 60_000, 60_000), ImageTooLarge, "60,000"),
    "webp bomb": (
        claim(WHOLE["webp"], 26, "<HH", 16_383, 16_383),
        ImageTooLarge,
        "16,383 x 16,383",
    ),
    "lossless webp bomb": (
        claim(WHOLE["webp lossless"], 21, "<I", 16_383 | 16_383 << 14),
        ImageTooLarge,
        "16,384 x 16,384",
    ),
    "tiff bomb": (
        tiff_claim(tiff_claim(TIFF, 256, 60_000), 257, 60_000),
        ImageTooLarge,
        "60,000 x 60,000",
    ),
    "tiff of negative width": (tiff_claim(TIFF, 256, 2**32 - 1), ImageTooLarge, "4,294,967,295"),
    "tiff that loops": (b"II*\0\x00\x00\x00\x00", InvalidImage, "TIFF data is damaged"),
    "tiff beyond its end": (b"II*\0\xff\xff\xff\xff", InvalidImage, "TIFF data is damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_a_message_that_says_why(name: str) -> None:
    data, error, says = BAD[name]
    with pytest.raises(error, match=says) as caught:
        decode_image(data)
    assert type(caught.value) is error
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", [name for name in BAD if "bomb" in name])
def test_a_bomb_is_never_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, error, _ = BAD[name]
    begun = []
    for owner, what in ((ImageFile.ImageFile, "load"), (cv2, "imdecode"), (cv2, "imdecodemulti")):
        monkeypatch.setattr(owner, what, lambda *_args, **_options: begun.append(1))
    tracemalloc.start()
    with pytest.raises(error):
        decode_image(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not begun
    assert peak < 1_000_000


def test_a_foreign_exception_is_chained() -> None:
    with pytest.raises(InvalidImage) as caught:
        decode_image(WHOLE["jpeg"][:-200])
    assert isinstance(caught.value.__cause__, OSError)


def test_deep_tiffs_that_would_lose_their_low_byte_are_refused() -> None:
    cmyk = claim(WHOLE["tiff 16 bit"], 0, "0s", b"")
    with pytest.raises(InvalidImage, match=r"16-bit TIFF of this layout.*save it as"):
        decode_image(tiff_claim(cmyk, 262, 5))


def test_a_size_given_twice_cannot_smuggle_a_larger_picture_in() -> None:
    small = tiff_claim(TIFF, 256, 31)
    (at,) = struct.unpack_from("<I", small, 4)
    doubled = claim(small, at + 2 + 12, "<H", 256)
    with pytest.raises(InvalidImage, match="TIFF tag 256 is malformed"):
        decode_image(doubled)


def test_a_picture_of_nan_only_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((3, 3), np.nan, np.float32)).save(buffer, "TIFF")
    with pytest.raises(InvalidImage, match="every pixel is NaN"):
        decode_image(buffer.getvalue())


# ---- limits


@pytest.mark.parametrize("name", WHOLE)
def test_the_limits_hold_for_every_format_to_the_pixel_and_byte(name: str) -> None:
    data, pixels = WHOLE[name], PICTURE.shape[0] * PICTURE.shape[1]
    decode_image(data, ImageLimits(max_bytes=len(data), max_pixels=pixels))
    with pytest.raises(ImageTooLarge, match="pixels are more than the 712 allowed"):
        decode_image(data, ImageLimits(max_pixels=pixels - 1))
    with pytest.raises(ImageTooLarge, match="bytes are more than"):
        decode_image(data, ImageLimits(max_bytes=len(data) - 1))


@pytest.mark.filterwarnings("error")
def test_a_limit_above_pillows_own_lets_more_through_without_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("png", "jpeg", "bmp"):
        np.testing.assert_array_equal(decode_image(WHOLE[name]), TRUTH[name])
    for allowed in (100, 500):  # Pillow stops at the double, and warns before
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", allowed)
        with pytest.raises(ImageTooLarge, match="Pillow"):
            decode_image(TIFF)


def test_a_huge_tile_is_refused_before_it_is_allocated() -> None:
    tiled = tiff_claim(tiff_claim(TIFF, 278, 60_000), 284, 60_000)
    (at,) = struct.unpack_from("<I", tiled, 4)
    for entry in range(at + 2, len(tiled) - 2):
        if struct.unpack_from("<HHI", tiled, entry) == (278, 4, 1):
            tiled = claim(tiled, entry, "<H", 322)
        if struct.unpack_from("<HHI", tiled, entry) == (284, 4, 1):
            tiled = claim(tiled, entry, "<H", 323)
            break
    with pytest.raises(ImageTooLarge, match="tiles of 3,600,000,000 pixels"):
        decode_image(tiled)


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_pixels": 0}, {"max_pixels": -5}])
def test_limits_that_let_nothing_through_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidOption, match="at least 1"):
        ImageLimits(**limits)


# ---- files


def test_messages_begin_with_the_name_of_the_file(tmp_path: Path) -> None:
    files = {"cut.png": WHOLE["png"][:-200], "bomb.png": png(60_000, 60_000), "none.tif": b""}
    errors = {"cut.png": InvalidImage, "bomb.png": ImageTooLarge, "none.tif": InvalidImage}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(errors[name], match=f"^{name}: "):
            read_image(tmp_path / name)


def test_text_with_the_name_of_an_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(InvalidImage, match=r"^notes\.png: not an image"):
        read_image(path)


def test_a_missing_file_a_folder_and_a_pipe_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for name in ("gone.png", "folder.png", "pipe.png", "file/inside.png"):
        with pytest.raises(ImageNotFound, match=f"^{name.split('/')[-1]}: "):
            read_image(tmp_path / name)
    with pytest.raises(InvalidImage, match="null"):
        read_image(tmp_path / "a\0b.png")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    tracemalloc.start()
    with pytest.raises(ImageTooLarge, match=r"^huge\.tif: 10,737,418,240 bytes"):
        read_image(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


# ---- any damage


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(WHOLE)), share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(name: str, share: float) -> None:
    expect_refused_or_whole(name, int(len(WHOLE[name]) * share))


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_near_its_end_is_refused(name: str) -> None:
    for missing in range(1, 40):
        expect_refused_or_whole(name, len(WHOLE[name]) - missing)


def expect_refused_or_whole(name: str, cut: int) -> None:
    """What is accepted is the whole picture, and lacks at most a row's padding (BMP), the closing
    chunk's checksum (PNG) or what follows the first picture (MPO).
    """
    data = WHOLE[name][:cut]
    spare = {"bmp": 3, "png": 4, "png 16 bit": 4, "mpo": 100}.get(name, 0)
    try:
        image = decode_image(data)
    except InvalidImage:
        return
    assert len(WHOLE[name]) - cut <= spare
    np.testing.assert_array_equal(image, TRUTH[name])


@settings(max_examples=500, deadline=None)
@given(
    name=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(
        st.tuples(st.one_of(st.integers(0, 300), st.integers(0, 5000)), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    ),
    from_end=st.booleans(),
)
def test_changed_bytes_give_a_picture_or_our_error(
    name: str, changes: list[tuple[int, int]], from_end: bool
) -> None:
    data = bytearray(WHOLE[name])
    for where, value in changes:
        place = where % len(data)
        data[-1 - place if from_end else place] = value
    expect_picture_or_our_error(bytes(data))


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([data[:40] for data in WHOLE.values()] + [b""]),
    rest=st.binary(max_size=200),
)
def test_noise_after_a_true_beginning_gives_our_error_only(start: bytes, rest: bytes) -> None:
    expect_picture_or_our_error(start + rest)


def expect_picture_or_our_error(data: bytes) -> None:
    try:
        image = decode_image(data)
    except CamError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous


@pytest.mark.parametrize("data", [b"%PDF-1.4 x", b"\xff\xfe\xfd\xfc", b"GIF89a"])
def test_no_bytes_are_quoted(data: bytes) -> None:
    with pytest.raises(InvalidImage) as refused:
        decode_image(data)
    assert "b'" not in str(refused.value)
    assert "\\x" not in str(refused.value)

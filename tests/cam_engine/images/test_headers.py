"""What files say of themselves: of files that Pillow wrote, and of what no decoder should walk."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cam_engine.images.headers import (
    FilePieces,
    PngHeader,
    PngParts,
    is_deep_png,
    read_gif_header,
    read_jpeg_header,
    read_png_header,
    read_png_parts,
    read_webp_size,
    still_png,
    webp_is_animated,
    without_texts,
)
from tests.cam_engine.images.test_decoding import encoded, png16, png_chunk

PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 40, 3), dtype=np.uint8))
PNG = encoded(PICTURE, "PNG")


def with_chunks(*chunks: bytes) -> bytes:
    """The PNG with these behind its header."""
    return PNG[:33] + b"".join(chunks) + PNG[33:]


@pytest.mark.parametrize(
    ("mode", "bits", "channels"),
    [("1", 1, 1), ("L", 8, 1), ("P", 8, 1), ("RGB", 8, 3), ("LA", 8, 4), ("RGBA", 8, 4)],
)
def test_a_png_says_its_size_and_depth(mode: str, bits: int, channels: int) -> None:
    data = encoded(PICTURE.convert(mode), "PNG")
    assert read_png_header(data) == PngHeader(40, 24, bits, channels)
    assert not read_png_header(data).deep
    assert not is_deep_png(data)


def test_a_deep_png_is_known() -> None:
    data = png16(np.zeros((3, 5, 3), np.uint16))
    assert read_png_header(data) == PngHeader(5, 3, 16, 3)
    assert read_png_header(data).deep
    assert is_deep_png(data)
    assert not is_deep_png(data[:24])
    assert not is_deep_png(b"x" + data)


@pytest.mark.parametrize("data", [PNG[:8] + PNG[33:], b"", PNG[:20]])
def test_a_png_whose_header_is_not_there_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        read_png_header(data)


@pytest.mark.parametrize(
    ("chunks", "parts"),
    [
        ([], PngParts(None, animated=False, has_texts=False)),
        ([png_chunk(b"sBIT", b"\x05\x06\x05")], PngParts(6, animated=False, has_texts=False)),
        # Of grey with alpha, the alpha's depth does not count.
        ([png_chunk(b"sBIT", b"\x0a\x10")], PngParts(10, animated=False, has_texts=False)),
        ([png_chunk(b"sBIT", b"\5\6\5\x10")], PngParts(6, animated=False, has_texts=False)),
        ([png_chunk(b"sBIT", b"\0")], PngParts(None, animated=False, has_texts=False)),
        ([png_chunk(b"acTL", bytes(8))], PngParts(None, animated=True, has_texts=False)),
        ([png_chunk(b"tEXt", b"a\0b")], PngParts(None, animated=False, has_texts=True)),
        ([png_chunk(b"iCCP", b"a\0\0")], PngParts(None, animated=False, has_texts=True)),
    ],
)
def test_the_chunks_of_a_png_are_walked_over(chunks: list[bytes], parts: PngParts) -> None:
    assert read_png_parts(with_chunks(*chunks)) == parts


PACKED = png_chunk(b"zTXt", b"a\0\0x")
PACKED_AFTER_FLAG = png_chunk(b"iTXt", b"a\0\1\0\0\0x")
UNPACKED = png_chunk(b"iTXt", b"a\0\0\0\0\0x")


@pytest.mark.parametrize("chunk", [PACKED, PACKED_AFTER_FLAG])
def test_a_few_compressed_texts_are_read_and_no_more(chunk: bytes) -> None:
    read_png_parts(with_chunks(*[chunk] * 16, *[UNPACKED] * 50))
    with pytest.raises(ValueError, match="more than 16 compressed texts"):
        read_png_parts(with_chunks(*[chunk] * 17))


def test_chunks_that_are_the_work_themselves_are_refused() -> None:
    empty = png_chunk(b"aaaa", b"")
    chunks_of_a_picture = PNG.count(b"IDAT") + 2
    read_png_parts(with_chunks(*[empty] * (20_000 - chunks_of_a_picture)))
    with pytest.raises(ValueError, match="more than 20,000 chunks"):
        read_png_parts(with_chunks(*[empty] * 20_000))
    profile = png_chunk(b"iCCP", b"a\0\0")
    with pytest.raises(ValueError, match="more than one colour profile"):
        read_png_parts(with_chunks(profile, profile))


def test_texts_are_left_out_once_their_checksums_are_compared() -> None:
    text = png_chunk(b"tEXt", b"a\0b")
    assert without_texts(with_chunks(text, png_chunk(b"iCCP", b"p\0\0x"))) == PNG
    with pytest.raises(ValueError, match="a checksum does not fit"):
        without_texts(with_chunks(text[:-1] + b"\0"))


def test_a_still_picture_is_made_of_the_chunks_of_pixels_alone() -> None:
    beside = [png_chunk(b"acTL", bytes(8)), png_chunk(b"fcTL", bytes(26)), UNPACKED]
    assert still_png(with_chunks(*beside)) == PNG


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_says_its_size_and_what_its_decoder_keeps(
    subsampling: int, progressive: bool
) -> None:
    data = encoded(PICTURE, "JPEG", subsampling=subsampling, progressive=progressive)
    header = read_jpeg_header(data, 100)
    assert (header.width, header.height) == (40, 24)
    chroma = {0: 1, 1: 2, 2: 4}[subsampling]
    samples = 40 * 24 + 2 * 40 * 24 // chroma
    assert header.kept_bytes == (2 * samples if progressive else 0)
    assert header.scans == 1  # fewer than 17 are not counted


def scans(count: int) -> bytes:
    """A baseline JPEG of one component whose scans are empty."""
    frame = struct.pack(">HBHHB3B", 11, 8, 7, 9, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HB5B", 8, 1, 1, 0, 0, 63, 0)
    return b"\xff\xd8\xff\xc0" + frame + scan * count + b"\xff\xd9"


@pytest.mark.parametrize(("count", "counted"), [(1, 1), (16, 1), (17, 17), (40, 21)])
def test_many_scans_are_counted_up_to_one_more_than_is_asked_for(count: int, counted: int) -> None:
    assert read_jpeg_header(scans(count), 20).scans == counted


def test_segments_and_padding_that_are_the_work_themselves_are_refused() -> None:
    comment = b"\xff\xfe\0\2"
    picture = scans(1)[2:]
    read_jpeg_header(b"\xff\xd8" + comment * 9_000 + picture, 20)
    for filling in (comment * 10_001, b"\0" * (2**16 + 1)):
        with pytest.raises(ValueError, match="more segments or padding than any picture needs"):
            read_jpeg_header(b"\xff\xd8" + filling + picture, 20)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*"}])
def test_each_header_of_a_webp_says_its_size(options: dict[str, Any]) -> None:
    data = encoded(PICTURE, "WEBP", **options)
    assert read_webp_size(data) == (40, 24)
    assert not webp_is_animated(data)


def test_an_animated_webp_is_known_and_an_unknown_one_refused() -> None:
    data = encoded(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)])
    assert webp_is_animated(data)
    with pytest.raises(ValueError, match="unknown WebP chunk"):
        read_webp_size(data[:12] + b"ABCD" + data[16:])


def test_a_gif_is_as_large_as_its_first_picture_needs() -> None:
    still = encoded(PICTURE, "GIF")
    assert (read_gif_header(still).width, read_gif_header(still).height) == (40, 24)
    assert not read_gif_header(still).animated
    small = still[:6] + struct.pack("<HH", 3, 50) + still[10:]
    assert (read_gif_header(small).width, read_gif_header(small).height) == (40, 50)
    at = still.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 40, 24))
    moved = still[: at + 1] + struct.pack("<HH", 7, 9) + still[at + 5 :]
    assert (read_gif_header(moved).width, read_gif_header(moved).height) == (47, 33)
    moving = encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(180)])
    assert read_gif_header(moving).animated


def test_a_gif_of_endless_extensions_or_blocks_is_refused() -> None:
    head = b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0)
    comment = b"\x21\xfe\0"
    assert read_gif_header(head + comment * 10_000).width == 4
    with pytest.raises(ValueError, match="more than 10,000 extensions"):
        read_gif_header(head + comment * 10_001)
    with pytest.raises(ValueError, match="more blocks than any picture needs"):
        read_gif_header(head + b"\x21\xfe" + b"\1x" * 12_000)


def test_pieces_of_a_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data := bytes(range(100)))
    with path.open("rb") as file:
        pieces = FilePieces(file)
        assert len(pieces) == 100
        for start, stop in ((0, 4), (90, 200), (150, 160), (7, 7), (9, 3), (None, None), (5, None)):
            assert pieces[start:stop] == data[start:stop]


def test_what_a_file_shrinks_by_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(20_000))
    with path.open("rb") as file:
        pieces = FilePieces(file)
        path.write_bytes(b"abc")
        assert pieces[19_990:20_000] == b""
        assert len(pieces) == 20_000

"""What a TIFF says of its pages, of files written by hand and by Pillow."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cam_engine.errors import PageNotFound
from cam_engine.images.tiff_headers import TiffFile, TiffPicture, is_deep_tiff
from tests.cam_engine.images.pictures import DIM, OME, Entries, stack
from tests.cam_engine.images.test_decoding import encoded

GREY = DIM[..., 0]
REDUCED: Entries = {254: ("I", [1])}
PLANES: Entries = {270: OME % b'SizeC="3" SizeZ="1" SizeT="1"'}


def first_header(data: bytes) -> Any:
    file = TiffFile(data)
    return file.header(file.picture(None).pages[0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "kind", "deep"),
    [
        ("u1", "unsigned", False),
        ("i1", "signed", True),
        ("u2", "unsigned", True),
        ("i2", "signed", True),
        ("f4", "float", True),
    ],
)
def test_a_page_says_its_size_and_samples(order: str, dtype: str, kind: str, deep: bool) -> None:
    data = stack((np.zeros((24, 32, 3), dtype), {}), order=order)
    header = first_header(data)
    assert (header.width, header.height, header.samples) == (32, 24, 3)
    assert (header.bits, header.kind) == (8 * np.dtype(dtype).itemsize, kind)
    assert (header.photometric, header.interleaved, header.compression) == (2, True, 1)
    assert (header.extra, header.orientation, header.most_sample) == ((), 1, None)
    assert header.blocks == ((8, 24 * 32 * 3 * np.dtype(dtype).itemsize),)
    assert header.data_end == 8 + header.claimed_bytes == 8 + header.blocks[0][1]
    assert (header.block_pixels, header.decoded_pixels) == (0, 24 * 32)
    assert header.deep is is_deep_tiff(data) is deep


@pytest.mark.parametrize("big", [False, True])
def test_what_pillow_writes_is_read(big: bool) -> None:
    out = io.BytesIO()
    Image.fromarray(DIM).save(out, "TIFF", big_tiff=big)
    file = TiffFile(out.getvalue())
    assert file.big is big
    header = file.header(file.picture(None).pages[0])
    assert (header.width, header.height, header.bits, header.samples) == (32, 24, 8, 3)


def test_tiles_are_counted_in_whole() -> None:
    tiles: Entries = {322: ("I", [16]), 323: ("I", [16])}
    header = first_header(stack((DIM, tiles)))
    assert (header.block_pixels, header.decoded_pixels) == (256, 2 * 2 * 256)


def test_strips_that_lie_beyond_the_file_claim_what_there_is() -> None:
    data = stack((GREY, {273: ("I", [8, 10**6]), 279: ("I", [10, 99])}))
    header = first_header(data)
    assert header.claimed_bytes == 10
    assert header.data_end == 10**6 + 99
    sizes_missing: Entries = {273: ("I", [8, 20]), 279: ("I", [10]), 259: ("H", [5])}
    with pytest.raises(ValueError, match="the sizes of its strips or tiles are missing"):
        first_header(stack((GREY, sizes_missing)))


@pytest.mark.parametrize("tag", [256, 258, 273])
def test_a_tag_that_decoders_may_read_differently_is_refused(tag: int) -> None:
    with pytest.raises(ValueError, match=f"TIFF tag {tag} is malformed"):
        first_header(stack((GREY, {tag: b"text"})))


@pytest.mark.parametrize("tag", [254, 274, 281])
def test_what_is_wrong_beside_the_picture_is_no_matter(tag: int) -> None:
    assert first_header(stack((GREY, {tag: b"text"}))).width == 32


@pytest.mark.parametrize(
    ("page", "picture"),
    [(None, (2, 3, 2)), (2, (2, 3, 2)), (3, (3, 3, 2)), (1, (1, 3, 3))],
)
def test_a_reduced_copy_is_read_only_where_it_is_asked_for(
    page: int | None, picture: tuple[int, int, int]
) -> None:
    file = TiffFile(stack((GREY[::2, ::2], REDUCED), (GREY, {}), (GREY, {})))
    told = file.picture(page)
    assert (told.number, told.count, told.full) == picture
    assert not told.combined
    assert file.header(told.pages[0]).width == (16 if page == 1 else 32)
    with pytest.raises(PageNotFound, match="page 4 was asked for, but the file has 3 pages"):
        file.picture(4)
    with pytest.raises(PageNotFound, match=r"but the file has 1 page$"):
        TiffFile(stack((GREY, {}))).picture(2)


def test_channels_as_pages_are_one_picture() -> None:
    file = TiffFile(stack((GREY, PLANES), (GREY, {}), (GREY, {})))
    told = file.picture(None)
    assert (told.number, told.count, told.combined) == (1, 1, True)
    assert len(set(told.pages)) == 3
    with pytest.raises(PageNotFound):
        file.picture(2)


@pytest.mark.parametrize(
    "other",
    [
        (DIM, {}),
        (GREY[:9], {}),
        (GREY.astype(np.uint16), {}),
        (GREY.astype(np.int8), {}),
        (GREY, {262: ("H", [0])}),
    ],
)
def test_pages_that_are_not_alike_are_no_channels(other: tuple[Any, Entries]) -> None:
    told = TiffFile(stack((GREY, PLANES), (GREY, {}), other)).picture(None)
    assert told == TiffPicture(1, 3, 3, told.pages)
    assert len(told.pages) == 1


@pytest.mark.parametrize(
    ("description", "bits"),
    [
        (b"", None),
        (b'<Pixels SizeX="2" SignificantBits="12">', 12),
        (b"ImageJ=1.53\nmin=0\nmax=4095.0\n", 12),
        (b"ImageJ=1.53\nmax=4096\n", 13),
        (b"max=4095\n", None),
    ],
)
def test_a_depth_may_stand_in_the_description(description: bytes, bits: int | None) -> None:
    file = TiffFile(stack((GREY, {270: description} if description else {})))
    assert file.description.rstrip(b"\0") == description
    assert file.declared_bits == bits


def test_any_page_can_be_made_the_first() -> None:
    file = TiffFile(stack((GREY, {}), (DIM, {})))
    at = file.picture(2).pages[0]
    with Image.open(io.BytesIO(file.beginning_with(at))) as image:
        np.testing.assert_array_equal(np.asarray(image), DIM)
    first = file.picture(1).pages[0]
    assert file.beginning_with(first) == stack((GREY, {}), (DIM, {}))


@pytest.mark.parametrize(
    "data",
    [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\x7f", b"II+\0" + bytes(12), b"II*\0" + bytes(4)],
)
def test_what_has_no_page_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        TiffFile(data)
    assert not is_deep_tiff(data)


def test_a_page_that_follows_itself_is_refused() -> None:
    data = bytearray(stack((GREY, {})))
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    struct.pack_into("<I", data, at + 2 + 12 * entries, at)
    with pytest.raises(ValueError, match="its pages have no end"):
        TiffFile(bytes(data))
    assert not is_deep_tiff(bytes(data))


def test_a_page_that_does_not_lie_in_the_file_ends_them() -> None:
    whole = stack((GREY, {}), (GREY, {}))
    second = TiffFile(whole).picture(2).pages[0]
    assert TiffFile(whole[: second + 10]).picture(None).count == 1


def test_other_files_are_not_deep() -> None:
    deep = stack((GREY.astype(np.uint16), {}))
    assert is_deep_tiff(deep)
    assert not is_deep_tiff(b"x" + deep)
    assert not is_deep_tiff(encoded(Image.fromarray(DIM), "PNG"))
    assert is_deep_tiff(stack((GREY, REDUCED), (GREY.astype(np.uint16), {})))
    assert not is_deep_tiff(stack((GREY.astype(np.uint16), REDUCED), (GREY, {})))

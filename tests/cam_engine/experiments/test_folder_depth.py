"""The depth of a folder's deep images: one for all, found by reading no more than is needed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cam_engine.experiments.finding import ImageItem
from cam_engine.experiments.folder_depth import FolderDepth
from cam_engine.options import CamOptions, DecodingOptions
from tests.cam_engine.images.pictures import stack
from tests.cam_engine.images.test_decoding import encoded, png16, tiff

KIB = 2**10
PLAIN = np.random.default_rng(5).integers(0, 256, (1200, 1800, 3), dtype=np.uint8)


def camera(most: int) -> NDArray[np.uint16]:
    """Samples up to `most` in 16 bits."""
    return np.linspace(0, most, 24 * 32).reshape(24, 32).astype(np.uint16)


def items(folder: Path, **files: bytes) -> list[ImageItem]:
    """Files by name, "_" before the suffix, as images."""
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return [ImageItem(path, path.stem, None) for path in sorted(folder.iterdir())]


def depth_of(images: list[ImageItem], wanted: list[ImageItem] | None = None) -> int | None:
    depth = FolderDepth(images)
    return depth.added_to(CamOptions(), images if wanted is None else wanted).decoding.depth_bits


def bytes_read() -> int:
    """By this process so far, from files and whatever else."""
    (line, *_) = Path("/proc/self/io").read_text().splitlines()
    return int(line.removeprefix("rchar:"))


def plain_png() -> bytes:
    return encoded(Image.fromarray(PLAIN), "PNG", compress_level=0)


def plain_tiff() -> bytes:
    """Its directory stands behind its pixels."""
    return encoded(Image.fromarray(PLAIN), "TIFF")


def big_tiff() -> bytes:
    out = io.BytesIO()
    Image.fromarray(PLAIN).save(out, "TIFF", big_tiff=True)
    return out.getvalue()


@pytest.mark.parametrize("make", [plain_png, plain_tiff, big_tiff])
def test_of_large_files_the_headers_are_read(tmp_path: Path, make: Callable[[], bytes]) -> None:
    data = make()
    assert len(data) > 6000 * KIB
    suffix = "png" if make is plain_png else "tif"
    images = items(tmp_path, **{f"{name}_{suffix}": data for name in "abc"})
    before = bytes_read()
    assert depth_of(images) is None
    assert bytes_read() - before < 3 * 32 * KIB


def test_one_depth_holds_the_samples_of_all(tmp_path: Path) -> None:
    images = items(
        tmp_path,
        a_tif=tiff(camera(900)),
        b_png=png16(camera(3000)),
        c_jpg=encoded(Image.fromarray(PLAIN[:9, :9]), "JPEG"),
        d_tif=plain_tiff(),
    )
    assert depth_of(images) == 12
    assert depth_of(images[:1]) == 10
    assert depth_of(images, wanted=[images[2], images[3]]) is None  # none of them needs it


def test_names_and_not_contents_say_what_is_looked_at(tmp_path: Path) -> None:
    assert depth_of(items(tmp_path, a_jpg=tiff(camera(900)))) is None
    assert FolderDepth.may_concern([Path("a.jpg"), Path("b.TIF")])
    assert FolderDepth.may_concern([Path("a.png")])
    assert not FolderDepth.may_concern([Path("a.jpg"), Path("b")])


@pytest.mark.parametrize("decoding", [{"intensity": "type"}, {"depth_bits": 14}])
def test_where_it_is_settled_no_file_is_opened(tmp_path: Path, decoding: dict[str, Any]) -> None:
    missing = [ImageItem(tmp_path / "a.tif", "a", None)]
    options = CamOptions(decoding=DecodingOptions(**decoding))
    assert FolderDepth(missing).added_to(options, missing) is options


def test_it_is_found_once(tmp_path: Path) -> None:
    images = items(tmp_path, a_tif=tiff(camera(900)), b_tif=tiff(camera(3000)))
    depth = FolderDepth(images)
    assert depth.added_to(CamOptions(), images[:1]).decoding.depth_bits == 12
    for image in images:
        image.path.unlink()
    assert depth.added_to(CamOptions(), images[:1]).decoding.depth_bits == 12


def test_each_page_has_a_depth_of_its_own(tmp_path: Path) -> None:
    images = items(tmp_path, a_tif=stack((camera(900), {}), (camera(3000), {})))
    depth = FolderDepth(images)
    for page, bits in ((1, 10), (2, 12), (None, 10)):
        options = CamOptions(decoding=DecodingOptions(page=page))
        assert depth.added_to(options, images).decoding.depth_bits == bits


@pytest.mark.parametrize("data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0+" + bytes(90)])
def test_what_cannot_be_read_is_left_to_its_own_turn(tmp_path: Path, data: bytes) -> None:
    images = items(tmp_path, a_tif=tiff(camera(900)), b_tif=data, c_png=data)
    assert depth_of(images) == 10
    os.mkfifo(tmp_path / "d.tif")
    (tmp_path / "e.tif").mkdir()
    assert depth_of(items(tmp_path)) == 10


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    images = items(tmp_path, a_tif=tiff(camera(900)))
    with images[0].path.open("r+b") as file:
        file.truncate(64 * 2**20 + 1)
    assert depth_of(images) is None

"""The depth of deep images of the data root: one for a split, remembered until it is another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.options import CamOptions, DecodingOptions
from service.models.catalog import Catalog
from service.models.depths import SplitDepths
from tests.cam_engine.images.test_decoding import png16, tiff

RING = "experiment_x/crops_gt_crops/crops/{split}/ring"


def deep(most: int) -> bytes:
    """A TIFF of 16 bits with samples up to `most`."""
    return tiff(np.linspace(0, most, 24 * 32).reshape(24, 32).astype(np.uint16))


def put(root: Path, split: str, **images: bytes) -> None:
    folder = root / RING.format(split=split)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in images.items():
        (folder / name.replace("_", ".")).write_bytes(data)


def ids(*names: str, split: str = "test") -> list[str]:
    return [f"{RING.format(split=split)}/{name}" for name in names]


@pytest.fixture(scope="module")
def decoding() -> Iterator[DecodingPool]:
    pool = DecodingPool(1)
    yield pool
    pool.close()


@pytest.fixture
def depths(tmp_path: Path, decoding: DecodingPool) -> SplitDepths:
    """Of an experiment with deep images of 10 and 12 bits in test, and of 14 in train."""
    (tmp_path / "experiment_x/cls_a").mkdir(parents=True)
    put(tmp_path, "test", a_tif=deep(900), b_tif=deep(3000), c_jpg=b"whatever")
    put(tmp_path, "train", a_tif=deep(900), d_png=png16(np.full((2, 2), 9000, np.uint16)))
    return SplitDepths(Catalog(tmp_path, 0), decoding)


def bits(depths: SplitDepths, *images: str) -> int | None:
    return depths.added_to(CamOptions(), images).decoding.depth_bits


def test_an_image_has_the_depth_of_its_split(depths: SplitDepths) -> None:
    assert bits(depths, *ids("a.tif")) == 12
    assert bits(depths, *ids("a.tif", split="train")) == 14
    assert bits(depths, *ids("c.jpg", "a.tif")) == 12


@pytest.mark.parametrize(
    "images", [ids("c.jpg"), ids("missing.tif"), ["elsewhere/a.tif"], ["a.tif"]]
)
def test_others_need_none(depths: SplitDepths, images: list[str]) -> None:
    assert bits(depths, *images) is None


def test_what_the_caller_says_holds(depths: SplitDepths) -> None:
    options = CamOptions(decoding=DecodingOptions(intensity="type"))
    assert depths.added_to(options, ids("a.tif")) == options


def test_an_image_that_is_reached_through_a_link_has_its_files_depth(
    depths: SplitDepths, tmp_path: Path
) -> None:
    link = tmp_path / "experiment_x/link.tif"
    link.symlink_to(tmp_path / ids("a.tif")[0])
    assert bits(depths, "experiment_x/link.tif") == 12


def test_it_is_found_again_once_the_split_has_other_images(
    depths: SplitDepths, tmp_path: Path
) -> None:
    assert bits(depths, *ids("a.tif")) == 12
    (tmp_path / ids("b.tif")[0]).write_bytes(deep(9000))  # the same list of files
    assert bits(depths, *ids("a.tif")) == 12
    put(tmp_path, "test", e_tif=deep(900))
    assert bits(depths, *ids("a.tif")) == 14


def test_what_leads_out_of_the_root_is_not_read(depths: SplitDepths, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.tif"
    outside.write_bytes(deep(60_000))
    (tmp_path / RING.format(split="test") / "out.tif").symlink_to(outside)
    assert bits(depths, *ids("a.tif")) == 12

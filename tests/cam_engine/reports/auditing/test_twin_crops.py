"""What twins do to splits, labels and clusters."""

from __future__ import annotations

import shutil
from pathlib import Path

from cam_engine.evidence.images.twins import Twin, Twins
from cam_engine.reports.auditing.twin_crops import TwinCrops, look_for_twins
from cam_engine.reports.crops import Crop

CROPS = (
    Crop("a", "test", "ring", field="f1"),
    Crop("b", "train", "Ring", field="f2"),
    Crop("c", "val", "schizont", field="f3"),
    Crop("d", "test", "ring", field="f4"),
    Crop("e", "test", "ring", field="f5"),
    Crop("f", "test", "ring", field="f1"),
    Crop("g", "train", "ring"),
    Crop("h", "train", "ring"),
)


def found(*groups: tuple[int, ...]) -> TwinCrops:
    pairs = tuple(Twin(g[0], other, 0.9 + other / 100, "near") for g in groups for other in g[1:])
    return TwinCrops(CROPS, Twins(pairs, groups), frozenset(range(len(CROPS))))


def test_clusters_that_share_a_cell_are_one() -> None:
    """f1, f2 and f3 share a cell, f4 and f5 another; crops without a field are their own."""
    clusters = found((0, 1, 2), (3, 4)).clusters
    assert clusters[0] == clusters[1] == clusters[2] == clusters[5]
    assert clusters[3] == clusters[4]
    assert len(set(clusters)) == 4
    assert found().clusters == ("f1", "f2", "f3", "f4", "f5", "f1", "train/ring/g", "train/ring/h")


def test_clusters_are_merged_over_several_twins() -> None:
    """f1 with f2 by one cell, and f1 with f4 by another."""
    clusters = found((0, 1), (3, 5)).clusters
    assert clusters[0] == clusters[1] == clusters[3] == clusters[5]
    assert len(set(clusters)) == 5


def test_leaked_are_those_with_a_twin_in_another_split() -> None:
    twins = found((0, 1, 2), (3, 4), (6, 7))
    assert twins.leaked("test") == {0: {"train", "val"}}
    assert twins.leaked("train") == {1: {"test", "val"}}


def test_conflicts_are_of_meaning_not_of_spelling() -> None:
    """ "ring" and "Ring" are one class."""
    assert found((0, 1), (3, 4)).conflicts == ()
    assert found((0, 2), (3, 4)).conflicts == ((0, 2),)


def test_pairs_that_matter_come_first() -> None:
    twins = found((3, 4), (1, 7), (1, 2), (0, 6), (5, 7))
    pairs = [(t.one, t.other) for t in twins.pairs("test")]
    assert pairs == [(1, 2), (0, 6), (5, 7), (3, 4), (1, 7)]
    by_train = [(t.one, t.other) for t in twins.pairs("val")]
    assert by_train == [(1, 2), (0, 6), (5, 7), (3, 4), (1, 7)]


def test_files_are_read(lifecycle: Path, tmp_path: Path) -> None:
    files = sorted((lifecycle / "crops_gt_crops/crops/test/ring").glob("*.jpg"))[:4]
    shutil.copy(files[1], tmp_path / "copy.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    paths = [*files, tmp_path / "copy.jpg", tmp_path / "broken.jpg", tmp_path / "gone.jpg", None]
    crops = [Crop(str(n), "test", "ring", path) for n, path in enumerate(paths)]
    looked = look_for_twins(crops)
    assert looked.twins.pairs == (Twin(1, 4, 1.0, "same file"),)
    assert looked.compared == {0, 1, 2, 3, 4}

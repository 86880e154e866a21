"""Groups of maps that are planted: spots in the middle, in a corner and at the edge."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cam_engine.evidence.map_groups import group_maps
from cam_engine.results import FloatMap

SIDE = 64
MIDDLE, CORNER, EDGE = (32.0, 32.0), (6.0, 6.0), (58.0, 32.0)


def spots(
    place: tuple[float, float], count: int, seed: int, jitter: float = 2.0, noise: float = 0.05
) -> list[FloatMap]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    made = []
    for _ in range(count):
        x, y = rng.normal(place, jitter)
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 8**2))
        made.append((spot + noise * rng.random((SIDE, SIDE))).astype(np.float32))
    return made


def shuffled(maps: list[FloatMap]) -> tuple[list[FloatMap], NDArray[np.intp]]:
    order = np.random.default_rng(5).permutation(len(maps))
    return [maps[at] for at in order], order


@pytest.mark.parametrize("counts", [(30, 12), (90, 5), (6, 4), (16, 15)])
def test_two_groups_are_found_the_larger_first(counts: tuple[int, int]) -> None:
    many, few = counts
    maps, order = shuffled(spots(CORNER, few, 1) + spots(MIDDLE, many, 2))
    groups = group_maps(maps)
    assert groups.dtype == np.int64
    assert groups.tolist() == (order < few).astype(int).tolist()


def test_three_groups_and_empty_maps() -> None:
    empty = [np.zeros((SIDE, SIDE), np.float32)] * 3
    planted = spots(EDGE, 12, 1) + empty + spots(MIDDLE, 40, 2) + spots(CORNER, 20, 3)
    maps, order = shuffled(planted)
    expected = np.repeat([2, -1, 0, 1], [12, 3, 40, 20])[order]
    assert group_maps(maps).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("count", "jitter"), [(9, 3.0), (40, 0.5), (40, 3.0), (40, 6.0), (200, 3.0)]
)
def test_maps_that_are_alike_are_one_group(count: int, jitter: float, seed: int) -> None:
    assert set(group_maps(spots(MIDDLE, count, seed, jitter)).tolist()) == {0}


def test_maps_of_blobs_anywhere_are_one_group() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.random((SIDE, SIDE)).astype(np.float32) for _ in range(60)]
    blobs = [cv2.GaussianBlur(one, (0, 0), 5) for one in noise]
    maps = [np.asarray((one - one.min()) / np.ptp(one), np.float32) for one in blobs]
    assert set(group_maps(maps).tolist()) == {0}


def test_the_same_map_over_and_over_is_one_group() -> None:
    (one,) = spots(MIDDLE, 1, 0)
    assert group_maps([one] * 20).tolist() == [0] * 20


def test_maps_without_a_common_pixel_are_told_apart() -> None:
    left, right = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
    left[:, :20], right[:, 40:] = 1, 1
    assert group_maps([left] * 6 + [right] * 7).tolist() == [1] * 6 + [0] * 7


def test_brightness_makes_no_group() -> None:
    maps = spots(MIDDLE, 20, 0)
    dimmed = [np.asarray(one * 0.1, np.float32) for one in spots(MIDDLE, 10, 1)]
    assert set(group_maps(maps + dimmed).tolist()) == {0}


def test_few_maps_are_one_group() -> None:
    maps = spots(MIDDLE, 4, 0) + spots(CORNER, 3, 1)
    assert group_maps(maps).tolist() == [0] * 7
    assert group_maps([*maps, *spots(CORNER, 1, 2)]).tolist() == [0] * 4 + [1] * 4


def test_empty_maps_do_not_count_as_maps() -> None:
    empty = np.zeros((SIDE, SIDE), np.float32)
    assert group_maps([]).tolist() == []
    assert group_maps([empty] * 9).tolist() == [-1] * 9
    maps = [*spots(MIDDLE, 4, 0), empty, empty, *spots(CORNER, 3, 1)]
    assert group_maps(maps).tolist() == [0] * 4 + [-1] * 2 + [0] * 3


def test_the_same_seed_makes_the_same_groups() -> None:
    maps = spots(MIDDLE, 25, 0, 6) + spots(CORNER, 25, 1, 6) + spots(EDGE, 25, 2, 6)
    assert group_maps(maps, 3).tolist() == group_maps(maps, 3).tolist()

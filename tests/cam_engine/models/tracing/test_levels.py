"""Early, mid and late, chosen from outputs whose grids are written down here."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from cam_engine.models.tracing.grids import Output
from cam_engine.models.tracing.levels import by_depth, by_grid, by_level

SQUARE = (224, 224)


def at(module: str, high: int, wide: int | None = None, *, is_container: bool = False) -> Output:
    grid = (high, wide or high)
    return Output(module, torch.zeros(1, 1, *grid), grid, None, None, is_container)


def sides(*cells: int) -> list[Output]:
    return [at(f"side_{side}", side) for side in cells]


def names(outputs: Sequence[Output] | None) -> list[str] | None:
    return None if outputs is None else [output.module for output in outputs]


@pytest.mark.parametrize(
    ("size", "grids"),
    [
        (SQUARE, [(28, 28), (14, 14), (7, 7)]),
        ((299, 299), [(35, 35), (17, 17), (8, 8)]),
        ((256, 128), [(32, 16), (16, 8), (8, 4)]),
    ],
)
def test_levels_are_cells_of_about_8_16_and_32_pixels(
    size: tuple[int, int], grids: list[tuple[int, int]]
) -> None:
    outputs = [at("stem", size[0] // 4, size[1] // 4), *(at(f"{h}", h, w) for h, w in grids)]
    chosen = by_level(outputs, size)
    assert chosen is not None
    assert [output.grid for output in chosen] == grids


@pytest.mark.parametrize(
    ("cells", "chosen"),
    [
        ([28, 14], None),
        ([28, 14, 3], None),
        ([21, 14, 7], ["side_21", "side_14", "side_7"]),  # 10.7 px a cell: 0.415 of an octave
        ([20, 14, 7], None),  # 11.2 px: 0.485
        ([28, 26, 14, 7, 6], ["side_28", "side_14", "side_7"]),  # the nearest, not the last
        ([], None),
    ],
)
def test_a_level_has_the_nearest_grid_within_its_tolerance(
    cells: list[int], chosen: list[str] | None
) -> None:
    assert names(by_level(sides(*cells), SQUARE)) == chosen


OF_ONE_GRID = {
    "the last of equals": ([at("a", 28), at("b", 28)], "b"),
    "a stage before its parts": ([at("a", 28), at("a.conv", 28)], "a"),
    "a container before its equals": ([at("a", 28, is_container=True), at("b", 28)], "a"),
}


@pytest.mark.parametrize(("outputs", "early"), OF_ONE_GRID.values(), ids=OF_ONE_GRID)
def test_of_one_grid_whole_stages_come_before_their_parts(
    outputs: list[Output], early: str
) -> None:
    both = [*outputs, *sides(14, 7)]
    assert names(by_level(both, SQUARE)) == names(by_grid(both)) == [early, "side_14", "side_7"]


@pytest.mark.parametrize(
    ("cells", "chosen"),
    [
        ([56, 28, 20, 10], ["side_28", "side_20", "side_10"]),
        ([10, 56, 28], ["side_56", "side_28", "side_10"]),  # by their grids, in whatever order
        ([28, 28, 14], None),
        ([], None),
    ],
)
def test_the_three_coarsest_grids_from_fine_to_coarse(
    cells: list[int], chosen: list[str] | None
) -> None:
    assert names(by_grid(sides(*cells))) == chosen


def blocks(name: str, numbers: Sequence[int]) -> list[Output]:
    return [at(f"{name}.{number}", 14) for number in numbers]


OF_ONE_DEPTH: dict[str, tuple[list[Output], list[str] | None]] = {
    "thirds of blocks": (blocks("blocks", range(6)), ["blocks.1", "blocks.3", "blocks.5"]),
    "four blocks": (blocks("blocks", range(4)), ["blocks.0", "blocks.1", "blocks.3"]),
    "the longest list": (
        [*blocks("a", range(5)), *blocks("b", range(9))],
        ["b.2", "b.5", "b.8"],
    ),
    "numbers, not text": (
        blocks("blocks", [*range(9, 12), *range(9)]),
        ["blocks.3", "blocks.7", "blocks.11"],
    ),
    "the block's own before its parts": (
        [one for n in range(4) for one in (at(f"blocks.{n}.norm", 14), at(f"blocks.{n}", 14))],
        ["blocks.0", "blocks.1", "blocks.3"],
    ),
    "the first part of a block without its own": (
        [at(f"blocks.{n}.{part}", 14) for n in range(4) for part in ("norm", "mlp")],
        ["blocks.0.norm", "blocks.1.norm", "blocks.3.norm"],
    ),
    "a block is no other's part": (
        [at("blocks.10.norm", 14), at("blocks.1.norm", 14), *blocks("blocks", range(2, 4))],
        ["blocks.1.norm", "blocks.2", "blocks.10.norm"],
    ),
    "thirds of all where blocks are few": (
        [*blocks("blocks", range(3)), at("norm", 14), at("last", 14)],
        ["blocks.0", "blocks.2", "last"],
    ),
    "three without numbers": ([at(name, 14) for name in "abc"], ["a", "b", "c"]),
    "two": ([at(name, 14) for name in "ab"], None),
    "none": ([], None),
}


@pytest.mark.parametrize(("outputs", "chosen"), OF_ONE_DEPTH.values(), ids=OF_ONE_DEPTH)
def test_a_third_two_thirds_and_the_end_of_the_way(
    outputs: list[Output], chosen: list[str] | None
) -> None:
    assert names(by_depth(outputs)) == chosen

"""Which shapes are grids of cells of an image, and which way round."""

from __future__ import annotations

import pytest
import torch

from cam_engine.models.tracing.grids import Output, is_like_image, outputs_of

SQUARE = (224, 224)
Facts = tuple[tuple[int, int], int | None, int | None]  # grid, tokens, channels

GRIDS: dict[str, tuple[tuple[int, ...], tuple[int, int], list[Facts]]] = {
    "channels first": ((1, 96, 14, 14), SQUARE, [((14, 14), None, None)]),
    "channels last": ((1, 14, 14, 96), SQUARE, [((14, 14), None, 96)]),
    "either": ((1, 14, 14, 14), SQUARE, [((14, 14), None, None), ((14, 14), None, 14)]),
    "an image that is wide": ((1, 96, 10, 14), (160, 224), [((10, 14), None, None)]),
    "tokens": ((1, 196, 96), SQUARE, [((14, 14), 0, None)]),
    "a class token before them": ((1, 197, 96), SQUARE, [((14, 14), 1, None)]),
    "four registers as well": ((1, 201, 96), SQUARE, [((14, 14), 5, None)]),
    "tokens of an image that is wide": ((1, 97, 16), (64, 96), [((8, 12), 1, None)]),
    "odd sizes": ((1, 8, 19, 19), (299, 299), [((19, 19), None, None)]),
    "several images": ((2, 96, 14, 14), SQUARE, []),
    "windows side by side": ((4, 49, 96), SQUARE, []),
    "cells of 2 px": ((1, 8, 112, 112), SQUARE, []),
    "cells of 112 px": ((1, 8, 2, 2), SQUARE, []),
    "pooled": ((1, 512, 1, 1), SQUARE, []),
    "of another form than the image": ((1, 8, 28, 7), SQUARE, []),
    "means of tokens": ((1, 196, 1), SQUARE, []),
    "tokens that make no grid": ((1, 99, 16), SQUARE, []),
}


@pytest.mark.parametrize(("shape", "size", "expected"), GRIDS.values(), ids=GRIDS)
def test_an_output_has_the_grids_that_its_shape_allows(
    shape: tuple[int, ...], size: tuple[int, int], expected: list[Facts]
) -> None:
    tensor = torch.zeros(shape)
    found = outputs_of("layer", tensor, size)
    assert [(one.grid, one.tokens, one.channels) for one in found] == expected
    assert all(one.tensor is tensor and one.module == "layer" for one in found)


@pytest.mark.parametrize(
    ("grid", "size", "is_like"),
    [
        ((7, 7), SQUARE, True),
        ((14, 7), SQUARE, False),
        ((14, 7), (224, 112), True),
        ((7, 8), SQUARE, True),  # as padding may round them
        ((1, 1), SQUARE, False),
        ((1, 2), (112, 224), False),
        ((0, 7), SQUARE, False),
    ],
)
def test_cells_are_about_as_high_as_wide(
    grid: tuple[int, int], size: tuple[int, int], *, is_like: bool
) -> None:
    assert is_like_image(grid, size) is is_like


def test_rank_puts_what_is_further_out_first_and_containers_before_others() -> None:
    def rank(module: str, *, is_container: bool) -> tuple[int, bool]:
        return Output(module, torch.zeros(1), (1, 1), None, None, is_container).rank

    assert (
        rank("a", is_container=True)
        < rank("a", is_container=False)
        < rank("a.b", is_container=True)
    )

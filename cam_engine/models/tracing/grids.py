"""Which outputs of modules are grids of cells, and of how many."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

_FINEST, _COARSEST = 3, 64  # pixels a cell of what may be tapped
_MOST_PREFIX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Output:
    """A module's output as it can be tapped.

    grid: (h, w) cells. tokens, channels: as in `Tap`. is_container: other modules are in it.
    """

    module: str
    tensor: Tensor
    grid: tuple[int, int]
    tokens: int | None
    channels: int | None
    is_container: bool = False

    @property
    def rank(self) -> tuple[int, bool]:
        """Whole stages before their parts."""
        return self.module.count("."), not self.is_container


def outputs_of(module: str, tensor: Tensor, input_size: tuple[int, int]) -> list[Output]:
    """The output with its grid; [] for one that has none, or too fine or coarse a one.

    Two where numbers do not tell which axis is that of the channels. Parts of one image that are
    worked on side by side, such as windows, are no images.
    """
    if len(tensor) != 1:
        return []
    if tensor.ndim == 4:
        _, first, second, third = tensor.shape
        both = ((second, third), None), ((first, second), third)
        return [
            Output(module, tensor, grid, None, channels)
            for grid, channels in both
            if _is_grid(grid, input_size)
        ]
    if tensor.shape[2] == 1:  # means, not tokens
        return []
    folded = _folded(tensor.shape[1], input_size)
    return [] if folded is None else [Output(module, tensor, folded[1], folded[0], None)]


def is_like_image(grid: tuple[int, int], input_size: tuple[int, int]) -> bool:
    """Whether cells of it are about as high as wide, in pixels, and there are two a side."""
    if min(grid) < 2:
        return False
    high, wide = _sides(grid, input_size)
    return abs(math.log(high / wide)) <= 2 * _rounded(grid)


def _is_grid(grid: tuple[int, int], input_size: tuple[int, int]) -> bool:
    """Whether it is like the image, and its cells neither fine nor coarse."""
    if not is_like_image(grid, input_size):
        return False
    high, wide = _sides(grid, input_size)
    return min(high, wide) >= _FINEST and max(high, wide) <= _COARSEST * (1 + _rounded(grid))


def _sides(grid: tuple[int, int], input_size: tuple[int, int]) -> tuple[float, float]:
    """Of a cell, in pixels."""
    return input_size[0] / grid[0], input_size[1] / grid[1]


def _rounded(grid: tuple[int, int]) -> float:
    """The share of one cell more or less, by how edges are padded."""
    return max(1 / cells for cells in grid)


def _folded(tokens: int, input_size: tuple[int, int]) -> tuple[int, tuple[int, int]] | None:
    """(tokens before the grid's, grid) of so many tokens; None where they make none."""
    best: tuple[int, tuple[int, int]] | None = None
    for cell in range(_FINEST, _COARSEST + 1):
        for rounded in (math.floor, math.ceil):
            grid = rounded(input_size[0] / cell), rounded(input_size[1] / cell)
            prefix = tokens - grid[0] * grid[1]
            fits = 0 <= prefix <= _MOST_PREFIX_TOKENS and _is_grid(grid, input_size)
            if fits and (best is None or prefix < best[0]):
                best = prefix, grid
    return best

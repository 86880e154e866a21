"""Early, mid and late of the outputs that there are: by pixels a cell, by grids, or by depth."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from cam_engine.models.tracing.grids import Output

LEVELS = {"early": 8, "mid": 16, "late": 32}  # pixels a cell
_TOLERANCE = 0.42  # of log2 of the pixels a cell: 299 px give 35, 17 and 8 cells
_LEAST_BLOCKS = 4
_NUMBERED = re.compile(r"(?P<list>.*?)(?P<number>\d+)")


def by_level(outputs: Sequence[Output], input_size: tuple[int, int]) -> list[Output] | None:
    """The last of each of the three levels; None where one has none."""
    chosen = []
    for pixels in LEVELS.values():
        here = [output for output in outputs if _distance(output, input_size, pixels) <= _TOLERANCE]
        if not here:
            return None
        nearest = min(_distance(candidate, input_size, pixels) for candidate in here)
        here = [
            candidate for candidate in here if _distance(candidate, input_size, pixels) == nearest
        ]
        whole = min(candidate.rank for candidate in here)
        chosen.append([candidate for candidate in here if candidate.rank == whole][-1])
    return chosen if len({candidate.grid for candidate in chosen}) == len(chosen) else None


def by_grid(outputs: Sequence[Output]) -> list[Output] | None:
    """The last of each of the three coarsest grids; None where there are fewer."""
    whole: dict[tuple[int, int], Output] = {}
    for output in outputs:
        if output.grid not in whole or output.rank <= whole[output.grid].rank:
            whole[output.grid] = output
    coarsest = sorted(whole, key=math.prod)[: len(LEVELS)]
    return [whole[grid] for grid in coarsest[::-1]] if len(coarsest) == len(LEVELS) else None


def _distance(output: Output, input_size: tuple[int, int], pixels: int) -> float:
    cell = math.sqrt(math.prod(input_size) / math.prod(output.grid))
    return abs(math.log2(cell / pixels))


def by_depth(outputs: Sequence[Output]) -> list[Output] | None:
    """A third, two thirds and the end of the way: of the longest list of blocks, else of all."""
    lists: dict[str, list[int]] = defaultdict(list)
    for output in outputs:
        for name in _within_numbered(output.module):
            named = _NUMBERED.fullmatch(name)
            if named is not None and int(named["number"]) not in lists[named["list"]]:
                lists[named["list"]].append(int(named["number"]))
    blocks = max(lists.items(), key=lambda pair: len(pair[1]), default=("", []))
    if len(blocks[1]) >= _LEAST_BLOCKS:
        numbers = sorted(blocks[1])
        at = [numbers[max(len(numbers) * third // 3, 1) - 1] for third in (1, 2, 3)]
        return [_of_block(f"{blocks[0]}{number}", outputs) for number in at]
    if len(outputs) < len(LEVELS):
        return None
    return [outputs[max(len(outputs) * third // 3, 1) - 1] for third in (1, 2, 3)]


def _within_numbered(module: str) -> Iterator[str]:
    """`blocks.3` of `blocks.3.norm1`, and itself where it ends in a number."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        if parts[count - 1][-1:].isdecimal():
            yield ".".join(parts[:count])


def _of_block(block: str, outputs: Sequence[Output]) -> Output:
    """The block's own output, else the first in it that reaches the logits."""
    inside = [
        output
        for output in outputs
        if output.module == block or output.module.startswith(f"{block}.")
    ]
    return next((candidate for candidate in inside if candidate.module == block), inside[0])

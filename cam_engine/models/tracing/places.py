"""Whether the cells of an output lie where their part of the image lies.

One part of the image is changed, and a second pass says whose cells changed there: tokens may be
in any order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cam_engine.models.tracing.grids import Output
from cam_engine.models.tracing.passes import noise, watched

_CHANGED = (0.3, 0.7)  # where the middle of the part of the image that is changed is, (y, x) of 1
_CHANGED_SIDE = 1 / 8  # of the image's
_IN_ORDER = 0.75  # of pairs of cells; by chance it is half of them
_ALIKE = 0.5  # of what the cells that changed most have changed


def in_order(network: nn.Module, image: Tensor, outputs: Sequence[Output]) -> list[Output]:
    """Those that change where the image is changed, seen in one more pass.

    Tokens that were sorted into windows are as many as those of a grid, but do not lie as in it. Of
    two that differ in their axis of channels, the one that changes there more clearly.
    """
    if image.is_meta:  # without numbers nobody can tell
        return list({output.module: output for output in reversed(outputs)}.values())[::-1]
    before = {output.module: output.tensor for output in outputs}
    changes = changes_of(network, image, before)
    placed: dict[str, tuple[float, Output]] = {}
    for output in outputs:
        if output.module not in changes:
            continue
        cells = _cells(changes[output.module], output)
        share = share_in_place(cells)
        if changes_in_place(cells) and share > placed.get(output.module, (-1.0, output))[0]:
            placed[output.module] = share, output
    return [output for _, output in placed.values()]


def changes_of(
    network: nn.Module, image: Tensor, before: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What changes, squared, where a part of the image is another: of modules by their names.

    before: their outputs of the image as it is. Without those whose shape depends on the image.
    """
    height, width = image.shape[2:]
    rows, columns = (
        _span(at, length) for at, length in zip(_CHANGED, (height, width), strict=True)
    )
    changed = image.detach().clone()
    changed[..., rows, columns] = noise(network, (height, width), seed=1)[..., rows, columns]
    changes: dict[str, Tensor] = {}

    def compare(name: str, output: Tensor) -> None:
        if output.shape == before[name].shape:
            changes[name] = (output - before[name].detach()).float().square()

    with watched(network, [*before], compare), torch.no_grad():
        network(changed)
    return changes


def _span(at: float, length: int, around: int = 0) -> slice:
    """Of the part that is changed, along a side of so many pixels or cells; at least one."""
    start = math.floor((at - _CHANGED_SIDE / 2) * length)
    stop = max(math.ceil((at + _CHANGED_SIDE / 2) * length), start + 1)
    return slice(max(start - around, 0), stop + around)


def _cells(values: Tensor, output: Output) -> Tensor:
    """(1, ...) as the output is laid out -> (h, w), summed over channels."""
    if output.tokens is not None:
        return values[0, output.tokens :].sum(1).reshape(output.grid)
    return values[0].sum(0 if output.channels is None else 2)


def share_in_place(changes: Tensor) -> float:
    """Of cells (h, w) elsewhere, how many have changed less than one of that part, 0..1.

    Few cells cannot spoil it, however much they have changed. By chance it is half of them.
    """
    rows, columns = (_span(at, side) for at, side in zip(_CHANGED, changes.shape, strict=True))
    is_inside = torch.zeros_like(changes, dtype=torch.bool)
    is_inside[rows, columns] = True
    inside, elsewhere = changes[is_inside], changes[~is_inside].sort().values
    outranked = torch.searchsorted(elsewhere, inside).float().mean()
    return float(outranked) / max(len(elsewhere), 1)


def changes_in_place(changes: Tensor) -> bool:
    """Whether cells (h, w) of that part have changed more than others, or all have alike, or NaN.

    They have changed more if most of them did than most others. Where attention looks everywhere,
    all change alike; padding may have moved what has changed by a cell.
    """
    rows, columns = (_span(at, side, 1) for at, side in zip(_CHANGED, changes.shape, strict=True))
    around = changes[rows, columns]
    most = changes.flatten().topk(around.numel()).values.sum()
    is_elsewhere = share_in_place(changes) < _IN_ORDER
    return not (is_elsewhere and bool(around.sum() < _ALIKE * most))

"""From a map to steps: which pixels are changed first, where equal ones are changed together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Step:
    """A state on the way from the highest pixels to the lowest.

    share: of all pixels, those that are changed, 0..1. changed: (H, W) bool, which they are.
    """

    share: float
    changed: NDArray[np.bool_]


def steps_of(values: NDArray[np.floating], count: int) -> Iterator[Step]:
    """From nothing changed to all of it, in at most `count` steps of about equal size.

    Pixels of equal value change in ONE step, so that no order among them is made up: a map that is
    mostly empty has fewer and larger steps. Raises ValueError for a count below 1.
    """
    if count < 1:
        raise ValueError("at least one step")
    flat = -values.ravel()
    order = np.argsort(flat, kind="stable")
    ranked = flat[order]
    wanted = np.linspace(0, values.size, count + 1)[1:].round().astype(int)
    # The end of the group of equal values that each wanted step would cut.
    ends = np.searchsorted(ranked, ranked[np.maximum(wanted, 1) - 1], side="right")
    changed = np.zeros(values.size, bool)
    yield Step(0.0, changed.reshape(values.shape).copy())
    start = 0
    for end in np.unique(ends).tolist():
        changed[order[start:end]] = True
        start = end
        yield Step(end / values.size, changed.reshape(values.shape).copy())

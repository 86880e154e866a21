"""How well a map finds what it should: a box or an outline, given as a mask.

A map is (H, W), >= 0; a mask is (H, W) bool with some pixels inside and some outside. Equal values
have no order: what depends on it is answered by expectation over all orders, never by the index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Values = NDArray[np.floating]


def average_precision(values: Values, mask: Mask) -> float:
    """Mean over the mask's pixels of the precision at their rank, 0..1.

    A uniform map has the mask's share of the area plus what little the first ranks add to it. The
    expectation over all orders of equal values is exact. Raises ValueError for an empty mask.
    """
    inside = mask.ravel()
    positives = int(inside.sum())
    if positives == 0:
        raise ValueError("the mask has no pixels")
    _, group, sizes = np.unique(-values.ravel(), return_inverse=True, return_counts=True)
    hits = np.bincount(group, inside, len(sizes))
    before, hits_before = np.cumsum(sizes) - sizes, np.cumsum(hits) - hits
    # Each rank, from 1, with its group; a hit at the j-th place of a group has, of the group's
    # other hits, as many before it as fall on j - 1 of its other places.
    of_rank = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(1, values.size + 1) - before[of_rank]
    others = (hits[of_rank] - 1) / np.maximum(sizes[of_rank] - 1, 1)
    precision = (hits_before[of_rank] + 1 + (place - 1) * others) / (before[of_rank] + place)
    return float((precision * hits[of_rank] / sizes[of_rank]).sum() / positives)


def peak_share(values: Values, mask: Mask) -> float:
    """Of the pixels at the map's maximum, the share inside the mask, 0..1; 0 for an empty map."""
    highest = values.max()
    return float(mask[values == highest].mean()) if highest > 0 else 0.0


def energy(values: Values, mask: Mask) -> float:
    """The mask's share of the map's sum, 0..1; 0 for an empty map. Contrast alone changes it."""
    total = float(values.sum(dtype=np.float64))
    return float(values[mask].sum(dtype=np.float64)) / total if total > 0 else 0.0


def intersection_over_union(selected: Mask, mask: Mask) -> float:
    """Of what lies in either, the share that lies in both, 0..1; 0 where both are empty."""
    union = int((selected | mask).sum())
    return float((selected & mask).sum() / union) if union else 0.0

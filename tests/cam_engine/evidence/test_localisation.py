"""Measures of localisation: by hand, by all orders of equal values, and beside scikit-learn."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cam_engine.evidence.localisation import (
    average_precision,
    energy,
    intersection_over_union,
    peak_share,
)


def mask_of(*inside: int, size: int = 6) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[list(inside)] = True
    return mask.reshape(2, -1)


def by_all_orders(values: np.ndarray, mask: np.ndarray) -> float:
    """The mean over all orders of the pixels that the values allow."""
    flat, inside = values.ravel(), mask.ravel()
    found = []
    for order in permutations(range(flat.size)):
        if all(flat[a] >= flat[b] for a, b in pairwise(order)):
            hits = np.flatnonzero(inside[list(order)]) + 1
            found.append((np.arange(1, len(hits) + 1) / hits).mean())
    return float(np.mean(found))


@pytest.mark.parametrize(
    "values",
    [
        [1, 1, 1, 1, 1, 1],
        [3, 3, 2, 2, 1, 1],
        [0, 0, 0, 5, 0, 0],
        [1, 2, 3, 4, 5, 6],
        [2, 2, 2, 1, 1, 1],
    ],
)
@pytest.mark.parametrize("inside", [(0,), (3, 5), (0, 1, 2), (1, 2, 3, 4, 5)])
def test_average_precision_is_the_mean_over_all_orders_of_equal_values(
    values: list[int], inside: tuple[int, ...]
) -> None:
    cells = np.array(values, np.float32).reshape(2, 3)
    mask = mask_of(*inside)
    assert average_precision(cells, mask) == pytest.approx(by_all_orders(cells, mask), abs=1e-12)


def test_without_equal_values_it_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.permutation(900).reshape(30, 30) / 900, rng.random((30, 30)) < 0.2
    expected = average_precision_score(mask.ravel(), values.ravel())
    assert average_precision(values, mask) == pytest.approx(expected, abs=1e-9)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixels"):
        average_precision(np.ones((2, 3)), mask_of())


def test_the_peak_counts_by_its_share() -> None:
    values = np.array([[1.0, 3.0, 3.0], [0.0, 3.0, 2.0]])
    assert peak_share(values, mask_of(1, 5)) == pytest.approx(1 / 3)
    assert peak_share(values, mask_of(0)) == 0.0
    assert peak_share(np.zeros((2, 3)), mask_of(0)) == 0.0


def test_energy_is_the_masks_share_of_the_sum() -> None:
    values = np.array([[1.0, 3.0, 0.0], [0.0, 4.0, 2.0]])
    assert energy(values, mask_of(1, 4)) == pytest.approx(0.7)
    assert energy(np.zeros((2, 3)), mask_of(1)) == 0.0


def test_intersection_over_union() -> None:
    assert intersection_over_union(mask_of(0, 1, 2), mask_of(2, 3)) == pytest.approx(1 / 4)
    assert intersection_over_union(mask_of(), mask_of()) == 0.0

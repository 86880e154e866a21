"""How alike two maps are."""

from __future__ import annotations

import numpy as np
import pytest

from cam_engine.evidence.agreement import rank_correlation


def test_it_is_of_ranks() -> None:
    values = np.random.default_rng(0).random((8, 8))
    assert rank_correlation(values, values**3) == pytest.approx(1.0)
    assert rank_correlation(values, 1 - values) == pytest.approx(-1.0)


def test_by_hand() -> None:
    """1 - 6 sum(d^2) / (n (n^2 - 1)), with d = 1, 1, 0, 0."""
    one, other = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([[2.0, 1.0, 3.0, 4.0]])
    assert rank_correlation(one, other) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_a_map_that_is_the_same_everywhere_has_no_ranks() -> None:
    assert rank_correlation(np.ones((3, 3)), np.eye(3)) is None
    assert rank_correlation(np.eye(3), np.zeros((3, 3))) is None


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="maps of"):
        rank_correlation(np.ones((3, 3)), np.ones((3, 4)))

"""From a map to steps."""

from __future__ import annotations

import numpy as np
import pytest

from cam_engine.evidence.ordering import steps_of


def shares(values: np.ndarray, count: int) -> list[float]:
    return [step.share for step in steps_of(values, count)]


def test_steps_go_from_the_highest_to_the_lowest() -> None:
    values = np.array([[4.0, 1.0], [3.0, 2.0]])
    changed = [step.changed.tolist() for step in steps_of(values, 4)]
    assert changed == [
        [[False, False], [False, False]],
        [[True, False], [False, False]],
        [[True, False], [True, False]],
        [[True, False], [True, True]],
        [[True, True], [True, True]],
    ]


def test_steps_are_of_about_equal_size() -> None:
    assert shares(np.arange(100.0).reshape(10, 10), 4) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert len(shares(np.arange(9.0).reshape(3, 3), 28)) == 10


def test_equal_values_change_together() -> None:
    values = np.zeros((4, 4))
    values[0, :2] = 1.0, 2.0
    assert shares(values, 16) == [0.0, 1 / 16, 2 / 16, 1.0]
    assert shares(np.ones((4, 4)), 8) == [0.0, 1.0]


def test_a_step_that_would_cut_a_group_takes_all_of_it() -> None:
    values = np.array([[3.0, 3.0, 3.0, 1.0]])
    assert shares(values, 2) == [0.0, 0.75, 1.0]


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        list(steps_of(np.ones((2, 2)), 0))

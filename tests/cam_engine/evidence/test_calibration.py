"""Calibration's figures by hand, by scikit-learn, and for classifiers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from cam_engine.evidence.calibration import calibration

RNG = np.random.default_rng(1)
TOP = RNG.uniform(0.5, 1.0, 3000)
PROBABILITIES = np.stack([TOP, (1 - TOP) * 0.7, (1 - TOP) * 0.3], 1)


def drawn_by(probabilities: np.ndarray) -> np.ndarray:
    drawn = (RNG.random((len(probabilities), 1)) > probabilities.cumsum(1)).sum(1)
    return np.asarray(drawn.clip(0, 2))


def test_who_is_calibrated_lies_within_what_chance_shows() -> None:
    found = calibration(PROBABILITIES, drawn_by(PROBABILITIES))
    low, mean, high = found.perfect
    assert low <= found.error <= high
    assert 0 < low < mean < high < 0.05


def test_who_is_too_sure_is_above_it_by_as_much() -> None:
    sure = np.stack([0.95 * np.ones(2000), 0.03 * np.ones(2000), 0.02 * np.ones(2000)], 1)
    labels = np.where(np.arange(2000) % 10 < 7, 0, 1)  # 70 % of them right
    found = calibration(sure, labels)
    assert found.error == pytest.approx(0.25, abs=0.02)
    assert found.error > 5 * found.perfect[2]


def test_the_error_falls_with_the_number_of_crops_and_so_does_the_perfect_one() -> None:
    few = calibration(PROBABILITIES[:40], drawn_by(PROBABILITIES[:40]))
    many = calibration(PROBABILITIES, drawn_by(PROBABILITIES))
    assert few.perfect[1] > 4 * many.perfect[1]


def test_figures_by_scikit_learn_and_by_hand() -> None:
    labels = drawn_by(PROBABILITIES)
    found = calibration(PROBABILITIES, labels, bins=3)
    assert found.log_loss == pytest.approx(metrics.log_loss(labels, PROBABILITIES))
    scores = [metrics.brier_score_loss(labels == k, PROBABILITIES[:, k]) for k in range(3)]
    assert found.brier == pytest.approx(sum(scores))
    order = np.argsort(TOP)
    thirds = [order[:1000], order[1000:2000], order[2000:]]
    right = PROBABILITIES.argmax(1) == labels
    by_hand = sum(abs(right[part].mean() - TOP[part].mean()) / 3 for part in thirds)
    assert found.error == pytest.approx(by_hand)
    assert found.share == pytest.approx([1 / 3] * 3)


def test_equal_confidences_are_binned_at_random_and_not_in_the_crops_order() -> None:
    sure = np.stack([np.full(300, 0.7), np.full(300, 0.3)], 1)
    labels = np.where(np.arange(300) < 210, 0, 1)  # 70 % of them right, one class after the other
    found = calibration(sure, labels)
    assert found.error < 0.12
    assert found.error <= found.perfect[2]


def test_one_crop_and_a_probability_of_zero() -> None:
    found = calibration(np.array([[1.0, 0.0]]), np.array([1]))
    assert found.error == 1.0
    assert found.brier == 2.0
    assert np.isfinite(found.log_loss)
    assert found.perfect == (0.0, 0.0, 0.0)

"""Figures of classifiers against scikit-learn's, and what their intervals must do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from cam_engine.evidence.classification import Performance, holm, mcnemar, performance
from cam_engine.evidence.resampling import ClusterBootstrap

COUNT, CLASSES = 200, 4


@pytest.fixture(scope="module")
def drawn() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities that know a little, with ties, and true classes of unequal size."""
    rng = np.random.default_rng(0)
    labels = rng.choice(CLASSES, COUNT, p=[0.6, 0.25, 0.1, 0.05])
    logits = rng.normal(size=(COUNT, CLASSES)).round(1) + 1.5 * np.eye(CLASSES)[labels]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels


def measured(
    drawn: tuple[NDArray[np.float64], NDArray[np.int64]], clusters: list[str] | None = None
) -> Performance:
    probabilities, labels = drawn
    clusters = clusters or [str(n) for n in range(len(labels))]
    return performance(probabilities, labels, ClusterBootstrap(clusters, 300))


def test_it_is_scikit_learns(drawn: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    probabilities, labels = drawn
    found, named = measured(drawn), probabilities.argmax(1)
    assert (found.confusion == metrics.confusion_matrix(labels, named)).all()
    assert found.cases.tolist() == np.bincount(labels).tolist()
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(labels, named))
    assert found.balanced_accuracy.value == pytest.approx(
        metrics.balanced_accuracy_score(labels, named)
    )
    assert found.mcc.value == pytest.approx(metrics.matthews_corrcoef(labels, named))
    recall, precision, f1 = (
        [one.value for one in per_class] for per_class in (found.recall, found.precision, found.f1)
    )
    assert recall == pytest.approx(metrics.recall_score(labels, named, average=None))
    assert precision == pytest.approx(metrics.precision_score(labels, named, average=None))
    assert f1 == pytest.approx(metrics.f1_score(labels, named, average=None))
    for index, auroc in enumerate(found.auroc):
        rest = metrics.roc_auc_score(labels == index, probabilities[:, index])
        assert auroc.value == pytest.approx(rest)


def test_intervals_are_those_of_weighted_figures(
    drawn: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    probabilities, labels = drawn
    bootstrap = ClusterBootstrap([str(n % 40) for n in range(COUNT)], 50)
    found = performance(probabilities, labels, bootstrap)
    named = probabilities.argmax(1)
    weighted = [
        (
            metrics.matthews_corrcoef(labels, named, sample_weight=weights),
            metrics.balanced_accuracy_score(labels, named, sample_weight=weights),
            metrics.roc_auc_score(labels == 1, probabilities[:, 1], sample_weight=weights),
        )
        for weights in bootstrap.weights
    ]
    expected = np.percentile(weighted, [2.5, 97.5], axis=0).T
    intervals = (found.mcc, found.balanced_accuracy, found.auroc[1])
    for interval, (low, high) in zip(intervals, expected, strict=True):
        assert (interval.low, interval.high) == pytest.approx((low, high))


def test_a_class_without_cases_has_no_figure_and_lowers_none() -> None:
    labels = np.array([0, 0, 1, 1])
    found = measured((np.eye(3)[[0, 0, 1, 0]], labels))
    assert np.isnan([found.recall[2].value, found.f1[2].value, found.auroc[2].value]).all()
    assert np.isnan(found.precision[2].value)
    assert found.balanced_accuracy.value == pytest.approx(0.75)
    assert found.cases.tolist() == [2, 2, 0]


def test_one_answer_for_all_has_no_correlation() -> None:
    found = measured((np.eye(2)[[0, 0, 0, 0]], np.array([0, 0, 1, 1])))
    assert found.mcc.value == 0.0
    assert found.auroc[0].value == pytest.approx(0.5)


def test_mcnemar_counts_only_where_they_differ() -> None:
    both = np.ones(50, bool)
    one, other = np.r_[both, np.ones(9, bool), [False]], np.r_[both, np.zeros(9, bool), [True]]
    assert mcnemar(one, other) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(one, one) == 1.0


def test_holm_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []

"""How often a classifier is right, class by class, with intervals over independent units.

Confusion matrices of all resamples are one product of matrices; every figure follows from them.
Figures are those of scikit-learn; a class without cases has none, and does not count in means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from cam_engine.evidence.resampling import ClusterBootstrap, Interval, Values, interval

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Performance:
    """Figures of one classifier over n crops of k classes, all 0..1 but mcc, -1..1.

    confusion: (k, k) counts, true classes in rows. cases: (k,) crops of each class. recall,
    precision, f1, auroc: one a class; NaN where it has no cases (precision: no predictions).
    """

    confusion: NDArray[np.int64]
    cases: NDArray[np.int64]
    accuracy: Interval
    balanced_accuracy: Interval
    mcc: Interval
    recall: tuple[Interval, ...]
    precision: tuple[Interval, ...]
    f1: tuple[Interval, ...]
    auroc: tuple[Interval, ...]


def performance(probabilities: Values, labels: Labels, bootstrap: ClusterBootstrap) -> Performance:
    """Of (n, k) probabilities and (n,) indices of the true classes."""
    count = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    cell = np.eye(count * count)[labels * count + predicted]
    whole = cell.sum(0).reshape(1, count, count)
    resampled = (bootstrap.weights @ cell).reshape(-1, count, count)
    at, of = _figures(whole), _figures(resampled)
    per_class = {
        name: tuple(_interval(at[name][0, k], of[name][:, k]) for k in range(count))
        for name in ("recall", "precision", "f1")
    }
    return Performance(
        confusion=whole[0].astype(np.int64),
        cases=whole[0].sum(1).astype(np.int64),
        accuracy=_interval(at["accuracy"][0], of["accuracy"]),
        balanced_accuracy=_interval(at["balanced"][0], of["balanced"]),
        mcc=_interval(at["mcc"][0], of["mcc"]),
        recall=per_class["recall"],
        precision=per_class["precision"],
        f1=per_class["f1"],
        auroc=tuple(
            _auroc(probabilities[:, k], labels == k, bootstrap.weights) for k in range(count)
        ),
    )


def mcnemar(one_right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> float:
    """P of the exact test (McNemar 1947) that two classifiers are right equally often."""
    only_one = int((one_right & ~other_right).sum())
    only_other = int((other_right & ~one_right).sum())
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of several tests at once, adjusted step by step (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = len(order) - np.arange(len(order))
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    back = np.empty_like(adjusted)
    back[order] = adjusted
    return [float(p) for p in back]


def _figures(confusion: NDArray[np.floating]) -> dict[str, Values]:
    """Of (r, k, k) confusion matrices: figures (r,) and, of classes, (r, k)."""
    hits = np.einsum("rkk->rk", confusion)
    true, named, total = confusion.sum(2), confusion.sum(1), confusion.sum((1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = np.where(true > 0, hits / true, np.nan)
        precision = np.where(named > 0, hits / named, np.nan)
        f1 = np.where(true > 0, 2 * hits / (true + named), np.nan)
        # Matthews' coefficient of k classes (Gorodkin 2004, eq. 8); 0 where it is 0 / 0.
        covariance = hits.sum(1) * total - (true * named).sum(1)
        spread = (total**2 - (true**2).sum(1)) * (total**2 - (named**2).sum(1))
        mcc = np.where(spread > 0, covariance / np.sqrt(spread), 0.0)
        balanced = np.nansum(recall, 1) / (true > 0).sum(1)
    return {
        "accuracy": hits.sum(1) / total,
        "balanced": balanced,
        "mcc": mcc,
        "recall": recall,
        "precision": precision,
        "f1": f1,
    }


def _auroc(scores: Values, is_class: NDArray[np.bool_], weights: NDArray[np.int64]) -> Interval:
    """One class against the rest: the share of pairs in the right order, equal ones by half."""
    positive, negative = scores[is_class][:, None], scores[~is_class]
    if not is_class.any() or is_class.all():
        return Interval(np.nan, np.nan, np.nan)
    ordered = (positive > negative) + 0.5 * (positive == negative)
    of_positive, of_negative = weights[:, is_class], weights[:, ~is_class]
    pairs = of_positive.sum(1) * of_negative.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = ((of_positive @ ordered) * of_negative).sum(1) / pairs
    return _interval(float(ordered.mean()), resampled)


def _interval(value: float, resampled: Values) -> Interval:
    known = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or not len(known):
        return Interval(float(value), np.nan, np.nan)
    return interval(float(value), known)

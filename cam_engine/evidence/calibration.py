"""Whether probabilities mean what they say: of answers given at 80 %, 80 % should be right.

The expected calibration error (Naeini et al. 2015; bins of equal mass, Nixon et al. 2019) is above
zero for a perfectly calibrated classifier too, the more the fewer crops there are. So it stands
beside what such a classifier would show (Vaicenavicius et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
BINS = 15
DRAWS = 1000
_LEAST = 1e-12  # a probability of 0 for the true class would cost infinity


@dataclass(frozen=True, slots=True)
class Calibration:
    """Figures of (n, k) probabilities.

    confidence, right, share: (bins,) mean top probability, share of right answers and share of
    crops of each bin. brier: 0..2, the sum over classes (Brier 1950). log_loss: in nats. error:
    ECE, 0..1. perfect: (low, mean, high) of the ECE that a perfectly calibrated classifier of these
    probabilities would show, low and high as the 2.5th and 97.5th percentile.
    """

    confidence: Values
    right: Values
    share: Values
    brier: float
    log_loss: float
    error: float
    perfect: tuple[float, float, float]


def calibration(
    probabilities: Values, labels: NDArray[np.int64], *, seed: int = 0, bins: int = BINS
) -> Calibration:
    """Of (n, k) probabilities and (n,) indices of the true classes, n at least 1."""
    confidence = probabilities.max(1)
    right = (probabilities.argmax(1) == labels).astype(np.float64)
    rng = np.random.default_rng(seed)
    # Equal ones at random: crops come class by class, and a bin of one class is no fair bin.
    drawn_order = rng.permutation(len(confidence))
    order = drawn_order[np.argsort(confidence[drawn_order], kind="stable")]
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    drawn = rng.random((DRAWS, len(confidence))) < confidence
    perfect = _error(confidence, drawn.astype(np.float64), parts)
    truth = np.eye(probabilities.shape[1])[labels]
    of_truth = probabilities[np.arange(len(labels)), labels]
    low, high = np.percentile(perfect, [2.5, 97.5])
    return Calibration(
        confidence=np.array([confidence[part].mean() for part in parts]),
        right=np.array([right[part].mean() for part in parts]),
        share=np.array([len(part) / len(order) for part in parts]),
        brier=float(((probabilities - truth) ** 2).sum(1).mean()),
        log_loss=float(-np.log(np.maximum(of_truth, _LEAST)).mean()),
        error=float(_error(confidence, right[None], parts)[0]),
        perfect=(float(low), float(perfect.mean()), float(high)),
    )


def _error(confidence: Values, right: Values, parts: list[NDArray[np.intp]]) -> Values:
    """ECE of (r, n) outcomes: (r,)."""
    gaps = [np.abs((right[:, part] - confidence[part]).sum(1)) for part in parts]
    return np.asarray(np.sum(gaps, axis=0) / len(confidence))

"""Intervals around estimates: the percentile bootstrap over clusters (Efron 1979; Field and Welsh
2007), since crops of one slide share stain, focus and patient and are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
RESAMPLES = 2000
FEWEST_CLUSTERS = 20  # below that percentile intervals are too narrow (Cameron et al. 2008)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the percentile bootstrap interval around it."""

    value: float
    low: float
    high: float


class ClusterBootstrap:
    """Resamples whole clusters (slides), so that crops of one slide do not count as independent.

    All estimates of one object see the same resamples: differences between rows are paired.
    """

    def __init__(self, clusters: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> None:
        _, self._members = np.unique(np.asarray(clusters), return_inverse=True)
        count = int(self._members.max()) + 1
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        self._weights: NDArray[np.int64] = draws[:, self._members]

    @property
    def clusters(self) -> int:
        """How many there are."""
        return int(self._members.max()) + 1

    @property
    def weights(self) -> NDArray[np.int64]:
        """(resamples, crops): how often each crop is in each resample."""
        return self._weights

    def resampled_means(self, values: Values) -> Values:
        """(crops,) -> (resamples,): the mean of each resample."""
        means: Values = (self._weights @ values) / self._weights.sum(1)
        return means

    def mean(self, values: Values) -> Interval:
        """The mean of (crops,) values and its 95 % interval."""
        return interval(float(values.mean()), self.resampled_means(values))

    def mean_where_known(self, values: Values) -> Interval:
        """As `mean`, over the crops whose value is a number; NaN where none is."""
        known = np.isfinite(values)
        if not known.any():
            return Interval(np.nan, np.nan, np.nan)
        shares = self.resampled_means(known.astype(np.float64))
        sums = self.resampled_means(np.where(known, values, 0.0))
        return interval(float(values[known].mean()), sums[shares > 0] / shares[shares > 0])

    def statistic(self, of_weights: Callable[[Values], float]) -> Interval:
        """Any figure of weighted crops and its 95 % interval; resamples without it are left out.

        of_weights: (crops,) weights -> the figure, NaN where there is none.
        """
        whole = of_weights(np.ones(self._weights.shape[1]))
        resampled = np.array([of_weights(row.astype(np.float64)) for row in self._weights])
        known = resampled[np.isfinite(resampled)]
        if not np.isfinite(whole) or not len(known):
            return Interval(whole, np.nan, np.nan)
        return interval(whole, known)

    def gap_closed(self, better: Values, baseline: Values) -> Interval:
        """(mean better - mean baseline) / (1 - mean baseline): 1 is perfect, 0 no better."""
        return interval(
            float(_gap(better.mean(), baseline.mean())),
            _gap(self.resampled_means(better), self.resampled_means(baseline)),
        )


def interval(value: float, resampled: Values) -> Interval:
    """The estimate with the 2.5th and 97.5th percentile of its resamples."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _gap(better: Values | float, baseline: Values | float) -> Values:
    return np.asarray((better - baseline) / (1 - np.asarray(baseline)))

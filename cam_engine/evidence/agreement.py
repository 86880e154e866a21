"""How alike two maps of one image are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float | None:
    """Spearman's rho of two maps (H, W), -1..1; None where one of them is the same everywhere.

    Of the maps for two classes it is 1 where a map does not know the class.
    """
    if one.shape != other.shape:
        raise ValueError(f"maps of {one.shape} and {other.shape}")
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one.ravel(), other.ravel()).statistic)

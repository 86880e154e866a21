"""Which maps look alike: groups that show a shortcut, such as a corner that one class is told by.

Spectral clustering (Ng et al. 2001; of maps, Lapuschkin et al. 2019) by the cosine of small maps,
the number of groups by the largest gap of the Laplacian's eigenvalues. All pairs count, and not
each map's nearest ones alone: that graph falls apart where maps are alike, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import SpectralClustering

from cam_engine.results import FloatMap

SIDE = 32
_MOST_GROUPS = 8
_FEWEST_MAPS = 8
_POWER = 4  # of the cosine: broad maps of different places have one of a half, too
_LEAST_AFFINITY = 1e-6  # so that all maps are connected, as scikit-learn asks


def group_maps(maps: Sequence[FloatMap], seed: int = 0) -> NDArray[np.int64]:
    """(n,) number of each map's group, from 0, the largest first; one group of under 8 maps.

    Empty maps are a group of their own, -1.
    """
    groups = np.full(len(maps), -1, np.int64)
    there = np.array([bool(one.max() > 0) for one in maps], bool)
    if not there.any():
        return groups
    vectors = np.stack(
        [_vector(one) for one, is_there in zip(maps, there, strict=True) if is_there]
    )
    groups[there] = _ordered(_clusters(vectors, seed))
    return groups


def _vector(values: FloatMap) -> NDArray[np.float64]:
    small = cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    return np.asarray(small.ravel() / np.linalg.norm(small), np.float64)


def _clusters(vectors: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    if len(vectors) < _FEWEST_MAPS:
        return np.zeros(len(vectors), np.int64)
    affinity = _affinity(vectors)
    count = _gap(affinity)
    if count == 1:
        return np.zeros(len(vectors), np.int64)
    found = SpectralClustering(
        count, affinity="precomputed", random_state=seed, assign_labels="cluster_qr"
    ).fit_predict(affinity)
    return np.asarray(found, np.int64)


def _affinity(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, n) powers of cosines, so that what is half alike counts little; 1 for the same map."""
    cosine = np.clip(vectors @ vectors.T, 0.0, 1.0)
    return np.asarray(np.maximum(cosine**_POWER, _LEAST_AFFINITY), np.float64)


def _gap(affinity: NDArray[np.float64]) -> int:
    """How many eigenvalues of the normalised Laplacian lie before the largest gap."""
    degree = 1 / np.sqrt(affinity.sum(1))
    laplacian = np.eye(len(affinity)) - degree[:, None] * affinity * degree
    values = np.linalg.eigvalsh(laplacian)[: min(_MOST_GROUPS + 1, len(affinity))]
    return int(np.argmax(np.diff(values))) + 1


def _ordered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers anew, the largest group first; of equally large ones, the one that begins first."""
    numbers, first, counts = np.unique(groups, return_index=True, return_counts=True)
    order = numbers[np.lexsort((first, -counts))]
    return np.asarray(np.argsort(order, kind="stable")[np.searchsorted(numbers, groups)], np.int64)

"""ROAD (Rong et al. 2022): pixels are taken away so that little is left of where they were.

A pixel that is taken away becomes a weighted mean of its eight neighbours, 1/6 of those beside it
and 1/12 of those across (sec. 5.2), which is a linear equation where neighbours are taken away too;
then noise is added. Unlike a black patch, the shape of what is missing tells the network little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix
from scipy.sparse.linalg import spsolve

Image = NDArray[np.float64]

NOISE = 0.01  # standard deviation, of pixels in 0..1
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)  # of the pixels, those that are taken away
_NEIGHBOURS = (
    *(((0, 1), 1 / 6), ((0, -1), 1 / 6), ((1, 0), 1 / 6), ((-1, 0), 1 / 6)),
    *(((1, 1), 1 / 12), ((1, -1), 1 / 12), ((-1, 1), 1 / 12), ((-1, -1), 1 / 12)),
)


def imputed(
    image: Image, gone: NDArray[np.bool_], rng: np.random.Generator, noise: float = NOISE
) -> Image:
    """(H, W, 3) in 0..1 with the pixels of `gone` (H, W) made from those around them, plus noise.

    At the edges weights are shared among the neighbours that there are, as in the authors' code.
    Other than there, what noise takes out of 0..1 is clipped, since pixels end there; and an image
    of which all is gone, for which the equations have no answer, becomes its mean colour.
    """
    if not gone.any():
        return image.copy()
    made = image.copy()
    if gone.all():
        made[:] = image.mean((0, 1))
    else:
        made[gone] = _solved(image, gone)
    made[gone] += rng.normal(0.0, noise, made[gone].shape)
    return np.asarray(np.clip(made, 0.0, 1.0), np.float64)


def highest(values: NDArray[np.floating], shares: Sequence[float]) -> list[NDArray[np.bool_]]:
    """For each share of the pixels, those of the highest values; equal ones go together.

    Of the groups of equal values, as many go as come nearest to the share, and at least one: where
    many are equal more or less than the share goes, so areas under curves are to be taken over what
    really went. Of a map that is mostly empty, its peak goes long before all the rest does; of
    a uniform map all pixels go.
    """
    _, sizes = np.unique(-values.ravel(), return_counts=True)
    ends = np.cumsum(sizes)
    flat = np.sort(values.ravel())[::-1]
    counts = [ends[np.abs(ends - share * flat.size).argmin()] for share in shares]
    return [np.asarray(values >= flat[count - 1], np.bool_) for count in counts]


def _solved(image: Image, gone: NDArray[np.bool_]) -> Image:
    """(n, 3): each pixel that is gone is the weighted mean of its neighbours, all at once."""
    height, width = gone.shape
    number = np.full(gone.shape, -1)
    number[gone] = np.arange(gone.sum())
    rows, columns = np.nonzero(gone)
    total = np.zeros(len(rows))
    known = np.zeros((len(rows), image.shape[2]))
    entries: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
    for (down, right), weight in _NEIGHBOURS:
        y, x = rows + down, columns + right
        there = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        total[there] += weight
        other = number[y[there], x[there]]
        is_gone = other >= 0
        held = there[~is_gone]
        known[held] += weight * image[y[held], x[held]]
        entries.append((there[is_gone], other[is_gone], np.full(int(is_gone.sum()), -weight)))
    at, to, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    matrix = csr_matrix((weights, (at, to)), (len(rows), len(rows)))
    diagonal = csr_matrix((total, (np.arange(len(rows)),) * 2), (len(rows), len(rows)))
    solved = spsolve(csc_matrix(matrix + diagonal), known)
    return np.asarray(solved, np.float64).reshape(len(rows), -1)

"""How well a map finds a box: measures of one map, controls, and intervals over many crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

IOU_THRESHOLD = 0.5
# A broad spot in the middle: a quarter of the side. Only energy and IoU depend on it.
GAUSSIAN_SIGMA = 0.25


@dataclass(frozen=True, slots=True)
class Scores:
    """One map against one box, all 0..1 but `enrichment`, which is >= 0.

    average_precision: of the pixels, those in the box being the positives.
    peak: 1 where the highest pixel lies in the box.
    energy: the box's share of the map's sum.
    enrichment: that over the box's share of the area; 1 for a uniform map.
    iou: intersection over union of the box and the pixels at half the map's scale or above.
    """

    average_precision: float
    peak: float
    energy: float
    enrichment: float
    iou: float


MEASURES: tuple[str, ...] = tuple(field.name for field in fields(Scores))


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the percentile bootstrap interval around it."""

    value: float
    low: float
    high: float


def box_mask(box: Sequence[int], size: tuple[int, int]) -> Mask:
    """(H, W) mask of a box [x0, y0, x1, y1) in pixels. Raises ValueError where it holds none."""
    x0, y0, x1, y1 = box
    height, width = size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"box {list(box)} does not lie in an image of {width}x{height} px")
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def score(values: Map, mask: Mask, rng: np.random.Generator) -> Scores:
    """All measures of one map (H, W), 0..1 on its own scale, >= 0.

    An empty map points nowhere: its peak is a miss, and it holds no energy in the box. Its
    average precision is that of a random order.
    """
    total = float(values.sum(dtype=np.float64))
    energy = float(values[mask].sum(dtype=np.float64)) / total if total > 0 else 0.0
    return Scores(
        average_precision=average_precision(values, mask, rng),
        peak=float(peak_in(values, mask, rng)),
        energy=energy,
        enrichment=energy / float(mask.mean()),
        iou=iou(values >= IOU_THRESHOLD, mask),
    )


def average_precision(values: Map, mask: Mask, rng: np.random.Generator) -> float:
    """Mean over the mask's pixels of the precision at their rank; equal pixels in random order."""
    shuffled = rng.permutation(values.size)
    order = shuffled[np.argsort(-values.ravel()[shuffled], kind="stable")]
    ranks = np.flatnonzero(mask.ravel()[order]) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())


def peak_in(values: Map, mask: Mask, rng: np.random.Generator) -> bool:
    """Whether the highest pixel is in the mask; one of several is drawn. False for an empty map."""
    highest = values.max()
    if not highest > 0:
        return False
    return bool(rng.choice(mask[values == highest]))


def iou(found: Mask, mask: Mask) -> float:
    """Intersection over union, 0..1."""
    return float((found & mask).sum() / (found | mask).sum())


def uniform_map(size: tuple[int, int]) -> Map:
    """The same everywhere: what a map that knows nothing scores."""
    return np.ones(size, np.float32)


def centred_gaussian(size: tuple[int, int]) -> Map:
    """A round spot in the middle of the crop: what knowing how crops are cut scores."""
    height, width = size
    y = (np.arange(height) + 0.5) / height - 0.5
    x = (np.arange(width) + 0.5) / width - 0.5
    squares = (y[:, None] ** 2 + x**2) / GAUSSIAN_SIGMA**2
    return np.exp(-squares / 2).astype(np.float32)


class ClusterBootstrap:
    """Resamples whole clusters (slides), so that crops of one slide do not count as independent.

    All estimates of one object see the same resamples: differences between rows are paired.
    """

    def __init__(self, clusters: Sequence[str], resamples: int = 2000, seed: int = 0) -> None:
        _, self._members = np.unique(np.asarray(clusters), return_inverse=True)
        count = int(self._members.max()) + 1
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        self._weights: NDArray[np.int64] = draws[:, self._members]

    @property
    def clusters(self) -> int:
        return int(self._members.max()) + 1

    def resampled_means(self, values: Values) -> Values:
        """(crops,) -> (resamples,): the mean of each resample."""
        means: Values = (self._weights @ values) / self._weights.sum(1)
        return means

    def mean(self, values: Values) -> Interval:
        """The mean of (crops,) values and its 95 % interval."""
        return interval(float(values.mean()), self.resampled_means(values))

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


def columns(scores: Sequence[Scores]) -> dict[str, Values]:
    """Scores of many crops, measure by measure: {measure: (crops,)}."""
    table = np.array([astuple(one) for one in scores], np.float64)
    return {name: table[:, index] for index, name in enumerate(MEASURES)}


def _gap(better: Values | float, baseline: Values | float) -> Values:
    return np.asarray((better - baseline) / (1 - np.asarray(baseline)))

"""How well a map finds a box: measures of one map, controls, and intervals over many crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.localisation import (
    Mask,
    average_precision,
    energy,
    intersection_over_union,
    peak_share,
)

Map = NDArray[np.float32]
Values = NDArray[np.float64]

IOU_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Scores:
    """One map against one box, all 0..1 but `enrichment`, which is >= 0.

    average_precision: of the pixels, those in the box being the positives.
    peak: 1 where the highest pixel lies in the box; of several, the share that does.
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


def box_mask(box: Sequence[int], size: tuple[int, int]) -> Mask:
    """(H, W) mask of a box [x0, y0, x1, y1) in pixels. Raises ValueError where it holds none."""
    x0, y0, x1, y1 = box
    height, width = size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"box {list(box)} does not lie in an image of {width}x{height} px")
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def score(values: Map, mask: Mask) -> Scores:
    """All measures of one map (H, W), 0..1 on its own scale, >= 0.

    Equal pixels have no order: AP and peak are expectations over all orders. An empty map points
    nowhere: its peak is a miss, and it holds no energy in the box.
    """
    in_box = energy(values, mask)
    return Scores(
        average_precision=average_precision(values, mask),
        peak=peak_share(values, mask),
        energy=in_box,
        enrichment=in_box / float(mask.mean()),
        iou=intersection_over_union(values >= IOU_THRESHOLD, mask),
    )


def columns(scores: Sequence[Scores]) -> dict[str, Values]:
    """Scores of many crops, measure by measure: {measure: (crops,)}."""
    table = np.array([astuple(one) for one in scores], np.float64)
    return {name: table[:, index] for index, name in enumerate(MEASURES)}

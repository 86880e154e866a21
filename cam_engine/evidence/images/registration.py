"""Lays one picture of a cell over another and says how alike they are in detail.

Two photographs of one cell differ in focus, light and the box that somebody drew, so pictures are
compared by their local contrast, both blurred, and after an affine registration by enhanced
correlation (Evangelidis and Psarakis 2008). Pictures are (96, 96) uint8, as `reduced` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cam_engine.results import RgbImage

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]
Warp = NDArray[np.float32]

SIDE = 96

_FOCUS = 1.5  # px: finer detail than this depends on the focus
_WINDOW = 4.0  # px: sigma of the window in which contrast and correlation are local
_NOISE = 9.0  # squared grey levels: what noise and compression leave in such a window
_SMOOTHING = 1.6  # px: of the map of contrast, so that registration finds its way
_LEAST_CONTRAST = 0.05  # share of the picture that must have any
# How far one box may differ from another. Boxes of one cell were within 2 degrees, 18 % in size
# and 13 % in proportions of each other; of other cells, ECC turns and stretches them until
# they fit.
_MOST_TURN_DEGREES, _MOST_STRETCH, _MOST_SCALE, _LEAST_OVERLAP = 5.0, 1.25, 1.34, 0.5
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a picture is looked at: its middle moved by (x, y) px and enlarged by `scale`."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0

    @property
    def warp(self) -> Warp:
        """(2, 3): from points of the one picture to those of the other that is placed so."""
        middle = (SIDE - 1) / 2
        kept = middle - self.scale * middle
        rows = [[self.scale, 0, kept + self.x], [0, self.scale, kept + self.y]]
        return np.array(rows, np.float32)


def reduced(image: RgbImage) -> Grey:
    """(H, W, 3) uint8 of any size -> (96, 96) uint8 grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def local_contrast(grey: Grey) -> Field:
    """(96, 96) float32: how far each place is from the mean around it, in local deviations.

    Light and stain drop out, and the round outline counts no more than what is in the cell.
    """
    blurred = _blurred(grey.astype(np.float32), _FOCUS)
    mean = _blurred(blurred, 5.0)
    variance = np.maximum(_blurred(blurred * blurred, 5.0) - mean * mean, 0)
    deviation = np.sqrt(variance + np.float32(_NOISE))
    return _blurred(np.asarray((blurred - mean) / deviation, np.float32), _SMOOTHING)


def correlation(one: Grey, other: Grey, start: Placing) -> float | None:
    """Mean local correlation of two pictures after registration, -1..1.

    The mean over places of the correlation in a window around each, weighted by the larger of both
    contrasts there: a detail that only one of them has counts against them. start: about where
    the other one lies. None where they cannot be laid over each other like two boxes of one cell,
    or have no detail to compare.
    """
    warp = _registered(local_contrast(one), local_contrast(other), start.warp)
    if warp is None:
        return None
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size, whole = (SIDE, SIDE), np.full((SIDE, SIDE), 255, np.uint8)
    inside = cv2.warpAffine(whole, warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    if inside.mean() < _LEAST_OVERLAP:
        return None
    laid_over = cv2.warpAffine(
        other.astype(np.float32), warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return _local_correlation(
        _blurred(one.astype(np.float32), _FOCUS),
        _blurred(np.asarray(laid_over, np.float32), _FOCUS),
        inside,
    )


def _registered(one: Field, other: Field, start: Warp) -> Warp | None:
    try:
        _, warp = cv2.findTransformECC(
            one, other, start.copy(), cv2.MOTION_AFFINE, _STOP, np.full(one.shape, 255, np.uint8), 1
        )
    except cv2.error:  # it did not converge
        return None
    linear = np.asarray(warp, np.float64)[:, :2]
    if not np.isfinite(linear).all():
        return None
    longest, shortest = np.linalg.svd(linear)[1]
    turn = np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    scale = np.sqrt(longest * shortest)
    fits = (
        longest <= _MOST_STRETCH * shortest
        and abs(turn) <= _MOST_TURN_DEGREES
        and 1 / _MOST_SCALE <= scale <= _MOST_SCALE
    )
    return np.asarray(warp, np.float32) if fits else None


def _local_correlation(one: Field, other: Field, inside: NDArray[np.bool_]) -> float | None:
    """one, other: (96, 96), already blurred; inside: where both have pixels."""
    seen = inside.astype(np.float32)
    share = _blurred(seen, _WINDOW) + 1e-6

    def mean(values: Field) -> Field:
        return np.asarray(_blurred(values * seen, _WINDOW) / share, np.float32)

    mean_one, mean_other = mean(one), mean(other)
    variance_one = np.maximum(mean(one * one) - mean_one * mean_one, 0)
    variance_other = np.maximum(mean(other * other) - mean_other * mean_other, 0)
    covariance = mean(one * other) - mean_one * mean_other
    local = covariance / np.sqrt(variance_one * variance_other + 1e-3)
    larger = np.maximum(variance_one, variance_other)
    weights = (larger / (larger + _NOISE))[inside]
    if weights.mean() < _LEAST_CONTRAST:
        return None
    return float(np.clip((local[inside] * weights).sum() / weights.sum(), -1, 1))


def _blurred(values: Field, sigma: float) -> Field:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)

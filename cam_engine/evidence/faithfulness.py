"""Insertion and deletion (Petsiuk et al. 2018, sec. 4.2): does the answer follow the map?

Deletion takes the highest pixels away first and watches the score fall: a small area under its
curve is good. Insertion puts them back first into a blurred image: a large area is good. Here
pixels of equal value change in one step, and areas are taken over the share of pixels that was
really changed; without equal values both are RISE's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.ordering import steps_of
from cam_engine.results import RgbImage

STEPS = 28  # of 224 px, 8 rows of pixels each
BLUR_SIGMA_SHARE = 10 / 224  # of the image's side: RISE's blur of 224 px has sigma 10
Scorer = Callable[[Sequence[RgbImage]], NDArray[np.float64]]
Values = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Curve:
    """A score along the steps: shares of changed pixels (n,), 0..1, rising, and scores (n,)."""

    shares: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Under the curve, by trapezoids over what was really changed."""
        return float(np.trapezoid(self.scores, self.shares))


def blurred(image: RgbImage) -> RgbImage:
    """The (H, W, 3) uint8 image without what distinguishes cells: a Gaussian of 10 px at 224."""
    sigma = BLUR_SIGMA_SHARE * max(image.shape[:2])
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def mean_coloured(image: RgbImage) -> RgbImage:
    """An image of the same size, all of it the mean colour."""
    return np.broadcast_to(image.mean((0, 1)).round().astype(np.uint8), image.shape).copy()


@dataclass(frozen=True, slots=True)
class States:
    """Images along the steps, the first one unchanged: shares of changed pixels (n,), rising."""

    shares: NDArray[np.float64]
    images: tuple[RgbImage, ...]

    def scored(self, scores: NDArray[np.float64]) -> Curve:
        """The curve of their scores, (n,)."""
        return Curve(self.shares, np.asarray(scores))


def insertion(
    values: Values, image: RgbImage, baseline: RgbImage, score: Scorer, steps: int = STEPS
) -> Curve:
    """The score while the map's highest pixels of the image come first into the baseline.

    values: (H, W), of the image's size. score: images -> (n,), each independent of the others.
    """
    states = inserted(values, image, baseline, steps)
    return states.scored(score(states.images))


def deletion(
    values: Values, image: RgbImage, baseline: RgbImage, score: Scorer, steps: int = STEPS
) -> Curve:
    """The score while the map's highest pixels of the image give way first to the baseline's."""
    states = deleted(values, image, baseline, steps)
    return states.scored(score(states.images))


def inserted(values: Values, image: RgbImage, baseline: RgbImage, steps: int = STEPS) -> States:
    """What `insertion` scores."""
    return _states(values, baseline, image, steps)


def deleted(values: Values, image: RgbImage, baseline: RgbImage, steps: int = STEPS) -> States:
    """What `deletion` scores."""
    return _states(values, image, baseline, steps)


def _states(values: Values, before: RgbImage, after: RgbImage, steps: int) -> States:
    if values.shape != before.shape[:2] or before.shape != after.shape:
        raise ValueError(f"map {values.shape}, images {before.shape} and {after.shape}")
    states = list(steps_of(values, steps))
    images = (np.where(state.changed[..., None], after, before) for state in states)
    return States(np.array([state.share for state in states]), tuple(images))

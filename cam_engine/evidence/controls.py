"""Maps that know nothing of the network: what they score is no evidence.

Each is (H, W) float32, >= 0.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import sobel

from cam_engine.results import FloatMap, RgbImage

# A broad spot in the middle: a quarter of the side. Only energy and IoU depend on it.
GAUSSIAN_SIGMA = 0.25
_RANDOM_SIGMA = 0.1  # of the side: blobs as large as those of real maps
_BLUR_SIGMA = 0.1


def uniform_map(size: tuple[int, int]) -> FloatMap:
    """The same everywhere: what a map that knows nothing scores."""
    return np.ones(size, np.float32)


def centred_gaussian(size: tuple[int, int]) -> FloatMap:
    """A round spot in the middle of the crop: what knowing how crops are cut scores."""
    height, width = size
    y = (np.arange(height) + 0.5) / height - 0.5
    x = (np.arange(width) + 0.5) / width - 0.5
    squares = (y[:, None] ** 2 + x**2) / GAUSSIAN_SIGMA**2
    return np.exp(-squares / 2).astype(np.float32)


def random_smooth(size: tuple[int, int], rng: np.random.Generator) -> FloatMap:
    """Blobs at random, 0..1: white noise through a Gaussian."""
    noise = rng.normal(size=size).astype(np.float32)
    return _scaled(_blurred(noise, _RANDOM_SIGMA))


def edges(image: RgbImage) -> FloatMap:
    """Sobel's edges of an (H, W, 3) uint8 image: what looking at the image alone scores."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return np.asarray(sobel(grey), np.float32)


def blurred_copy(values: NDArray[np.floating]) -> FloatMap:
    """The same map, much coarser: some measures reward that alone."""
    return _blurred(np.asarray(values, np.float32), _BLUR_SIGMA)


def _blurred(values: FloatMap, share: float) -> FloatMap:
    sigma = share * max(values.shape)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def _scaled(values: FloatMap) -> FloatMap:
    span = float(np.ptp(values))
    return np.asarray((values - values.min()) / span if span > 0 else values * 0, np.float32)

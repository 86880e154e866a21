"""Where the stained parasite lies in a crop, and pictures without it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from cam_engine.results import RgbImage

Mask = NDArray[np.bool_]

_SMOOTH = 1 / 112  # of the side: sigma before the threshold
_GROWN = 1 / 32  # of the side: what is filled reaches a little beyond the stain
_SPREAD = 1 / 8  # of the side: how far background is carried into the hole
_LEAST, _MOST = 0.01, 0.5  # of a crop: less is noise, more is not a parasite
_DEVIATIONS = 3.0  # below the cells' median
_LEVELS = 10.0  # of 255: cells of one colour have next to no deviation
_OF_NORMAL = 1.4826  # standard deviation of a normal distribution, by its median deviation


def stained(image: RgbImage) -> Mask | None:
    """(H, W) bool, the nuclear stain of an (H, W, 3) uint8 image, grown a little.

    Cells are what Otsu's threshold (1979) takes from the green channel, which both dyes of Giemsa
    darken. Of them, what lacks more red than cells do: by 3 deviations below their median, and by
    10 levels; azure takes red, eosin hardly does. Of that, the parts that touch the middle half.
    None where what is found is under 1 % or over half of the crop: then no stain stands out, as
    in a cell that the parasite fills.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    smooth = cv2.GaussianBlur(image, (0, 0), max(_SMOOTH * side, 0.5)).astype(np.float32)
    red, green = smooth[..., 0], smooth[..., 1]
    cells = green <= threshold_otsu(green)
    median = float(np.median(red[cells]))
    deviation = _OF_NORMAL * float(np.median(np.abs(red[cells] - median)))
    dark = cells & (red < median - max(_DEVIATIONS * deviation, _LEVELS))
    size = 2 * max(round(_GROWN * side), 1) + 1
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    _, parts = cv2.connectedComponents(cv2.dilate(dark.astype(np.uint8), ellipse))
    middle = parts[height // 4 : height - height // 4, width // 4 : width - width // 4]
    kept = np.isin(parts, np.setdiff1d(np.unique(middle), [0]))
    return np.asarray(kept, np.bool_) if _LEAST <= kept.mean() <= _MOST else None


def filled(image: RgbImage, hole: Mask) -> RgbImage:
    """The image with blurred surroundings in place of the hole (H, W); the rest is as it was.

    Surroundings alone are blurred, so that nothing of what is filled remains.
    """
    around = (~hole).astype(np.float32)
    if not around.any():
        return np.broadcast_to(image.mean((0, 1)).round().astype(np.uint8), image.shape).copy()
    sigma = _SPREAD * max(image.shape[:2])
    weight = cv2.GaussianBlur(around, (0, 0), sigma)
    carried = cv2.GaussianBlur(image * around[..., None], (0, 0), sigma)
    mean = image[~hole].mean(0)
    smooth = np.where(weight[..., None] > 1e-4, carried / np.maximum(weight, 1e-4)[..., None], mean)
    made = image.copy()
    made[hole] = np.clip(smooth[hole].round(), 0, 255).astype(np.uint8)
    return made


def elsewhere(mask: Mask) -> Mask:
    """A mask of the same area and about the same shape that overlaps with it least.

    The mask moved around the edges, as on a torus; where all moves overlap, less what overlaps.
    """
    height, width = mask.shape
    spectrum = np.fft.rfft2(mask.astype(np.float64))
    overlap = np.fft.irfft2(spectrum * spectrum.conj(), (height, width)).round()
    down, right = np.unravel_index(int(overlap.argmin()), overlap.shape)
    moved = np.roll(mask, (int(down), int(right)), (0, 1))
    return np.asarray(moved & ~mask, np.bool_)

"""What pictures of maps look like, in numbers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cam_engine.results import FloatMap, RgbImage

_LEAST_CELL_PX = 3  # with fewer, every pixel is on a cell's border


def local_contrast(image: RgbImage) -> float:
    """Mean standard deviation of lightness (0..255) in 8 x 8 tiles of a (H, W, 3) image."""
    light = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    size = (max(1, image.shape[1] // 8), max(1, image.shape[0] // 8))
    mean = cv2.blur(light, size)
    variance = cv2.blur(light * light, size) - mean * mean
    return float(np.sqrt(np.maximum(variance, 0)).mean())


def stained_tissue(image: RgbImage) -> NDArray[np.bool_]:
    """Where a (H, W, 3) RGB image is stained: Otsu's threshold on what the red channel lacks.

    Giemsa's azure and blue, which parasites take up, absorb red; eosin in red cells hardly does.
    """
    absorbed = 255 - image[..., 0]
    _, mask = cv2.threshold(absorbed, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(mask, bool)


def focus(values: FloatMap, tissue: NDArray[np.bool_]) -> float | None:
    """Share of the map's energy on the tissue over the tissue's share of the area.

    1 for a uniform map; None where the map or the tissue is empty.
    """
    area, total = float(tissue.mean()), float(values.sum())
    if area == 0.0 or total == 0.0:
        return None
    return float(values[tissue].sum()) / total / area


def blockiness(values: FloatMap, grid: tuple[int, int]) -> float | None:
    """Share of gradient energy on the grid's cell borders: 0 as in bilinear, 1 as in nearest.

    The same map, averaged over its cells and upsampled in both ways, gives the scale. None where
    cells have fewer than 3 px, or the map is constant.
    """
    height, width = values.shape
    if min(height // grid[0], width // grid[1]) < _LEAST_CELL_PX:
        return None
    native = cv2.resize(values, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    bilinear = np.asarray(
        cv2.resize(native, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
    share, low = _border_share(values, grid), _border_share(bilinear, grid)
    if share is None or low is None or low >= 1.0:
        return None
    return max(0.0, (share - low) / (1.0 - low))


def _border_share(values: FloatMap, grid: tuple[int, int]) -> float | None:
    on_border = total = 0.0
    for axis, cells in enumerate(grid):
        steps = np.square(np.diff(values.astype(np.float64), axis=axis))
        side = values.shape[axis]
        borders = np.unique(np.round(np.arange(1, cells) * side / cells).astype(int)) - 1
        total += float(steps.sum())
        on_border += float(steps.take(borders, axis=axis).sum())
    return None if total <= 1e-9 else on_border / total  # rounding noise

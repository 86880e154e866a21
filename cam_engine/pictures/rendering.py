"""From a layer's map to pictures: smooth full-size maps, colour, overlays.

Maps stay float32 until they are coloured: an 8-bit step before the smoothing would show as bands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from cam_engine.options import CamOptions, Colormap
from cam_engine.results import FloatMap, LayerMap, RgbImage

LONGEST_SIDE_PX = 2048


@dataclass(frozen=True, slots=True)
class Smoothing:
    """How maps are smoothed, here and in the viewer.

    samples: a native cell, at which it is done. samples_large: where there would be more than
    large_side of them along the longer side; such a grid is fine enough with half of them: its maps
    move by 0.001 on average, and the filter takes a twentieth of the time. longest_side: most
    samples along a side. sigma_colour: of values 0..1; sigma_cells: in native cells. The filter as
    people know it is (d=9, 75, 75) on 8-bit pixels of a 224 px image.
    """

    samples: int = 8
    samples_large: int = 4
    large_side: int = 128
    longest_side: int = 512
    sigma_colour: float = 75 / 255
    sigma_cells: float = 75 / 224


SMOOTHING = Smoothing()

_COLOURS: Mapping[Colormap, int] = MappingProxyType(
    {
        "inferno": cv2.COLORMAP_INFERNO,
        "viridis": cv2.COLORMAP_VIRIDIS,
        "turbo": cv2.COLORMAP_TURBO,
        "magma": cv2.COLORMAP_MAGMA,
        "cividis": cv2.COLORMAP_CIVIDIS,
        "jet": cv2.COLORMAP_JET,
    }
)


def output_size(image: RgbImage) -> tuple[int, int]:
    """(H, W) in pixels of an image's pictures: its own size, its longer side at most 2048."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE_PX / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def full_size_map(layer: LayerMap, size: tuple[int, int]) -> FloatMap:
    """Draw the layer's map at (H, W) pixels, float32 in 0..1: bicubic, smoothed, bicubic.

    Both steps are clamped to the native map's own range, since bicubic curves overshoot; an
    edge-preserving bilateral filter of one native cell's width runs between them. Pixels are
    aligned by their areas (half-pixel centres), so that a peak stays where it was. The map is not
    stretched again: a value is a share of the layer's maximum. An empty map is all zero.
    """
    if layer.empty:
        return np.zeros(size, np.float32)
    low, high = float(layer.values.min()), float(layer.values.max())
    samples = _samples_per_cell(max(layer.grid))
    height, width = layer.grid
    fine = resize_map(layer.values, (height * samples, width * samples))
    np.clip(fine, low, high, out=fine)
    sigma_colour, sigma_cells = SMOOTHING.sigma_colour, SMOOTHING.sigma_cells
    smooth = cv2.bilateralFilter(fine, samples + 1, sigma_colour, sigma_cells * samples)
    return np.clip(resize_map(np.asarray(smooth, np.float32), size), low, high)


def resize_map(values: FloatMap, size: tuple[int, int]) -> FloatMap:
    """(h, w) float32 to (H, W): bicubic, which may overshoot; where both sides shrink, by area."""
    return np.asarray(_resize(values, size), np.float32)


def resize_image(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    """(h, w, 3) uint8 to (H, W, 3): bicubic; where both sides shrink, by area."""
    return np.asarray(_resize(image, size), np.uint8)


@cache
def colour_table(colormap: Colormap) -> RgbImage:
    """(256, 3) uint8 RGB of a colour map, for the map's values 0..1; read-only."""
    ramp = np.arange(256, dtype=np.uint8).reshape(256, 1)
    bgr = np.asarray(cv2.applyColorMap(ramp, _COLOURS[colormap]), np.uint8).reshape(256, 3)
    table = bgr[:, ::-1].copy()
    table.setflags(write=False)
    return table


def colour_indices(values: FloatMap) -> NDArray[np.uint8]:
    """(H, W) float32 in 0..1 to uint8 rows of a colour table: round(255 value)."""
    return np.asarray(cv2.convertScaleAbs(values, alpha=255.0), np.uint8)


def heatmap(values: FloatMap, colormap: Colormap) -> RgbImage:
    """(H, W) float32 in 0..1 to (H, W, 3) uint8 RGB."""
    table = colour_table(colormap).reshape(256, 1, 3)
    return np.asarray(cv2.applyColorMap(colour_indices(values), table), np.uint8)


def overlay(
    image: RgbImage, values: FloatMap, options: CamOptions, colours: RgbImage | None = None
) -> RgbImage:
    """Lay the map (H, W) in colour over the image, (H, W, 3) uint8 RGB.

    result = (1 - opacity) image + opacity colour, rounded. Blend "uniform": opacity is alpha
    everywhere. Blend "adaptive": it grows with the map from 0 to alpha, so that unlit tissue stays
    as it is. An image of another size is brought to the map's. colours: the map's `heatmap`, where
    it is there already.
    """
    if image.shape[:2] != values.shape:
        image = resize_image(image, (values.shape[0], values.shape[1]))
    opacity = opacities(values, options)
    if colours is None:
        colours = heatmap(values, options.colormap)
    return np.asarray(cv2.blendLinear(image, colours, 1.0 - opacity, opacity), np.uint8)


def opacities(values: FloatMap, options: CamOptions) -> FloatMap:
    """(H, W) float32 in 0..alpha: how opaque the colour is over each pixel."""
    return _OPACITIES[options.blend](values) * np.float32(options.alpha)


def colorbar(colormap: Colormap, size: tuple[int, int]) -> RgbImage:
    """(H, W, 3) uint8 RGB: the colour map from 0 at the left to 1 at the right."""
    height, width = size
    ramp = np.linspace(0.0, 1.0, width, dtype=np.float32)
    return heatmap(np.broadcast_to(ramp, (height, width)).copy(), colormap)


def _samples_per_cell(longer_side: int) -> int:
    samples = SMOOTHING.samples
    if longer_side * samples > SMOOTHING.large_side:
        samples = SMOOTHING.samples_large
    return max(1, min(samples, SMOOTHING.longest_side // longer_side))


def _resize(pixels: FloatMap | RgbImage, size: tuple[int, int]) -> MatLike:
    height, width = size
    if pixels.shape[:2] == size:
        return pixels.copy()
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(pixels, (width, height), interpolation=method)


def _adaptive(values: FloatMap) -> FloatMap:
    """Smoothstep, v^2 (3 - 2 v): flat at both ends, so that dark colours do not dirty tissue."""
    return values * values * (3.0 - 2.0 * values)


def _uniform(values: FloatMap) -> FloatMap:
    return np.ones_like(values)


_OPACITIES: Mapping[str, Callable[[FloatMap], FloatMap]] = MappingProxyType(
    {"adaptive": _adaptive, "uniform": _uniform}
)

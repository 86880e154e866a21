"""An absorbance canvas: stains are laid on in optical density and light passes through them all.

Lengths are in crop pixels (the crop is `CROP_SIDE_PX` wide); the canvas itself is drawn
`OVERSAMPLING` times finer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Polygon = NDArray[np.float64]
Rng = np.random.Generator

CROP_SIDE_PX = 224
OVERSAMPLING = 2
CANVAS_SIDE = CROP_SIDE_PX * OVERSAMPLING
SUBPIXEL_BITS = 4


class Stain(Enum):
    """What takes up light; the value is its absorbance in R, G, B at density 1 (natural log)."""

    HAEMOGLOBIN = (0.09, 0.40, 0.27)
    CYTOPLASM = (0.50, 0.68, 0.17)
    CHROMATIN = (0.60, 1.45, 0.50)
    PIGMENT = (0.35, 0.62, 1.25)
    STIPPLING = (0.10, 0.36, 0.14)
    PRECIPITATE = (0.95, 1.30, 0.75)


@dataclass(frozen=True)
class Light:
    """How one slide looks: all factors that must tell nothing about the class.

    Background is RGB 0..255, tints multiply absorbance (1 = unchanged), blur is in crop pixels,
    noise is a standard deviation in grey levels.
    """

    background: Array
    haemoglobin_tint: Array
    stain_strength: float
    blur_px: float
    noise_levels: float


def random_light(rng: Rng) -> Light:
    """Choose a slide between pink and grey, well or weakly stained, in good or fair focus."""
    pinkness = rng.uniform(0, 1)
    grey, pink = np.array([1.6, 0.55, 0.75]), np.array([1.0, 1.1, 1.0])
    background = (
        np.array([234, 222, 227]) + rng.uniform(-1, 1) * np.array([3, -8, 0]) + rng.normal(0, 3, 3)
    )
    return Light(
        background=background.astype(np.float32),
        haemoglobin_tint=((1 - pinkness) * grey + pinkness * pink).astype(np.float32)
        * rng.uniform(0.75, 1.25),
        stain_strength=rng.uniform(0.8, 1.25),
        blur_px=rng.uniform(0.7, 1.3),
        noise_levels=rng.uniform(1.2, 3.0),
    )


def smooth_noise(rng: Rng, grain_px: float) -> Array:
    """Noise (CANVAS_SIDE, CANVAS_SIDE), about 0 mean and unit deviation, in blobs of `grain_px`."""
    nodes = max(3, round(CROP_SIDE_PX / grain_px))
    seed = rng.normal(0, 1, (nodes, nodes)).astype(np.float32)
    return cv2.resize(seed, (CANVAS_SIDE, CANVAS_SIDE), interpolation=cv2.INTER_CUBIC)


def soften(image: Array, radius_px: float) -> Array:
    """Blur with a Gaussian whose standard deviation is in crop pixels."""
    return cv2.GaussianBlur(image, (0, 0), radius_px * OVERSAMPLING)


def cover(polygons: list[Polygon], edge_px: float = 0.6) -> Array:
    """Coverage 0..1 of the union of closed (N, 2) polygons, with edges softened by `edge_px`."""
    mask = np.zeros((CANVAS_SIDE, CANVAS_SIDE), np.uint8)
    scale = OVERSAMPLING * 2**SUBPIXEL_BITS
    for polygon in polygons:
        points = np.round(polygon * scale).astype(np.int32)
        cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return soften(mask.astype(np.float32) / 255, edge_px)


class Canvas:
    """The density of each stain over one crop."""

    def __init__(self) -> None:
        self._density = {stain: np.zeros((CANVAS_SIDE, CANVAS_SIDE), np.float32) for stain in Stain}

    def add(self, stain: Stain, density: Array) -> None:
        """Lay more of a stain on; density >= 0, (CANVAS_SIDE, CANVAS_SIDE)."""
        self._density[stain] += density

    def clear(self, stain: Stain, share: Array) -> None:
        """Take away a share of a stain, as a parasite eats haemoglobin; below 0 adds to it."""
        self._density[stain] *= 1 - share

    def render(self, light: Light, rng: Rng) -> NDArray[np.uint8]:
        """Show the crop as a camera sees it: RGB (CROP_SIDE_PX, CROP_SIDE_PX, 3)."""
        transmitted = _illumination(light, rng) * np.exp(-self._absorbance(light))
        seen = cv2.resize(
            soften(transmitted, light.blur_px),
            (CROP_SIDE_PX, CROP_SIDE_PX),
            interpolation=cv2.INTER_AREA,
        )
        return np.clip(seen + _camera_noise(light, rng), 0, 255).round().astype(np.uint8)

    def _absorbance(self, light: Light) -> Array:
        """Sum what all stains take up: (CANVAS_SIDE, CANVAS_SIDE, 3), natural log."""
        colours = np.array([stain.value for stain in self._density], np.float32)
        tints = np.array(
            [
                light.haemoglobin_tint if stain is Stain.HAEMOGLOBIN else [light.stain_strength] * 3
                for stain in self._density
            ],
            np.float32,
        )
        return np.stack(list(self._density.values()), axis=-1) @ (colours * tints)


def _illumination(light: Light, rng: Rng) -> Array:
    """Uneven light: a tilt, a falling-off from a random centre and faint clouds of dried plasma."""
    axis = np.linspace(-1, 1, CANVAS_SIDE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    tilt_x, tilt_y = rng.uniform(-0.045, 0.045, 2)
    centre_x, centre_y = rng.uniform(-0.7, 0.7, 2)
    falloff = rng.uniform(0.0, 0.035) * ((x - centre_x) ** 2 + (y - centre_y) ** 2)
    clouds = 0.008 * smooth_noise(rng, 40) + 0.005 * smooth_noise(rng, 9)
    gain = 1 + tilt_x * x + tilt_y * y - falloff + clouds
    return gain[..., None] * light.background


def _camera_noise(light: Light, rng: Rng) -> Array:
    fine = rng.normal(0, light.noise_levels, (CROP_SIDE_PX, CROP_SIDE_PX, 3))
    return cv2.GaussianBlur(fine, (0, 0), 0.5).astype(np.float32) * 1.4

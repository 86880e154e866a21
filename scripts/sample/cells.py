"""Red cells, and the dirt between them that is no parasite."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from canvas import (
    CROP_SIDE_PX,
    OVERSAMPLING,
    Array,
    Canvas,
    Polygon,
    Rng,
    Stain,
    cover,
    smooth_noise,
)
from shapes import blob, fringe, polar


@dataclass(frozen=True)
class CellTraits:
    """Chances (0..1) that a cell is enlarged, oval and fringed, or stippled."""

    enlarged: float
    oval: float
    stippled: float


@dataclass(frozen=True)
class Cell:
    """A red cell on the canvas: centre (2,) and mean radius in crop pixels, coverage 0..1."""

    centre: Polygon
    radius_px: float
    coverage: Array


def draw_cell(
    canvas: Canvas, rng: Rng, centre: Polygon, radius_px: float, traits: CellTraits
) -> Cell:
    """Paint one red cell with a soft edge and central pallor."""
    is_enlarged, is_oval, is_stippled = rng.random(3) < [
        traits.enlarged,
        traits.oval,
        traits.stippled,
    ]
    radius_px *= rng.uniform(1.1, 1.25) if is_enlarged else 1.0
    stretch = rng.uniform(1.2, 1.45) if is_oval else rng.uniform(1.0, 1.15)
    outline = blob(rng, centre, radius_px, wobble=0.035, lobes=3, stretch=stretch)
    if is_oval:
        outline = fringe(rng, outline, radius_px * rng.uniform(0.06, 0.14))
    cell = Cell(centre, radius_px, cover([outline], edge_px=0.9))
    thinness = 0.8 if is_enlarged else 1.0
    canvas.add(Stain.HAEMOGLOBIN, thinness * _thickness(rng, cell.coverage))
    if is_stippled:
        _stipple(canvas, rng, cell)
    return cell


def draw_neighbours(canvas: Canvas, rng: Rng, infected: Cell, traits: CellTraits) -> None:
    """Fill the field round the infected cell with healthy ones that seldom overlap."""
    placed = [(infected.centre, infected.radius_px)]
    for _ in range(int(rng.integers(12, 40))):
        centre, radius_px = rng.uniform(-25, CROP_SIDE_PX + 25, 2), rng.uniform(36, 50)
        closeness = rng.uniform(0.86, 1.05)
        if all(
            np.linalg.norm(centre - other) > closeness * (radius_px + size)
            for other, size in placed
        ):
            draw_cell(canvas, rng, centre, radius_px, traits)
            placed.append((centre, radius_px))


def mottle(canvas: Canvas, rng: Rng) -> None:
    """Make the haemoglobin of all cells slightly patchy."""
    patches = 0.035 * smooth_noise(rng, 12) + 0.02 * smooth_noise(rng, 4)
    canvas.clear(Stain.HAEMOGLOBIN, patches)


def draw_distractors(canvas: Canvas, rng: Rng, keep_clear: Array) -> None:
    """Platelets, stain precipitate and dust, anywhere but on the parasite (`keep_clear` > 0)."""
    for draw, most in ((_platelet, 2), (_precipitate, 2), (_dust, 3)):
        for _ in range(int(rng.integers(0, most + 1))):
            spot = rng.uniform(6, CROP_SIDE_PX - 6, 2)
            x, y = (spot * OVERSAMPLING).astype(int)
            if keep_clear[y, x] == 0:
                draw(canvas, rng, spot)


def _thickness(rng: Rng, coverage: Array) -> Array:
    """Model a biconcave disc: thickest near the rim, thin at its middle."""
    small = cv2.resize(coverage, (CROP_SIDE_PX, CROP_SIDE_PX), interpolation=cv2.INTER_AREA)
    depth = cv2.distanceTransform((small > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    depth = cv2.GaussianBlur(depth / max(depth.max(), 1.0), (0, 0), 3)
    pallor = rng.uniform(0.1, 0.8) * np.clip((depth - 0.2) / 0.6, 0, 1) ** 1.3
    rim = 0.10 * np.exp(-(((depth - 0.12) / 0.1) ** 2))
    profile = cv2.resize(1 - pallor + rim, coverage.shape, interpolation=cv2.INTER_LINEAR)
    return coverage * profile


def _stipple(canvas: Canvas, rng: Rng, cell: Cell) -> None:
    """Fine pink dots over the whole cell (Schüffner's and James's stippling)."""
    count = int(cell.radius_px * rng.uniform(2.0, 5.0))
    spots = cell.centre + rng.uniform(-1, 1, (count, 2)) * cell.radius_px * 1.1
    dots = cover([blob(rng, spot, rng.uniform(0.5, 1.2), 0.1) for spot in spots], edge_px=0.6)
    canvas.add(Stain.STIPPLING, rng.uniform(0.6, 1.1) * dots * cell.coverage)


def _platelet(canvas: Canvas, rng: Rng, spot: Polygon) -> None:
    body = cover(
        [blob(rng, spot, rng.uniform(4, 8), 0.2, stretch=rng.uniform(1, 1.6))], edge_px=1.5
    )
    granules = [
        blob(rng, spot + rng.normal(0, 2.4, 2), rng.uniform(0.8, 1.8), 0.2) for _ in range(8)
    ]
    canvas.add(Stain.CYTOPLASM, 0.45 * body)
    canvas.add(Stain.CHROMATIN, 0.12 * body + 0.40 * cover(granules, edge_px=0.8))


def _precipitate(canvas: Canvas, rng: Rng, spot: Polygon) -> None:
    count, spread_px = int(rng.integers(2, 12)), rng.uniform(2, 9)
    specks = [
        blob(rng, spot + rng.normal(0, spread_px, 2), rng.uniform(0.6, 2.2), 0.25)
        for _ in range(count)
    ]
    canvas.add(Stain.PRECIPITATE, rng.uniform(0.5, 1.0) * cover(specks, edge_px=0.5))


def _dust(canvas: Canvas, rng: Rng, spot: Polygon) -> None:
    ends = spot + np.stack([polar(rng.uniform(1, 7), rng.uniform(0, 2 * np.pi)) for _ in range(3)])
    canvas.add(Stain.PIGMENT, rng.uniform(0.05, 0.3) * cover([ends], edge_px=1.4))

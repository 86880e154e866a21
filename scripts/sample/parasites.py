"""Parasite forms. Each draws itself into a cell and returns its coverage, 0..1 on the canvas.

The form is the only thing that differs between classes for certain; size, place, turn and staining
are drawn at random, and forms grade into each other a little, as they do on a slide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from canvas import Array, Canvas, Polygon, Rng, Stain, cover, smooth_noise, soften
from cells import Cell
from shapes import blob, crescent, polar, ribbon, turn

Form = Callable[[Canvas, Rng, Cell], Array]


def ring(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw a young trophozoite: one thin signet ring with one chromatin dot."""
    spot = _spot_in(rng, cell, reach=0.55)
    return _signet(canvas, rng, spot, rng.uniform(9.5, 13.5), dots=1)


def trophozoite(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw a growing trophozoite: a thick irregular body with a nucleus, a vacuole and pigment."""
    radius_px = rng.uniform(12, 21)
    spot = _spot_in(rng, cell, reach=0.35)
    body = _amoeba(rng, spot, radius_px)
    _lay_body(canvas, rng, body, density=rng.uniform(0.55, 0.85))
    _nuclei(
        canvas,
        rng,
        [spot + polar(radius_px * 0.55, rng.uniform(0, 2 * np.pi))],
        rng.uniform(3.6, 5.2),
    )
    _pigment_grains(canvas, rng, spot, radius_px * 0.6, count=int(rng.integers(8, 16)), within=body)
    return body


def schizont(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw a dividing parasite: 5 to 18 merozoites packed round a clump of pigment."""
    count = int(rng.integers(5, 19))
    radius_px = cell.radius_px * (0.30 + 0.019 * count + rng.uniform(0, 0.06))
    spot = _spot_in(rng, cell, reach=0.15)
    body = cover([blob(rng, spot, radius_px * 1.08, 0.06)], edge_px=1.2)
    _lay_body(canvas, rng, body, density=rng.uniform(0.22, 0.4))
    merozoites = _packed(rng, spot, radius_px, count=count, gap_px=7.0, hollow=0.3)
    canvas.add(
        Stain.CYTOPLASM, 0.5 * cover([blob(rng, m, 5.0, 0.12) for m in merozoites], edge_px=1.0)
    )
    _nuclei(canvas, rng, merozoites, rng.uniform(2.7, 3.5))
    _pigment_grains(
        canvas, rng, spot, radius_px * 0.16, count=int(rng.integers(10, 18)), within=body
    )
    return body


def gametocyte(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw a banana-shaped gametocyte with chromatin and pigment at its middle."""
    length_px, width_px = cell.radius_px * rng.uniform(1.15, 1.8), rng.uniform(16, 22)
    angle = rng.uniform(0, 2 * np.pi)
    spot = _spot_in(rng, cell, reach=0.12)
    body = cover(
        [turn(crescent(length_px, width_px, rng.uniform(0.15, 0.5)), angle) + spot], edge_px=1.0
    )
    _lay_body(canvas, rng, body, density=rng.uniform(0.55, 0.85))
    middle = spot + turn(np.array([[0.0, -0.07 * length_px]]), angle)[0]
    core = cover([blob(rng, middle, width_px * 0.42, 0.2, stretch=1.6)], edge_px=2.0) * body
    canvas.add(Stain.CHROMATIN, rng.uniform(0.35, 0.55) * core)
    _pigment_grains(
        canvas, rng, middle, width_px * 0.55, count=int(rng.integers(9, 18)), within=body
    )
    return body


def falciparum(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw delicate rings, mostly several, some with two dots, some at the edge (appliqué)."""
    first, count = rng.uniform(0, 2 * np.pi), int(rng.choice([1, 2, 3], p=[0.15, 0.45, 0.4]))
    covers = []
    for i in range(count):
        reach = 0.84 if rng.random() < 0.35 else rng.uniform(0.35, 0.6)
        spot = cell.centre + polar(
            reach * cell.radius_px, first + (i + rng.uniform(-0.2, 0.2)) * 2 * np.pi / count
        )
        covers.append(
            _signet(canvas, rng, spot, rng.uniform(7.0, 9.5), dots=1 + int(rng.random() < 0.3))
        )
    return np.maximum.reduce(covers)


def vivax(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw a large amoeboid trophozoite: a nucleus, holes and sprawling thin arms."""
    spot = _spot_in(rng, cell, reach=0.2)
    radius_px = cell.radius_px * rng.uniform(0.30, 0.36)
    reach_px = cell.radius_px * rng.uniform(0.35, 0.7)
    first, arms = rng.uniform(0, 2 * np.pi), int(rng.integers(2, 6))
    turns = [first + (i + rng.uniform(-0.25, 0.25)) * 2 * np.pi / arms for i in range(arms)]
    limbs = [lump for angle in turns for lump in _arm(rng, spot, angle, reach_px)]
    trunk = blob(rng, spot, radius_px, 0.25)
    holes = [
        blob(rng, spot + polar(radius_px * 0.6, turns[0] + a), radius_px * 0.34, 0.15)
        for a in (0.9, 3.2)
    ]
    body = _merge(cover([trunk, *limbs], edge_px=1.8)) * (1 - 0.8 * cover(holes, edge_px=0.9))
    _lay_body(canvas, rng, body, density=rng.uniform(0.5, 0.8))
    _nuclei(canvas, rng, [spot + polar(radius_px * 0.5, turns[1])], rng.uniform(4.2, 5.5))
    _pigment_grains(canvas, rng, spot, radius_px, count=int(rng.integers(6, 14)), within=body)
    return body


def malariae(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw a band across the cell, with a streak of chromatin and grains of pigment along it."""
    angle, t = rng.uniform(0, 2 * np.pi), np.linspace(-1, 1, 40)
    wave = (
        rng.normal(0, 1.2) * np.sin(t * 3 + rng.uniform(0, 6))
        + rng.uniform(-0.18, 0.18) * cell.radius_px
    )
    spine = np.stack([t * cell.radius_px * 1.2, wave], axis=1)
    half_width = rng.uniform(6.5, 10) + np.interp(t, np.linspace(-1, 1, 9), rng.normal(0, 1.3, 9))
    inner = soften(cell.coverage, 3.0) > 0.9
    band = _merge(
        cover([turn(ribbon(spine, half_width), angle) + cell.centre], edge_px=1.0) * inner
    )
    _lay_body(canvas, rng, band, density=rng.uniform(0.55, 0.85))
    place = rng.uniform(-0.45, 0.45) * cell.radius_px
    streak = ribbon(
        np.stack([place + t * rng.uniform(8, 13), wave], axis=1),
        3.4 * np.sqrt(np.clip(1 - t**2, 0, 1)),
    )
    canvas.add(
        Stain.CHROMATIN, 0.85 * cover([turn(streak, angle) + cell.centre], edge_px=0.9) * band
    )
    _pigment_grains(
        canvas, rng, cell.centre, cell.radius_px * 0.6, count=int(rng.integers(25, 45)), within=band
    )
    return band


def ovale(canvas: Canvas, rng: Rng, cell: Cell) -> Array:
    """Draw a compact round trophozoite: dense, smooth-edged, with a big nucleus."""
    radius_px = rng.uniform(12, 16)
    spot = _spot_in(rng, cell, reach=0.35)
    body = cover([blob(rng, spot, radius_px, rng.uniform(0.04, 0.2))], edge_px=1.0)
    _lay_body(canvas, rng, body, density=rng.uniform(0.65, 0.95))
    _nuclei(
        canvas,
        rng,
        [spot + polar(radius_px * 0.42, rng.uniform(0, 2 * np.pi))],
        rng.uniform(4.8, 6.2),
    )
    _pigment_grains(canvas, rng, spot, radius_px * 0.6, count=int(rng.integers(5, 11)), within=body)
    return body


def _spot_in(rng: Rng, cell: Cell, reach: float) -> Polygon:
    """Pick a random point up to `reach` (0..1) of the radius from the cell's centre."""
    return cell.centre + polar(
        cell.radius_px * reach * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    )


def _merge(coverage: Array) -> Array:
    """Round the creases where overlapping shapes meet."""
    return soften((soften(coverage, 1.8) > 0.5).astype(np.float32), 0.8)


def _amoeba(rng: Rng, spot: Polygon, radius_px: float) -> Array:
    """Shape a thick body with two or three short lobes and a small vacuole."""
    lobes = [
        blob(
            rng,
            spot + polar(radius_px * rng.uniform(0.6, 0.9), rng.uniform(0, 2 * np.pi)),
            radius_px * 0.5,
            0.25,
        )
        for _ in range(int(rng.integers(2, 4)))
    ]
    hole = blob(
        rng, spot + rng.normal(0, radius_px * 0.2, 2), radius_px * rng.uniform(0.15, 0.5), 0.15
    )
    solid = _merge(cover([blob(rng, spot, radius_px * 0.85, 0.25), *lobes], edge_px=1.2))
    return solid * (1 - 0.8 * cover([hole], edge_px=0.8))


def _arm(rng: Rng, spot: Polygon, angle: float, length_px: float) -> list[Polygon]:
    """Shape a bent pseudopod: a chain of lumps that get smaller outwards."""
    bend, steps = rng.normal(0, 0.5), np.linspace(0.3, 1, 5)
    return [
        blob(
            rng,
            spot + polar(length_px * t, angle + bend * t),
            rng.uniform(3.2, 5.5) * (1.35 - 0.5 * t),
            0.15,
        )
        for t in steps
    ]


def _signet(canvas: Canvas, rng: Rng, spot: Polygon, radius_px: float, dots: int) -> Array:
    """Draw a signet ring: cytoplasm thicker on one side, chromatin, a vacuole (covered too)."""
    angle = rng.uniform(0, 2 * np.pi)
    outer = blob(rng, spot, radius_px, 0.05, stretch=rng.uniform(1.0, 1.25))
    inner = spot + (outer - spot) * rng.uniform(0.52, 0.76) - polar(radius_px * 0.10, angle)
    disc, vacuole = cover([outer], edge_px=0.7), cover([inner], edge_px=0.7)
    canvas.clear(Stain.HAEMOGLOBIN, 0.45 * vacuole)
    canvas.add(Stain.CYTOPLASM, rng.uniform(0.75, 1.05) * np.clip(disc - vacuole, 0, 1))
    seats = [
        spot + polar(radius_px * 0.92, angle + np.pi * i * rng.uniform(0.6, 1)) for i in range(dots)
    ]
    _nuclei(canvas, rng, seats, radius_px * rng.uniform(0.27, 0.35))
    return np.maximum(disc, cover([blob(rng, seat, radius_px * 0.3, 0.05) for seat in seats]))


def _lay_body(canvas: Canvas, rng: Rng, body: Array, density: float) -> None:
    """Lay stained cytoplasm in place of digested haemoglobin, mottled, darker at its rim."""
    texture = np.clip(1 + 0.30 * smooth_noise(rng, 7) + 0.15 * smooth_noise(rng, 3), 0.3, 1.7)
    soft, rim = soften(body, 0.9), np.clip(body - soften(body, 2.5), 0, 1)
    canvas.clear(Stain.HAEMOGLOBIN, 0.6 * body)
    canvas.add(Stain.CYTOPLASM, density * soft * texture + 0.3 * rim)
    canvas.add(Stain.CHROMATIN, 0.07 * soft * texture)


def _nuclei(canvas: Canvas, rng: Rng, centres: list[Polygon], radius_px: float) -> None:
    dots = [
        blob(rng, c, radius_px * rng.uniform(0.85, 1.15), 0.10, stretch=rng.uniform(1, 1.35))
        for c in centres
    ]
    canvas.add(Stain.CHROMATIN, rng.uniform(0.85, 1.15) * cover(dots, edge_px=0.7))


def _pigment_grains(
    canvas: Canvas, rng: Rng, spot: Polygon, spread_px: float, *, count: int, within: Array
) -> None:
    """Strew brown-gold haemozoin round `spot`."""
    grains = [
        blob(rng, spot + rng.normal(0, spread_px, 2), rng.uniform(0.8, 1.7), 0.2)
        for _ in range(count)
    ]
    canvas.add(Stain.PIGMENT, rng.uniform(0.7, 1.0) * cover(grains, edge_px=0.5) * within)


def _packed(
    rng: Rng, spot: Polygon, radius_px: float, *, count: int, gap_px: float, hollow: float
) -> list[Polygon]:
    """Scatter up to `count` points, hollow * radius to radius off, `gap_px` or more apart."""
    points: list[Polygon] = []
    for _ in range(count * 30):
        candidate = spot + polar(
            radius_px * np.sqrt(rng.uniform(hollow**2, 1)), rng.uniform(0, 2 * np.pi)
        )
        if len(points) < count and all(np.linalg.norm(candidate - p) > gap_px for p in points):
            points.append(candidate)
    return points

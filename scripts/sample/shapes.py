"""Outlines: closed polygons as (N, 2) arrays of x, y in crop pixels."""

from __future__ import annotations

import numpy as np
from canvas import Polygon, Rng

VERTICES = 96


def blob(
    rng: Rng,
    centre: Polygon,
    radius_px: float,
    wobble: float,
    *,
    lobes: int = 5,
    stretch: float = 1.0,
) -> Polygon:
    """Close a curve round `centre`; wobble 0: an ellipse of axes `stretch` to 1, 0.3: amoeboid."""
    theta = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = np.ones_like(theta)
    for k in range(2, 2 + lobes):
        radius += rng.normal(0, wobble) / k**0.7 * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    radius = radius_px * np.clip(radius, 0.35, 1.8)
    points = np.stack(
        [radius * np.cos(theta) * np.sqrt(stretch), radius * np.sin(theta) / np.sqrt(stretch)],
        axis=1,
    )
    return turn(points, rng.uniform(0, 2 * np.pi)) + centre


def fringe(rng: Rng, outline: Polygon, height_px: float) -> Polygon:
    """Put small spikes along half of an outline, as on a fimbriated or crenated cell."""
    centre = outline.mean(axis=0)
    theta = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
    phase = theta * rng.integers(7, 12) + 0.9 * np.sin(
        theta * rng.integers(2, 5) + rng.uniform(0, 6)
    )
    spikes = np.abs(np.sin(phase)) * (
        1 + 0.5 * np.sin(theta * rng.integers(3, 6) + rng.uniform(0, 6))
    )
    weight = np.clip(0.5 + np.cos(theta - rng.uniform(0, 2 * np.pi)), 0, 1)
    arm = outline - centre
    return (
        outline
        + arm / np.linalg.norm(arm, axis=1, keepdims=True) * (height_px * spikes * weight)[:, None]
    )


def ribbon(spine: Polygon, half_width_px: Polygon) -> Polygon:
    """Make a strip along an (N, 2) spine with an (N,) half width."""
    along = np.gradient(spine, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * half_width_px[:, None]
    return np.concatenate([spine + across, (spine - across)[::-1]])


def crescent(length_px: float, width_px: float, bend: float) -> Polygon:
    """Lay a banana along the x axis round the origin; bend 0 is straight, 0.6 a deep crescent."""
    t = np.linspace(-1, 1, VERTICES // 2)
    spine = np.stack(
        [length_px / 2 * np.sin(t * 1.2) / np.sin(1.2), length_px * bend * (t**2 - 0.4) / 2], axis=1
    )
    return ribbon(spine, width_px / 2 * np.sqrt(np.clip(1 - np.abs(t) ** 2.6, 0, 1)))


def turn(points: Polygon, angle_rad: float) -> Polygon:
    """Rotate about the origin."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return points @ np.array([[cos, sin], [-sin, cos]])


def polar(radius_px: float, angle_rad: float) -> Polygon:
    """Find the point (2,) at a distance and a direction from the origin."""
    return radius_px * np.array([np.cos(angle_rad), np.sin(angle_rad)])

"""A figure as a list of things to draw, so that pixels and vector graphics show the same.

Places and sizes are in units from the top left; one unit is one pixel at scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from cam_engine.pictures.lettering import WHITE, Colour, Style, line_metrics, text_tile
from cam_engine.results import RgbImage

_SMOOTHING = 4


@dataclass(frozen=True, slots=True)
class Text:
    """One line. It starts at (left, baseline); where upright, it runs upwards from there."""

    text: str
    style: Style
    left: int
    baseline: int
    upright: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A plain rectangle; `rounded`: its left and right ends are half circles, on white."""

    left: int
    top: int
    width: int
    height: int
    colour: Colour
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of width x height units; its pixels are as many as the drawing's scale asks for."""

    left: int
    top: int
    width: int
    height: int
    pixels: RgbImage


Item = Text | Box | Picture


@dataclass(frozen=True, slots=True)
class Drawing:
    """Items on white, later ones over earlier ones. scale: pixels a unit."""

    width: int
    height: int
    scale: float
    items: tuple[Item, ...]

    def to_pixels(self) -> RgbImage:
        """Draw everything: (height * scale, width * scale, 3) uint8 RGB."""
        size = round(self.height * self.scale), round(self.width * self.scale), 3
        canvas = np.full(size, 255, np.uint8)
        for item in self.items:
            match item:
                case Text():
                    _draw_text(canvas, item, self.scale)
                case Box():
                    _draw_box(canvas, item, self.scale)
                case Picture():
                    _paste(canvas, item.pixels, item.left * self.scale, item.top * self.scale)
        return canvas


def _draw_text(canvas: RgbImage, item: Text, scale: float) -> None:
    style = item.style
    if scale != 1.0:
        style = replace(style, size=max(1, round(style.size * scale)))
    tile = text_tile(item.text, style)
    ascent = line_metrics(style)[0]
    left, baseline = item.left * scale, item.baseline * scale
    if item.upright:
        _paste(canvas, np.rot90(tile), left - ascent, baseline - tile.shape[1])
    else:
        _paste(canvas, tile, left, baseline - ascent)


def _draw_box(canvas: RgbImage, item: Box, scale: float) -> None:
    width, height = round(item.width * scale), round(item.height * scale)
    left, top = round(item.left * scale), round(item.top * scale)
    if item.rounded:
        _paste(canvas, _rounded(height, width, item.colour), left, top)
    else:
        canvas[top : top + height, left : left + width] = item.colour


@lru_cache(maxsize=64)
def _rounded(height: int, width: int, colour: Colour) -> RgbImage:
    large = np.full((_SMOOTHING * height, _SMOOTHING * width, 3), WHITE, np.uint8)
    radius, right = _SMOOTHING * height // 2, _SMOOTHING * width
    cv2.rectangle(large, (radius, 0), (right - radius, _SMOOTHING * height), colour, cv2.FILLED)
    for middle in (radius, right - radius):
        cv2.circle(large, (middle, radius), radius, colour, cv2.FILLED)
    plate = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    plate.setflags(write=False)
    return np.asarray(plate, np.uint8)


def _paste(canvas: RgbImage, tile: RgbImage, x: float, y: float) -> None:
    """Copy the tile to the place, without what would lie outside the canvas."""
    left, top = round(x), round(y)
    rows = slice(max(0, -top), max(0, min(tile.shape[0], canvas.shape[0] - top)))
    columns = slice(max(0, -left), max(0, min(tile.shape[1], canvas.shape[1] - left)))
    part = tile[rows, columns]
    if part.size:
        top, left = top + rows.start, left + columns.start
        canvas[top : top + part.shape[0], left : left + part.shape[1]] = part

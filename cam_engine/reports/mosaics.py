"""Crops and maps side by side as one picture, with words below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from cam_engine.options import CamOptions
from cam_engine.pictures.drawing import Drawing, Item, Text
from cam_engine.pictures.drawing import Picture as Placed
from cam_engine.pictures.lettering import Style, fit
from cam_engine.pictures.rendering import overlay
from cam_engine.reports.criteria import Picture
from cam_engine.results import FloatMap, RgbImage

SIDE = 132
_GAP, _LINE, _MARGIN = 8, 17, 8
_QUALITY = 88
_WORDS = Style(12)
_OPTIONS = CamOptions()


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture, (H, W, 3) uint8, and lines below it; red: numbers of those that warn."""

    image: RgbImage
    lines: tuple[str, ...] = ()
    red: frozenset[int] = field(default_factory=frozenset)


def mosaic(id_: str, caption: str, tiles: Sequence[Tile], columns: int = 8) -> Picture:
    """Tiles in rows, as a JPEG. Raises ValueError where there are none."""
    if not tiles:
        raise ValueError("no tiles")
    lines = max(len(tile.lines) for tile in tiles)
    step_x, step_y = SIDE + _GAP, SIDE + _GAP + lines * _LINE
    across = min(columns, len(tiles))
    down = -(-len(tiles) // columns)
    items: list[Item] = []
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = _MARGIN + column * step_x, _MARGIN + row * step_y
        small = cv2.resize(tile.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        items.append(Placed(left, top, SIDE, SIDE, np.asarray(small, np.uint8)))
        for at, line in enumerate(tile.lines):
            style = Style(12, bold=True, colour=(176, 32, 38)) if at in tile.red else _WORDS
            items.append(Text(*fit(line, style, SIDE), left, top + SIDE + (at + 1) * _LINE - 4))
    size = (2 * _MARGIN + across * step_x - _GAP, 2 * _MARGIN + down * step_y - _GAP)
    pixels = Drawing(*size, 1.0, tuple(items)).to_pixels()
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
    return Picture(id_, caption, data, "image/jpeg")


def on(image: RgbImage, values: FloatMap) -> RgbImage:
    """The map (H, W) over its image, as figures show it."""
    return overlay(image, values, _OPTIONS)

"""What the panel and the sheet are put together from, so that they look alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cam_engine.options import Colormap
from cam_engine.pictures.drawing import Box, Item, Picture, Text
from cam_engine.pictures.lettering import WHITE, Colour, Style, fit, line_metrics, text_width
from cam_engine.pictures.rendering import colorbar
from cam_engine.pictures.wording import SCALE, Verdict
from cam_engine.results import RgbImage

GREY: Colour = (98, 100, 112)
PALE: Colour = (242, 242, 245)
_HATCH: Colour = (226, 227, 232)
_CAUTION: Colour = (255, 244, 214)
_CAUTION_EDGE: Colour = (224, 160, 0)
_CAUTION_INK: Colour = (92, 67, 0)
_RIGHT: Colour = (10, 110, 104)
_WRONG: Colour = (176, 32, 38)

CAPTION = Style(14, colour=GREY)
_MESSAGE = Style(16, bold=True, background=PALE)
_MESSAGE_DETAIL = Style(13, colour=GREY, background=PALE)

MARGIN = 28
LEAST_WIDTH = 1000
NAME_BASELINE, SOURCE_BASELINE = 50, 81
HEADER_HEIGHT = 100
BAR_WIDTH = 240
CAUTION_PADDING = 32  # at the left and at the right of its words, together
_BAR_TOP, _BAR_HEIGHT = 24, 14
_HATCH_STEP, _HATCH_WIDTH = 16, 5


@dataclass(frozen=True, slots=True)
class Cell:
    """A rectangle for one picture or line, in units of the drawing."""

    left: int
    top: int
    height: int
    width: int

    @property
    def box(self) -> Box:
        """The cell's ground."""
        return Box(self.left, self.top, self.width, self.height, PALE)


@dataclass(frozen=True, slots=True)
class ChipShape:
    """How large a verdict is. size: em of its letters. padding: at its left and at its right."""

    size: int
    height: int
    padding: int


@dataclass(frozen=True, slots=True)
class Chip:
    """A verdict on a coloured, rounded ground."""

    text: str
    style: Style
    shape: ChipShape

    @property
    def width(self) -> int:
        """Width with its padding."""
        return text_width(self.text, self.style) + 2 * self.shape.padding

    def items(self, left: int, top: int) -> Iterator[Item]:
        """Draw it with its upper left corner at (left, top)."""
        height = self.shape.height
        yield Box(left, top, self.width, height, self.style.background, rounded=True)
        baseline = centred_baseline(top, height, self.style)
        yield Text(self.text, self.style, left + self.shape.padding, baseline)


def fit_chip(judged: Verdict, shape: ChipShape, width: int) -> Chip:
    """Make the verdict fit; only the true class's name may be shortened."""
    colour = _RIGHT if judged.correct else _WRONG
    style = Style(shape.size, bold=True, colour=WHITE, background=colour)
    room = max(1, width - 2 * shape.padding - text_width(judged.text, style))
    true_class, style = fit(judged.true_class, style, room)
    return Chip(judged.text + true_class, style, shape)


def caution_style(size: int) -> Style:
    """How a caution is written; size: em of its letters."""
    return Style(size, colour=_CAUTION_INK, background=_CAUTION)


def caution_strip(place: Cell, lines: Sequence[str], style: Style) -> Iterator[Item]:
    """A caution on its ground, each of its lines made to fit; the style is `caution_style`'s."""
    yield Box(place.left, place.top, place.width, place.height, _CAUTION)
    yield Box(place.left, place.top, 5, place.height, _CAUTION_EDGE)
    line_height = line_metrics(style)[1]
    top = place.top + (place.height - len(lines) * line_height) // 2
    for line in lines:
        text = fit(line, style, place.width - CAUTION_PADDING)
        yield Text(*text, place.left + 16, centred_baseline(top, line_height, text[1]))
        top += line_height


def scale_bar(right: int, colormap: Colormap, scale: float) -> Iterator[Item]:
    """The header's colour bar with its ends and its meaning, up to `right`."""
    left = right - BAR_WIDTH - 16
    baseline = centred_baseline(_BAR_TOP, _BAR_HEIGHT, CAPTION)
    size = max(1, round(_BAR_HEIGHT * scale)), max(1, round(BAR_WIDTH * scale))
    yield Picture(left, _BAR_TOP, BAR_WIDTH, _BAR_HEIGHT, colorbar(colormap, size))
    yield Text("0", CAPTION, left - 16, baseline)
    yield Text("1", CAPTION, left + BAR_WIDTH + 6, baseline)
    text = fit(SCALE, CAPTION, BAR_WIDTH)
    yield Text(*text, left + (BAR_WIDTH - text_width(*text)) // 2, _BAR_TOP + _BAR_HEIGHT + 20)


def header_end(width: int) -> int:
    """Where the header's words must end, in a figure of this width: before its colour bar."""
    return width - 2 * MARGIN - BAR_WIDTH - 32


def letterboxed(cell: Cell, picture: RgbImage, scale: float) -> Iterator[Item]:
    """Centre the picture in its cell, which shows around it where proportions differ."""
    if picture.shape[:2] == pixel_size((cell.height, cell.width), scale):
        yield Picture(cell.left, cell.top, cell.width, cell.height, picture)
        return
    yield cell.box
    height, width = (max(1, round(side / scale)) for side in picture.shape[:2])
    left, top = cell.left + (cell.width - width) // 2, cell.top + (cell.height - height) // 2
    yield Picture(left, top, width, height, picture)


def hatched(cell: Cell, lines: tuple[str, str], scale: float) -> Iterator[Item]:
    """Words where there is nothing to show, on slanted lines, which stand for "no data"."""
    hatching = _hatching(pixel_size((cell.height, cell.width), scale), scale)
    yield Picture(cell.left, cell.top, cell.width, cell.height, hatching)
    yield from message(cell, lines)


def message(cell: Cell, lines: tuple[str, str]) -> Iterator[Item]:
    """Two lines, the first one bold, on a quiet ground in the middle of a cell."""
    styles = _MESSAGE, _MESSAGE_DETAIL
    texts = [fit(*line, cell.width - 24) for line in zip(lines, styles, strict=True)]
    width = max(text_width(*text) for text in texts) + 20
    height = sum(line_metrics(style)[1] for _, style in texts) + 16
    top, middle = cell.top + (cell.height - height) // 2, cell.left + cell.width // 2
    yield Box(middle - width // 2, top, width, height, PALE)
    top += 8
    for text, style in texts:
        ascent, line_height = line_metrics(style)
        yield Text(text, style, middle - text_width(text, style) // 2, top + ascent)
        top += line_height


def picture_size(
    image_size: tuple[int, int], cell: tuple[int, int], scale: float
) -> tuple[int, int]:
    """(height, width) in pixels of the largest picture of these proportions in a cell."""
    pixels = pixel_size(cell, scale)
    factor = min(pixels[0] / image_size[0], pixels[1] / image_size[1])
    height, width = (max(1, round(side * factor)) for side in image_size)
    return height, width


def pixel_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) in pixels of so many units."""
    return round(size[0] * scale), round(size[1] * scale)


def centred_baseline(top: int, height: int, style: Style) -> int:
    """The baseline of a line in the middle of a strip."""
    ascent, line_height = line_metrics(style)
    return top + (height - line_height) // 2 + ascent


@lru_cache(maxsize=16)
def _hatching(size: tuple[int, int], scale: float) -> RgbImage:
    rows, columns = np.indices(size)
    lines = (rows + columns) % (_HATCH_STEP * scale) < _HATCH_WIDTH * scale
    pixels = np.full((*size, 3), PALE, np.uint8)
    pixels[lines] = _HATCH
    pixels.setflags(write=False)
    return pixels

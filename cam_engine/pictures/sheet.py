"""The contact sheet: many images of one classifier at a glance, one layer's map for each.

header           heading, colour bar; layer, method, model
tile             | tile             | ...
predicted class  | predicted class  |
verdict          | verdict          |
original overlay | original overlay |
image's name     | image's name     |
cautions         |                  |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cam_engine.method_facts import label_of
from cam_engine.options import CamOptions
from cam_engine.pictures.drawing import Drawing, Item, Text
from cam_engine.pictures.lettering import Style, fit, line_metrics, text_width
from cam_engine.pictures.parts import (
    CAUTION_PADDING,
    GREY,
    HEADER_HEIGHT,
    LEAST_WIDTH,
    MARGIN,
    NAME_BASELINE,
    SOURCE_BASELINE,
    Cell,
    ChipShape,
    caution_strip,
    caution_style,
    fit_chip,
    hatched,
    header_end,
    letterboxed,
    picture_size,
    scale_bar,
)
from cam_engine.pictures.rendering import overlay, resize_image, resize_map
from cam_engine.pictures.wording import (
    NO_EVIDENCE,
    FigureFacts,
    column_heading,
    notices,
    probability_text,
    verdict,
)
from cam_engine.results import Explanation, FloatMap, LayerMap, RgbImage

_HEADING = Style(30, bold=True)
_LAYER = Style(16, bold=True)
_SOURCE = Style(16, colour=GREY)
_PREDICTED = Style(15, colour=GREY)
_NAME = Style(20, bold=True)
_PROBABILITY = Style(20, colour=GREY)
_TITLE = Style(13, colour=GREY)
_CAUTION = caution_style(13)

_CHIP = ChipShape(size=14, height=26, padding=11)
_TOP = HEADER_HEIGHT + 12
_LEAST_CELL = 224
_PAIR_GAP = 8
_TILE_GAP = 32
_ROW_GAP = 26
_NAME_LINE, _NAME_DROP = 30, 21
_VERDICT_LINE = 34
_TITLE_LINE, _TITLE_DROP = 22, 17
_CAUTION_GAP, _CAUTION_EXTRA = 6, 10
_MANY_ITEMS = 9
_LONG_NAME = 36  # characters; a verdict in a tile has room for about so many


@dataclass(frozen=True, slots=True)
class SheetItem:
    """One image of the sheet.

    original: (h, w, 3) uint8 RGB of any size, before CLAHE. values: (H, W) float32 in 0..1 of any
    size, the map of the layer shown over the whole image. title: the image's name. true_class:
    None where it is not known. assumed: what was assumed of it or its model, as sentences.
    """

    original: RgbImage
    explanation: Explanation
    values: FloatMap
    title: str
    true_class: str | None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caution:
    """What a reader of one tile must not miss, in one line or two, and where it stands."""

    place: Cell
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """Where one image is: its words begin at (left, top), its pictures have square cells."""

    left: int
    top: int
    original: Cell
    overlay: Cell
    cautions: tuple[Caution, ...]

    @property
    def width(self) -> int:
        """From the original's left to the overlay's right."""
        return self.overlay.left + self.overlay.width - self.left

    @property
    def bottom(self) -> int:
        """Below the last caution, or else below the title."""
        if not self.cautions:
            return self.overlay.top + self.overlay.height + _TITLE_LINE
        return self.cautions[-1].place.top + self.cautions[-1].place.height


@dataclass(frozen=True, slots=True)
class SheetLayout:
    """Where everything is, in pixels; the tiles in the order of their items, row by row."""

    width: int
    height: int
    tiles: tuple[Tile, ...]


def sheet_layout(items: Sequence[SheetItem]) -> SheetLayout:
    """Lay out a tile for each item, 1 to 3 in a row; at least 1000 wide.

    What only some tiles have, their cautions, is at their end, so that pictures of a row are level.
    """
    columns = _column_count(len(items))
    fixed = 2 * MARGIN + (columns - 1) * _TILE_GAP + columns * _PAIR_GAP
    side = max(_LEAST_CELL, -(-(LEAST_WIDTH - fixed) // (2 * columns)))
    step = 2 * side + _PAIR_GAP + _TILE_GAP
    judged = any(item.true_class is not None for item in items)
    words = _NAME_LINE + (_VERDICT_LINE if judged else 0)
    tiles: list[Tile] = []
    top = _TOP
    for first in range(0, len(items), columns):
        row = items[first : first + columns]
        tiles += [_tile(item, MARGIN + i * step, top, words, side) for i, item in enumerate(row)]
        top = max(tile.bottom for tile in tiles[first:]) + _ROW_GAP
    return SheetLayout(fixed + 2 * columns * side, top - _ROW_GAP + MARGIN, tuple(tiles))


def render_sheet(
    items: Sequence[SheetItem], layer: str, options: CamOptions, model_name: str, heading: str
) -> RgbImage:
    """Draw the contact sheet of one or more images, (H, W, 3) uint8 RGB with W >= 1000.

    layer: name of the map shown. options: its colours and opacity. heading: what the images are
    of, such as the experiment's name. Raises KeyError where an explanation lacks the layer, and
    ValueError where there is no item.
    """
    if not items:
        raise ValueError("a sheet needs at least one item")
    layout = sheet_layout(items)
    drawn = [
        *_header(layout.width, heading, items[0].explanation.layer(layer), model_name),
        *scale_bar(layout.width - MARGIN, options.colormap, 1.0),
    ]
    for tile, item in zip(layout.tiles, items, strict=True):
        drawn += _words(tile, item)
        drawn += _pictures(tile, item, item.explanation.layer(layer), options)
        for caution in tile.cautions:
            drawn += caution_strip(caution.place, caution.lines, _CAUTION)
    return Drawing(layout.width, layout.height, 1.0, tuple(drawn)).to_pixels()


def _column_count(count: int) -> int:
    return 3 if count >= _MANY_ITEMS else min(count, 2)


def _tile(item: SheetItem, left: int, top: int, words: int, side: int) -> Tile:
    """words: height of what is above the pictures. side: of the pictures' cells."""
    original, shaded = (
        Cell(left + place * (side + _PAIR_GAP), top + words, side, side) for place in (0, 1)
    )
    width, below = 2 * side + _PAIR_GAP, top + words + side + _TITLE_LINE + _CAUTION_GAP
    return Tile(left, top, original, shaded, tuple(_cautions(item, left, below, width)))


def _cautions(item: SheetItem, left: int, top: int, width: int) -> Iterator[Caution]:
    for notice in _notices(item):
        lines = _broken(f"\u26a0 {notice}", width)
        height = len(lines) * line_metrics(_CAUTION)[1] + _CAUTION_EXTRA
        yield Caution(Cell(left, top, height, width), lines)
        top += height + _CAUTION_GAP


def _notices(item: SheetItem) -> tuple[str, ...]:
    facts = _facts(item)
    if len(item.true_class or "") <= _LONG_NAME:
        # The verdict shows it in full, on a line of its own: no need to repeat it.
        facts = replace(facts, true_class=None)
    return notices(item.explanation, facts)


def _facts(item: SheetItem) -> FigureFacts:
    """What a tile says; the model is named once, in the header."""
    return FigureFacts(item.title, "", item.true_class, item.assumed)


def _broken(line: str, width: int) -> tuple[str, ...]:
    """Break a line that is too long for its strip where its first half ends."""
    head, semicolon, tail = line.partition("; ")
    if not tail or text_width(line, _CAUTION) <= width - CAUTION_PADDING:
        return (line,)
    return head + semicolon.strip(), tail


def _header(width: int, heading: str, layer: LayerMap, model_name: str) -> Iterator[Item]:
    """What the images are of; below, which map is shown, made how and by which model."""
    room = header_end(width) - MARGIN
    yield Text(*fit(heading, _HEADING, room), MARGIN, NAME_BASELINE)
    name, label, grid = column_heading(layer)
    title = fit(f"{name}:", _LAYER, room // 2)
    yield Text(*title, MARGIN, SOURCE_BASELINE)
    method = label_of(layer.method)
    size = f"{label}, {grid}" if label else grid
    parts = [size, *([method] if method != label else []), model_name]
    left = MARGIN + text_width(*title) + 6
    yield Text(*fit("  \u00b7  ".join(parts), _SOURCE, room + MARGIN - left), left, SOURCE_BASELINE)


def _words(tile: Tile, item: SheetItem) -> Iterator[Item]:
    """Above the pictures what is predicted and whether it is right, below the image's name."""
    yield from _prediction(tile, item.explanation)
    judged = verdict(item.explanation, _facts(item))
    if judged is not None:
        yield from fit_chip(judged, _CHIP, tile.width).items(tile.left, tile.top + _NAME_LINE)
    below = tile.original.top + tile.original.height
    yield Text(*fit(item.title, _TITLE, tile.width), tile.left, below + _TITLE_DROP)


def _prediction(tile: Tile, explanation: Explanation) -> Iterator[Item]:
    baseline = tile.top + _NAME_DROP
    yield Text("Predicted:", _PREDICTED, tile.left, baseline)
    left = tile.left + text_width("Predicted:", _PREDICTED) + 8
    probability = probability_text(explanation.predicted.probability)
    room = tile.left + tile.width - left - text_width(probability, _PROBABILITY) - 10
    name = fit(explanation.predicted.name, _NAME, room)
    yield Text(*name, left, baseline)
    yield Text(probability, _PROBABILITY, left + text_width(*name) + 10, baseline)


def _pictures(tile: Tile, item: SheetItem, layer: LayerMap, options: CamOptions) -> Iterator[Item]:
    """The original and, where there is evidence to show, the same under the map."""
    image_size = item.original.shape[0], item.original.shape[1]
    size = picture_size(image_size, (tile.original.height, tile.original.width), 1.0)
    picture = resize_image(item.original, size)
    yield from letterboxed(tile.original, picture, 1.0)
    if layer.empty:
        yield from hatched(tile.overlay, NO_EVIDENCE, 1.0)
    else:
        values = np.clip(resize_map(item.values, size), 0.0, 1.0)
        yield from letterboxed(tile.overlay, overlay(picture, values, options), 1.0)

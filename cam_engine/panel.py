"""The main figure, composed from pixels: input images at the left, then one column a layer.

header         predicted class, probability, whether it is right; method, model, image
notices        where the maps or the prediction need a word of caution
image   | early: ...  | mid: ...   | late: ...
original| heatmap     | heatmap    | heatmap
CLAHE   | overlay     | overlay    | overlay
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from cam_engine.lettering import (
    WHITE,
    Colour,
    Style,
    fit,
    line_metrics,
    text_tile,
    text_width,
)
from cam_engine.options import CamOptions, Colormap
from cam_engine.rendering import colorbar, heatmap, overlay, resize_image, resize_map
from cam_engine.results import Explanation, FloatMap, LayerMap, RgbImage
from cam_engine.wording import (
    CLAHE_OFF,
    NO_EVIDENCE,
    SCALE,
    FigureFacts,
    Verdict,
    column_heading,
    notices,
    probability_text,
    source_line,
    verdict,
)

_GREY: Colour = (98, 100, 112)
_PALE: Colour = (242, 242, 245)
_HATCH: Colour = (226, 227, 232)
_CAUTION: Colour = (255, 244, 214)
_CAUTION_EDGE: Colour = (224, 160, 0)
_CAUTION_INK: Colour = (92, 67, 0)
_RIGHT: Colour = (10, 110, 104)
_WRONG: Colour = (176, 32, 38)
_BAND: Colour = (24, 24, 28)

_NAME = Style(30, bold=True)
_PROBABILITY = Style(30, colour=_GREY)
_PREDICTED = Style(18, colour=_GREY)
_SOURCE = Style(16, colour=_GREY)
_HEADING_NAME = Style(16, bold=True)
_HEADING = Style(16)
_CAPTION = Style(14, colour=_GREY)
_MESSAGE = Style(16, bold=True, background=_PALE)
_MESSAGE_DETAIL = Style(13, colour=_GREY, background=_PALE)
_BAND_TEXT = Style(13, colour=WHITE, background=_BAND)

_MARGIN = 28
_GAP = 10
_CAPTION_WIDTH = 24
_GROUP_GAP = 16
_LEAST_WIDTH = 1000
_LEAST_CELL = 256
_FLATTEST, _TALLEST = 0.5, 1.4
_BAR = (14, 240)
_NAME_BASELINE, _SOURCE_BASELINE = 50, 81
_HEADER_HEIGHT = 100
_NOTICE_HEIGHT, _NOTICE_STEP = 34, 40
_HATCH_STEP, _HATCH_WIDTH = 16, 5


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """Where everything is, in pixels from the top left.

    cell: (height, width) of every picture. tops: of the two rows. lefts: of the columns, the
    input images' first.
    """

    width: int
    height: int
    cell: tuple[int, int]
    tops: tuple[int, int]
    lefts: tuple[int, ...]

    def at(self, row: int, column: int) -> tuple[slice, slice]:
        """Pixels of one cell: row 0 or 1, column 0 for the input images."""
        top, left = self.tops[row], self.lefts[column]
        return slice(top, top + self.cell[0]), slice(left, left + self.cell[1])


def panel_layout(image_size: tuple[int, int], layer_count: int, notice_count: int) -> PanelLayout:
    """Lay out the panel for an image of (height, width) pixels; at least 1000 px wide.

    Cells have the image's proportions, within limits beyond which the image is letterboxed.
    """
    between = _GROUP_GAP + _CAPTION_WIDTH
    fixed = 2 * _MARGIN + _CAPTION_WIDTH + between + (layer_count - 1) * _GAP
    cell_width = max(_LEAST_CELL, -(-(_LEAST_WIDTH - fixed) // (layer_count + 1)))
    aspect = min(max(image_size[0] / image_size[1], _FLATTEST), _TALLEST)
    cell = round(cell_width * aspect), cell_width
    first = _MARGIN + _CAPTION_WIDTH
    layers_left = first + cell_width + between
    lefts = (first, *(layers_left + i * (cell_width + _GAP) for i in range(layer_count)))
    top = _HEADER_HEIGHT + notice_count * _NOTICE_STEP + 36
    return PanelLayout(
        width=fixed + (layer_count + 1) * cell_width,
        height=top + 2 * cell[0] + _GAP + _MARGIN,
        cell=cell,
        tops=(top, top + cell[0] + _GAP),
        lefts=lefts,
    )


def render_panel(
    original: RgbImage,
    enhanced: RgbImage | None,
    explanation: Explanation,
    maps: Mapping[str, FloatMap],
    options: CamOptions,
    facts: FigureFacts,
) -> RgbImage:
    """Compose the main figure, (H, W, 3) uint8 RGB with W >= 1000.

    original, enhanced: (h, w, 3) uint8 RGB, before and after CLAHE (None where it is off).
    maps: a full-size map, float32 in 0..1, for each of the explanation's layers by its name.
    """
    said = notices(explanation)
    layout = panel_layout(original.shape[:2], len(explanation.layers), len(said))
    canvas = np.full((layout.height, layout.width, 3), 255, np.uint8)
    _draw_header(canvas, explanation, options.colormap, facts)
    for number, notice in enumerate(said):
        _draw_notice(canvas, notice, _HEADER_HEIGHT + number * _NOTICE_STEP)
    _draw_captions(canvas, layout, clahe=enhanced is not None)
    _draw_inputs(canvas, layout, original, enhanced)
    fitted = _letterbox_size(original.shape[:2], layout.cell)
    picture = resize_image(original, fitted)
    for column, layer in enumerate(explanation.layers, 1):
        _draw_heading(canvas, layout, column, column_heading(layer))
        cells = _layer_cells(layer, picture, maps[layer.name], options, layout.cell)
        for row, cell in enumerate(cells):
            canvas[layout.at(row, column)] = cell
    return canvas


def _draw_header(
    canvas: RgbImage, explanation: Explanation, colormap: Colormap, facts: FigureFacts
) -> None:
    bar = _colorbar_tile(colormap)
    end = canvas.shape[1] - _MARGIN - bar.shape[1]
    _paste(canvas, bar, 24, end)
    end -= _MARGIN
    left = _write(canvas, "Predicted:", _PREDICTED, _NAME_BASELINE, _MARGIN) + 10
    judged = verdict(explanation, facts)
    chip = None if judged is None else _chip(judged, (end - left) * 2 // 5)
    probability = probability_text(explanation.predicted.probability)
    after_name = 12 + text_width(probability, _PROBABILITY)
    after_name += 0 if chip is None else 20 + chip.shape[1]
    name = fit(explanation.predicted.name, _NAME, end - left - after_name)
    left = _write(canvas, *name, _NAME_BASELINE, left) + 12
    left = _write(canvas, probability, _PROBABILITY, _NAME_BASELINE, left) + 20
    if chip is not None:
        _paste(canvas, chip, _NAME_BASELINE - 24, left)
    source = fit(source_line(explanation, facts), _SOURCE, end - _MARGIN)
    _write(canvas, *source, _SOURCE_BASELINE, _MARGIN)


def _draw_notice(canvas: RgbImage, notice: str, top: int) -> None:
    left, right = _MARGIN, canvas.shape[1] - _MARGIN
    canvas[top : top + _NOTICE_HEIGHT, left:right] = _CAUTION
    canvas[top : top + _NOTICE_HEIGHT, left : left + 5] = _CAUTION_EDGE
    style = Style(16, colour=_CAUTION_INK, background=_CAUTION)
    text, style = fit(f"\u26a0  {notice}", style, right - left - 30)
    tile = text_tile(text, style)
    _paste(canvas, tile, top + (_NOTICE_HEIGHT - tile.shape[0]) // 2, left + 16)


def _draw_captions(canvas: RgbImage, layout: PanelLayout, *, clahe: bool) -> None:
    inputs = "Original", "With CLAHE" if clahe else "CLAHE"
    for column, texts in ((0, inputs), (1, ("Heatmap", "Overlay"))):
        for top, text in zip(layout.tops, texts, strict=True):
            tile = _upright(text)
            middle = top + (layout.cell[0] - tile.shape[0]) // 2
            _paste(canvas, tile, middle, layout.lefts[column] - tile.shape[1] - 5)


def _draw_inputs(
    canvas: RgbImage, layout: PanelLayout, original: RgbImage, enhanced: RgbImage | None
) -> None:
    height, width = original.shape[:2]
    _draw_heading(canvas, layout, 0, ("image", "", f"{width}\u00d7{height} px"))
    fitted = _letterbox_size((height, width), layout.cell)
    for row, image in enumerate((original, enhanced)):
        if image is None:
            canvas[layout.at(row, 0)] = _message_cell(layout.cell, CLAHE_OFF, hatched=False)
        else:
            canvas[layout.at(row, 0)] = _letterboxed(resize_image(image, fitted), layout.cell)


def _draw_heading(
    canvas: RgbImage, layout: PanelLayout, column: int, heading: tuple[str, str, str]
) -> None:
    """name: label, size; where there is too little room, the label gives way first."""
    name, label, size = heading
    baseline, left, room = layout.tops[0] - 10, layout.lefts[column], layout.cell[1]
    tail = f", {size}" if label else f" {size}"
    tail_width = text_width(tail, _HEADING)
    least_label = room // 4 if label else 0
    text, style = fit(f"{name}:", _HEADING_NAME, room - tail_width - least_label)
    left = _write(canvas, text, style, baseline, left)
    if label:
        left += 5
        room_left = layout.lefts[column] + room - tail_width - left
        left = _write(canvas, *fit(label, _HEADING, room_left), baseline, left)
    _write(canvas, tail, _HEADING, baseline, left)


def _layer_cells(
    layer: LayerMap,
    picture: RgbImage,
    values: FloatMap,
    options: CamOptions,
    cell: tuple[int, int],
) -> tuple[RgbImage, RgbImage]:
    """Heatmap and overlay cells for the image at the size that it has in a cell."""
    if layer.empty:
        plain = _letterboxed(picture, cell)
        return _message_cell(cell, NO_EVIDENCE, hatched=True), _banded(plain, NO_EVIDENCE[0])
    fitted = np.clip(resize_map(values, (picture.shape[0], picture.shape[1])), 0.0, 1.0)
    return (
        _letterboxed(heatmap(fitted, options.colormap), cell),
        _letterboxed(overlay(picture, fitted, options), cell),
    )


def _letterbox_size(image_size: tuple[int, ...], cell: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the largest picture of the image's proportions inside a cell."""
    scale = min(cell[0] / image_size[0], cell[1] / image_size[1])
    height, width = (max(1, round(side * scale)) for side in image_size)
    return min(height, cell[0]), min(width, cell[1])


def _letterboxed(picture: RgbImage, cell: tuple[int, int]) -> RgbImage:
    if picture.shape[:2] == cell:
        return picture
    boxed = np.full((*cell, 3), _PALE, np.uint8)
    top, left = (cell[0] - picture.shape[0]) // 2, (cell[1] - picture.shape[1]) // 2
    _paste(boxed, picture, top, left)
    return boxed


def _banded(cell: RgbImage, text: str) -> RgbImage:
    """Write a line of text on a dark band at the cell's foot."""
    tile = text_tile(*fit(text, _BAND_TEXT, cell.shape[1]))
    banded = cell.copy()
    banded[-tile.shape[0] - 8 :] = _BAND
    _paste(banded, tile, cell.shape[0] - tile.shape[0] - 4, (cell.shape[1] - tile.shape[1]) // 2)
    return banded


@lru_cache(maxsize=32)
def _message_cell(size: tuple[int, int], lines: tuple[str, ...], *, hatched: bool) -> RgbImage:
    """Draw a cell without a picture: lines of text, the first one bold, on a quiet ground."""
    cell = np.full((*size, 3), _PALE, np.uint8)
    if hatched:
        rows, columns = np.indices(size)
        cell[(rows + columns) % _HATCH_STEP < _HATCH_WIDTH] = _HATCH
    room = max(1, size[1] - 24)
    tiles = [text_tile(*fit(lines[0], _MESSAGE, room))]
    tiles += [text_tile(*fit(text, _MESSAGE_DETAIL, room)) for text in lines[1:]]
    block = np.empty((sum(t.shape[0] for t in tiles), max(t.shape[1] for t in tiles), 3), np.uint8)
    block[:] = _PALE
    top = 0
    for tile in tiles:
        _paste(block, tile, top, (block.shape[1] - tile.shape[1]) // 2)
        top += tile.shape[0]
    ground = np.full((block.shape[0] + 16, block.shape[1] + 20, 3), _PALE, np.uint8)
    _paste(ground, block, 8, 10)
    _paste(cell, ground, (size[0] - ground.shape[0]) // 2, (size[1] - ground.shape[1]) // 2)
    cell.setflags(write=False)
    return cell


@lru_cache(maxsize=64)
def _chip(judged: Verdict, width: int) -> RgbImage:
    """Draw a rounded plate with the verdict's mark and words."""
    colour = _RIGHT if judged.correct else _WRONG
    style = Style(17, bold=True, colour=WHITE, background=colour)
    room = max(1, width - text_width(judged.text, style))
    true_class, style = fit(judged.true_class, style, room)
    tile = text_tile(judged.text + true_class, style)
    height, plate_width = 32, tile.shape[1] + 28
    plate = _rounded(height, plate_width, colour)
    _paste(plate, tile, (height - tile.shape[0]) // 2, 14)
    plate.setflags(write=False)
    return plate


def _rounded(height: int, width: int, colour: Colour) -> RgbImage:
    """Draw a plate with round ends on white, smooth since it is drawn four times as large."""
    large = np.full((4 * height, 4 * width, 3), 255, np.uint8)
    radius = 2 * height
    cv2.rectangle(large, (radius, 0), (4 * width - radius, 4 * height), colour, cv2.FILLED)
    for middle in (radius, 4 * width - radius):
        cv2.circle(large, (middle, radius), radius, colour, cv2.FILLED)
    return resize_image(large, (height, width))


@lru_cache(maxsize=8)
def _colorbar_tile(colormap: Colormap) -> RgbImage:
    """Draw the colour bar with its ends' values and its meaning below."""
    height, width = _BAR
    zero, one = text_tile("0", _CAPTION), text_tile("1", _CAPTION)
    label = text_tile(*fit(SCALE, _CAPTION, width))
    tile = np.full((height + 6 + label.shape[0], width + 32, 3), 255, np.uint8)
    _paste(tile, zero, (height - zero.shape[0]) // 2, 0)
    _paste(tile, colorbar(colormap, _BAR), 0, 16)
    _paste(tile, one, (height - one.shape[0]) // 2, width + 22)
    _paste(tile, label, height + 6, 16 + (width - label.shape[1]) // 2)
    tile.setflags(write=False)
    return tile


def _upright(text: str) -> RgbImage:
    """Write a line that reads from bottom to top."""
    return np.rot90(text_tile(text, _CAPTION))


def _write(canvas: RgbImage, text: str, style: Style, baseline: int, left: int) -> int:
    """Write a line on the canvas; answers the column after it."""
    tile = text_tile(text, style)
    _paste(canvas, tile, baseline - line_metrics(style)[0], left)
    return left + tile.shape[1]


def _paste(canvas: RgbImage, tile: RgbImage, top: int, left: int) -> None:
    """Copy the tile to the place, without what lies outside the canvas."""
    rows = slice(max(0, -top), min(tile.shape[0], canvas.shape[0] - top))
    columns = slice(max(0, -left), min(tile.shape[1], canvas.shape[1] - left))
    if rows.start < rows.stop and columns.start < columns.stop:
        canvas[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop] = (
            tile[rows, columns]
        )

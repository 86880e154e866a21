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
    INK,
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
    column_heading,
    notices,
    predicted,
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
_SMALL = Style(13, colour=_GREY)

_MARGIN = 28
_GAP = 10
_CAPTION_WIDTH = 24
_GROUP_GAP = 16
_LEAST_WIDTH = 1000
_LEAST_CELL = 256
_FLATTEST, _TALLEST = 0.5, 1.4
_BAR = (14, 240)
_NOTICE_HEIGHT = 34


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """Where everything is, in pixels from the top left.

    cell: (height, width) of every picture. tops: of the two rows. lefts: of the columns, the
    input images' first.
    """

    width: int
    height: int
    cell: tuple[int, int]
    header_height: int
    tops: tuple[int, int]
    lefts: tuple[int, ...]

    def at(self, row: int, column: int) -> tuple[slice, slice]:
        """The pixels of one cell: row 0 or 1, column 0 for the input images."""
        top, left = self.tops[row], self.lefts[column]
        return slice(top, top + self.cell[0]), slice(left, left + self.cell[1])


def panel_layout(image_size: tuple[int, int], layer_count: int, notice_count: int) -> PanelLayout:
    """The layout for an image of (height, width) pixels; at least 1000 px wide.

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
    header_height = 104
    heading_top = header_height + notice_count * (_NOTICE_HEIGHT + 6) + (8 if notice_count else 0)
    top = heading_top + 28
    return PanelLayout(
        width=fixed + (layer_count + 1) * cell_width,
        height=top + 2 * cell[0] + _GAP + _MARGIN,
        cell=cell,
        header_height=header_height,
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
    """The main figure, (H, W, 3) uint8 RGB with W >= 1000.

    original, enhanced: (h, w, 3) uint8 RGB, before and after CLAHE (None where it is off).
    maps: a full-size map, float32 in 0..1, for each of the explanation's layers by its name.
    """
    said = notices(explanation)
    layout = panel_layout(original.shape[:2], len(explanation.layers), len(said))
    canvas = np.full((layout.height, layout.width, 3), 255, np.uint8)
    _draw_header(canvas, explanation, options.colormap, facts)
    for number, notice in enumerate(said):
        _draw_notice(canvas, notice, layout.header_height + number * (_NOTICE_HEIGHT + 6))
    _draw_captions(canvas, layout)
    _draw_inputs(canvas, layout, original, enhanced)
    fitted = _letterbox_size(original.shape[:2], layout.cell)
    picture = resize_image(original, fitted)
    for column, layer in enumerate(explanation.layers, 1):
        _draw_heading(canvas, layout, column, column_heading(layer, explanation))
        cells = _layer_cells(layer, picture, maps[layer.name], options)
        for row, pixels in enumerate(cells):
            canvas[layout.at(row, column)] = _letterboxed(pixels, layout.cell)
    return canvas


def _draw_header(
    canvas: RgbImage, explanation: Explanation, colormap: Colormap, facts: FigureFacts
) -> None:
    bar = _colorbar_tile(colormap)
    bar_left = canvas.shape[1] - _MARGIN - bar.shape[1]
    _paste(canvas, bar, 26, bar_left)
    room = bar_left - 2 * _MARGIN
    left = _MARGIN
    baseline = 54
    name, probability = predicted(explanation)
    left = _write(canvas, "Predicted:", _PREDICTED, baseline, left) + 10
    judged = verdict(explanation, facts)
    chip = None if judged is None else _chip(*judged, room * 2 // 5)
    taken = text_width(probability, _PROBABILITY) + 14 + (0 if chip is None else chip.shape[1] + 20)
    left = _write(canvas, *fit(name, _NAME, _MARGIN + room - left - taken), baseline, left) + 14
    left = _write(canvas, probability, _PROBABILITY, baseline, left) + 20
    if chip is not None:
        _paste(canvas, chip, baseline - 24, left)
    _write(canvas, *fit(source_line(explanation, facts), _SOURCE, room), 82, _MARGIN)


def _draw_notice(canvas: RgbImage, notice: str, top: int) -> None:
    left, right = _MARGIN, canvas.shape[1] - _MARGIN
    canvas[top : top + _NOTICE_HEIGHT, left:right] = _CAUTION
    canvas[top : top + _NOTICE_HEIGHT, left : left + 5] = _CAUTION_EDGE
    style = Style(16, colour=_CAUTION_INK, background=_CAUTION)
    text, style = fit(f"\u26a0  {notice}", style, right - left - 30)
    tile = text_tile(text, style)
    _paste(canvas, tile, top + (_NOTICE_HEIGHT - tile.shape[0]) // 2, left + 16)


def _draw_captions(canvas: RgbImage, layout: PanelLayout) -> None:
    for column, texts in ((0, ("Original", "With CLAHE")), (1, ("Heatmap", "Overlay"))):
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
    layer: LayerMap, picture: RgbImage, values: FloatMap, options: CamOptions
) -> tuple[RgbImage, RgbImage]:
    """Heatmap and overlay at the picture's size."""
    size = picture.shape[:2]
    if layer.empty:
        return _message_cell(size, NO_EVIDENCE, hatched=True), _banded(picture, NO_EVIDENCE[0])
    fitted = np.clip(resize_map(values, size), 0.0, 1.0)
    return heatmap(fitted, options.colormap), overlay(picture, fitted, options)


def _banded(picture: RgbImage, text: str) -> RgbImage:
    """The picture with a line of text on a dark band at its foot."""
    style = Style(13, colour=WHITE, background=_BAND)
    tile = text_tile(*fit(text, style, picture.shape[1]))
    banded = picture.copy()
    banded[-tile.shape[0] - 8 :] = _BAND
    _paste(banded, tile, banded.shape[0] - tile.shape[0] - 4, (banded.shape[1] - tile.shape[1]) // 2)
    return banded


@lru_cache(maxsize=32)
def _message_cell(size: tuple[int, int], lines: tuple[str, ...], *, hatched: bool) -> RgbImage:
    """A cell without a picture: lines of text, the first one bold, on a quiet ground."""
    cell = np.full((*size, 3), _PALE, np.uint8)
    if hatched:
        rows, columns = np.indices(size)
        cell[(rows + columns) % 16 < 5] = _HATCH  # noqa: PLR2004
    styles = [Style(16, bold=True, background=_PALE), Style(13, colour=_GREY, background=_PALE)]
    tiles = [
        text_tile(*fit(text, styles[min(number, 1)], max(1, size[1] - 24)))
        for number, text in enumerate(lines)
    ]
    height, width = sum(t.shape[0] for t in tiles), max(t.shape[1] for t in tiles)
    top = (size[0] - height) // 2
    cell[max(0, top - 8) : top + height + 8, max(0, (size[1] - width) // 2 - 10) :][
        :, : width + 20
    ] = _PALE
    for tile in tiles:
        _paste(cell, tile, top, (size[1] - tile.shape[1]) // 2)
        top += tile.shape[0]
    cell.setflags(write=False)
    return cell

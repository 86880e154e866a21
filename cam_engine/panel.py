"""The main figure: input images at the left, then one column a layer.

header           predicted class, probability, whether it is right; method, model, image
notices          where the prediction or the maps need a word of caution
image      | early: ...  | mid: ...   | late: ...
original   | heatmap     | heatmap    | heatmap
with CLAHE | overlay     | overlay    | overlay
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cam_engine.drawing import Box, Drawing, Item, Picture, Text
from cam_engine.lettering import WHITE, Colour, Style, fit, line_metrics, text_width
from cam_engine.options import CamOptions, Colormap
from cam_engine.rendering import colorbar, heatmap, overlay, resize_image, resize_map
from cam_engine.results import Explanation, FloatMap, RgbImage
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
_NOTICE = Style(16, colour=_CAUTION_INK, background=_CAUTION)
_MESSAGE = Style(16, bold=True, background=_PALE)
_MESSAGE_DETAIL = Style(13, colour=_GREY, background=_PALE)
_BAND_TEXT = Style(13, colour=WHITE, background=_BAND)

WIDTH_INCHES = 7.0  # of the paper version: two columns of a journal's page

_MARGIN = 28
_GAP = 10
_CAPTION_WIDTH = 24
_GROUP_GAP = 16
_LEAST_WIDTH = 1000
_LEAST_CELL = 256
_FLATTEST, _TALLEST = 0.5, 1.4
_NAME_BASELINE, _SOURCE_BASELINE = 50, 81
_CHIP_TOP, _CHIP_HEIGHT, _CHIP_PADDING = 26, 32, 14
_BAR_TOP, _BAR_HEIGHT, _BAR_WIDTH = 24, 14, 240
_HEADER_HEIGHT = 100
_NOTICE_HEIGHT, _NOTICE_STEP = 34, 40
_HEADING_HEIGHT = 36
_BAND_HEIGHT = 24
_HATCH_STEP, _HATCH_WIDTH = 16, 5


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """Where everything is, in units from the top left (pixels of `render_panel`).

    cell: (height, width) of every cell. tops: of the two rows. lefts: of the columns, the input
    images' first.
    """

    width: int
    height: int
    cell: tuple[int, int]
    tops: tuple[int, int]
    lefts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Cell:
    left: int
    top: int
    height: int
    width: int

    @property
    def box(self) -> Box:
        return Box(self.left, self.top, self.width, self.height, _PALE)


def panel_layout(image_size: tuple[int, int], layer_count: int, notice_count: int) -> PanelLayout:
    """Lay out the panel for an image of (height, width) pixels; at least 1000 wide.

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
    top = _HEADER_HEIGHT + notice_count * _NOTICE_STEP + _HEADING_HEIGHT
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
    """Draw the main figure, (H, W, 3) uint8 RGB with W >= 1000.

    original, enhanced: (h, w, 3) uint8 RGB, before and after CLAHE (None where it is off).
    maps: a full-size map, float32 in 0..1, for each of the explanation's layers by its name.
    """
    return compose_panel(original, enhanced, explanation, maps, options, facts).to_pixels()


def compose_panel(
    original: RgbImage,
    enhanced: RgbImage | None,
    explanation: Explanation,
    maps: Mapping[str, FloatMap],
    options: CamOptions,
    facts: FigureFacts,
    figure_width: int | None = None,
) -> Drawing:
    """Compose the main figure with pictures as fine as `figure_width` pixels need.

    Without it, one unit of the layout is one pixel. The rest is as for `render_panel`.
    """
    image_size = original.shape[0], original.shape[1]
    said = notices(explanation, facts)
    layout = panel_layout(image_size, len(explanation.layers), len(said))
    scale = 1.0 if figure_width is None else figure_width / layout.width
    items = [
        *_header(layout, explanation, facts),
        *_scale_bar(layout.width - _MARGIN, options.colormap, scale),
        *_notice_strips(layout, said),
        *_captions(layout, clahe=enhanced is not None),
        *_inputs(layout, original, enhanced, scale),
        *_layers(layout, original, explanation, maps, options, scale),
    ]
    return Drawing(layout.width, layout.height, scale, tuple(items))


def input_places(
    image_size: tuple[int, int],
    explanation: Explanation,
    facts: FigureFacts,
    figure_width: int | None = None,
) -> dict[str, tuple[int, int, int, int]]:
    """Where the main figure shows its input images: (left, top, width, height) in pixels.

    "original", and "enhanced" where CLAHE is on. For those who read figures by program.
    """
    count = len(notices(explanation, facts))
    layout = panel_layout(image_size, len(explanation.layers), count)
    scale = 1.0 if figure_width is None else figure_width / layout.width
    height, width = _picture_size(image_size, layout.cell, 1.0)
    left = layout.lefts[0] + (layout.cell[1] - width) // 2
    names = ("original", "enhanced")[: 1 if explanation.unenhanced is None else 2]
    places = {}
    for name, top in zip(names, layout.tops, strict=False):
        shown = round(scale * (top + (layout.cell[0] - height) // 2))
        places[name] = round(scale * left), shown, round(scale * width), round(scale * height)
    return places


def _header(layout: PanelLayout, explanation: Explanation, facts: FigureFacts) -> Iterator[Item]:
    """Predicted class, its probability and the verdict; below, how the maps were made."""
    end = layout.width - 2 * _MARGIN - _BAR_WIDTH - 32
    yield Text("Predicted:", _PREDICTED, _MARGIN, _NAME_BASELINE)
    left = _MARGIN + text_width("Predicted:", _PREDICTED) + 10
    probability = probability_text(explanation.predicted.probability)
    probability_width = text_width(probability, _PROBABILITY)
    room = end - left - probability_width - 12 - 20
    name_width = min(text_width(explanation.predicted.name, _NAME), room // 2)
    judged = verdict(explanation, facts)
    chip = None if judged is None else _chip_text(judged, room - name_width)
    chip_width = 0 if chip is None else text_width(*chip) + 2 * _CHIP_PADDING
    name = fit(explanation.predicted.name, _NAME, room - chip_width)
    yield Text(*name, left, _NAME_BASELINE)
    left += text_width(*name) + 12
    yield Text(probability, _PROBABILITY, left, _NAME_BASELINE)
    left += probability_width + 20
    if chip is not None:
        yield Box(left, _CHIP_TOP, chip_width, _CHIP_HEIGHT, chip[1].background, rounded=True)
        baseline = _centred_baseline(_CHIP_TOP, _CHIP_HEIGHT, chip[1])
        yield Text(*chip, left + _CHIP_PADDING, baseline)
    source = fit(source_line(explanation, facts), _SOURCE, end - _MARGIN)
    yield Text(*source, _MARGIN, _SOURCE_BASELINE)


def _chip_text(judged: Verdict, width: int) -> tuple[str, Style]:
    """Make the verdict fit; only the true class's name may be shortened."""
    colour = _RIGHT if judged.correct else _WRONG
    style = Style(17, bold=True, colour=WHITE, background=colour)
    room = max(1, width - 2 * _CHIP_PADDING - text_width(judged.text, style))
    true_class, style = fit(judged.true_class, style, room)
    return judged.text + true_class, style


def _scale_bar(right: int, colormap: Colormap, scale: float) -> Iterator[Item]:
    left = right - _BAR_WIDTH - 16
    baseline = _centred_baseline(_BAR_TOP, _BAR_HEIGHT, _CAPTION)
    size = max(1, round(_BAR_HEIGHT * scale)), max(1, round(_BAR_WIDTH * scale))
    yield Picture(left, _BAR_TOP, _BAR_WIDTH, _BAR_HEIGHT, colorbar(colormap, size))
    yield Text("0", _CAPTION, left - 16, baseline)
    yield Text("1", _CAPTION, left + _BAR_WIDTH + 6, baseline)
    text = fit(SCALE, _CAPTION, _BAR_WIDTH)
    yield Text(*text, left + (_BAR_WIDTH - text_width(*text)) // 2, _BAR_TOP + _BAR_HEIGHT + 20)


def _notice_strips(layout: PanelLayout, said: Iterable[str]) -> Iterator[Item]:
    width = layout.width - 2 * _MARGIN
    for number, notice in enumerate(said):
        top = _HEADER_HEIGHT + number * _NOTICE_STEP
        yield Box(_MARGIN, top, width, _NOTICE_HEIGHT, _CAUTION)
        yield Box(_MARGIN, top, 5, _NOTICE_HEIGHT, _CAUTION_EDGE)
        text = fit(f"\u26a0 {notice}", _NOTICE, width - 32)
        yield Text(*text, _MARGIN + 16, _centred_baseline(top, _NOTICE_HEIGHT, text[1]))


def _captions(layout: PanelLayout, *, clahe: bool) -> Iterator[Item]:
    """Name the rows, beside their first cells: of the input images, and of the layers."""
    inputs = "Original", "With CLAHE" if clahe else "CLAHE"
    for column, texts in ((0, inputs), (1, ("Heatmap", "Overlay"))):
        for top, text in zip(layout.tops, texts, strict=True):
            start = top + (layout.cell[0] + text_width(text, _CAPTION)) // 2
            yield Text(text, _CAPTION, layout.lefts[column] - 9, start, upright=True)


def _inputs(
    layout: PanelLayout, original: RgbImage, enhanced: RgbImage | None, scale: float
) -> Iterator[Item]:
    height, width = original.shape[:2]
    yield from _heading(layout, 0, "image", "", f"{width}\u00d7{height} px")
    for row, image in enumerate((original, enhanced)):
        cell = _Cell(layout.lefts[0], layout.tops[row], *layout.cell)
        if image is None:
            yield cell.box
            yield from _message(cell, CLAHE_OFF)
        else:
            fitted = resize_image(image, _picture_size((height, width), layout.cell, scale))
            yield from _letterboxed(cell, fitted, scale)


def _layers(
    layout: PanelLayout,
    original: RgbImage,
    explanation: Explanation,
    maps: Mapping[str, FloatMap],
    options: CamOptions,
    scale: float,
) -> Iterator[Item]:
    size = _picture_size((original.shape[0], original.shape[1]), layout.cell, scale)
    picture = resize_image(original, size)
    for column, layer in enumerate(explanation.layers, 1):
        yield from _heading(layout, column, *column_heading(layer))
        upper, lower = (_Cell(layout.lefts[column], top, *layout.cell) for top in layout.tops)
        if layer.empty:
            yield from _empty_cells(upper, lower, picture, scale)
            continue
        values = np.clip(resize_map(maps[layer.name], size), 0.0, 1.0)
        yield from _letterboxed(upper, heatmap(values, options.colormap), scale)
        yield from _letterboxed(lower, overlay(picture, values, options), scale)


def _heading(layout: PanelLayout, column: int, name: str, label: str, size: str) -> Iterator[Item]:
    """name: label, size; where there is too little room, the label gives way first."""
    baseline, left, room = layout.tops[0] - 10, layout.lefts[column], layout.cell[1]
    tail = f", {size}" if label else size
    tail_width = 5 + text_width(tail, _HEADING)
    title = fit(f"{name}:", _HEADING_NAME, room - tail_width - (room // 4 if label else 0))
    title_width = text_width(*title)
    detail, style = fit(label, _HEADING, max(1, room - tail_width - title_width))
    yield Text(*title, left, baseline)
    yield Text(detail + tail, style, left + title_width + 5, baseline)


def _empty_cells(upper: _Cell, lower: _Cell, picture: RgbImage, scale: float) -> Iterator[Item]:
    """No colour where there is no evidence: words on hatching, and on the plain image."""
    hatching = _hatching(_pixel_size((upper.height, upper.width), scale), scale)
    yield Picture(upper.left, upper.top, upper.width, upper.height, hatching)
    yield from _message(upper, NO_EVIDENCE)
    yield from _letterboxed(lower, picture, scale)
    top = lower.top + lower.height - _BAND_HEIGHT
    yield Box(lower.left, top, lower.width, _BAND_HEIGHT, _BAND)
    text = fit(NO_EVIDENCE[0], _BAND_TEXT, lower.width)
    left = lower.left + (lower.width - text_width(*text)) // 2
    yield Text(*text, left, _centred_baseline(top, _BAND_HEIGHT, text[1]))


def _message(cell: _Cell, lines: tuple[str, str]) -> Iterator[Item]:
    """Two lines, the first one bold, on a quiet ground in the middle of a cell."""
    styles = _MESSAGE, _MESSAGE_DETAIL
    texts = [fit(*line, cell.width - 24) for line in zip(lines, styles, strict=True)]
    width = max(text_width(*text) for text in texts) + 20
    height = sum(line_metrics(style)[1] for _, style in texts) + 16
    top, middle = cell.top + (cell.height - height) // 2, cell.left + cell.width // 2
    yield Box(middle - width // 2, top, width, height, _PALE)
    top += 8
    for text, style in texts:
        ascent, line_height = line_metrics(style)
        yield Text(text, style, middle - text_width(text, style) // 2, top + ascent)
        top += line_height


@lru_cache(maxsize=16)
def _hatching(size: tuple[int, int], scale: float) -> RgbImage:
    """(H, W, 3) uint8: slanted lines, which stand for "no data"."""
    rows, columns = np.indices(size)
    lines = (rows + columns) % (_HATCH_STEP * scale) < _HATCH_WIDTH * scale
    pixels = np.full((*size, 3), _PALE, np.uint8)
    pixels[lines] = _HATCH
    pixels.setflags(write=False)
    return pixels


def _letterboxed(cell: _Cell, picture: RgbImage, scale: float) -> Iterator[Item]:
    """Centre the picture in its cell, which shows around it where proportions differ."""
    if picture.shape[:2] == _pixel_size((cell.height, cell.width), scale):
        yield Picture(cell.left, cell.top, cell.width, cell.height, picture)
        return
    yield cell.box
    height, width = (max(1, round(side / scale)) for side in picture.shape[:2])
    left, top = cell.left + (cell.width - width) // 2, cell.top + (cell.height - height) // 2
    yield Picture(left, top, width, height, picture)


def _picture_size(
    image_size: tuple[int, int], cell: tuple[int, int], scale: float
) -> tuple[int, int]:
    """(height, width) in pixels of the largest picture of these proportions in a cell."""
    pixels = _pixel_size(cell, scale)
    factor = min(pixels[0] / image_size[0], pixels[1] / image_size[1])
    height, width = (max(1, round(side * factor)) for side in image_size)
    return height, width


def _pixel_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return round(size[0] * scale), round(size[1] * scale)


def _centred_baseline(top: int, height: int, style: Style) -> int:
    ascent, line_height = line_metrics(style)
    return top + (height - line_height) // 2 + ascent

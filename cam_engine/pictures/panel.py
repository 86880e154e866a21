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

import numpy as np

from cam_engine.options import CamOptions
from cam_engine.pictures.drawing import Box, Drawing, Item, Text
from cam_engine.pictures.lettering import WHITE, Colour, Style, fit, text_width
from cam_engine.pictures.parts import (
    CAPTION,
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
    centred_baseline,
    fit_chip,
    hatched,
    header_end,
    letterboxed,
    message,
    picture_size,
    scale_bar,
)
from cam_engine.pictures.rendering import heatmap, overlay, resize_image, resize_map
from cam_engine.pictures.wording import (
    CLAHE_OFF,
    NO_EVIDENCE,
    FigureFacts,
    column_heading,
    notices,
    probability_text,
    source_line,
    verdict,
)
from cam_engine.results import Explanation, FloatMap, RgbImage

_BAND: Colour = (24, 24, 28)

_NAME = Style(30, bold=True)
_PROBABILITY = Style(30, colour=GREY)
_PREDICTED = Style(18, colour=GREY)
_SOURCE = Style(16, colour=GREY)
_HEADING_NAME = Style(16, bold=True)
_HEADING = Style(16)
_NOTICE = caution_style(16)
_BAND_TEXT = Style(13, colour=WHITE, background=_BAND)

WIDTH_INCHES = 7.0  # of the paper version: two columns of a journal's page

_GAP = 10
_CAPTION_WIDTH = 24
_GROUP_GAP = 16
_LEAST_CELL = 256
_FLATTEST, _TALLEST = 0.5, 1.4
_CHIP_TOP, _CHIP = 26, ChipShape(size=17, height=32, padding=14)
_NOTICE_HEIGHT, _NOTICE_STEP = 34, 40
_HEADING_HEIGHT = 36
_BAND_HEIGHT = 24


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


def panel_layout(image_size: tuple[int, int], layer_count: int, notice_count: int) -> PanelLayout:
    """Lay out the panel for an image of (height, width) pixels; at least 1000 wide.

    Cells have the image's proportions, within limits beyond which the image is letterboxed.
    """
    between = _GROUP_GAP + _CAPTION_WIDTH
    fixed = 2 * MARGIN + _CAPTION_WIDTH + between + (layer_count - 1) * _GAP
    cell_width = max(_LEAST_CELL, -(-(LEAST_WIDTH - fixed) // (layer_count + 1)))
    aspect = min(max(image_size[0] / image_size[1], _FLATTEST), _TALLEST)
    cell = round(cell_width * aspect), cell_width
    first = MARGIN + _CAPTION_WIDTH
    layers_left = first + cell_width + between
    lefts = (first, *(layers_left + i * (cell_width + _GAP) for i in range(layer_count)))
    top = HEADER_HEIGHT + notice_count * _NOTICE_STEP + _HEADING_HEIGHT
    return PanelLayout(
        width=fixed + (layer_count + 1) * cell_width,
        height=top + 2 * cell[0] + _GAP + MARGIN,
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
        *scale_bar(layout.width - MARGIN, options.colormap, scale),
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
    height, width = picture_size(image_size, layout.cell, 1.0)
    left = layout.lefts[0] + (layout.cell[1] - width) // 2
    names = ("original", "enhanced")[: 1 if explanation.unenhanced is None else 2]
    places = {}
    for name, top in zip(names, layout.tops, strict=False):
        shown = round(scale * (top + (layout.cell[0] - height) // 2))
        places[name] = round(scale * left), shown, round(scale * width), round(scale * height)
    return places


def _header(layout: PanelLayout, explanation: Explanation, facts: FigureFacts) -> Iterator[Item]:
    """Predicted class, its probability and the verdict; below, how the maps were made."""
    end = header_end(layout.width)
    yield Text("Predicted:", _PREDICTED, MARGIN, NAME_BASELINE)
    left = MARGIN + text_width("Predicted:", _PREDICTED) + 10
    probability = probability_text(explanation.predicted.probability)
    probability_width = text_width(probability, _PROBABILITY)
    room = end - left - probability_width - 12 - 20
    name_width = min(text_width(explanation.predicted.name, _NAME), room // 2)
    judged = verdict(explanation, facts)
    chip = None if judged is None else fit_chip(judged, _CHIP, room - name_width)
    chip_width = 0 if chip is None else chip.width
    name = fit(explanation.predicted.name, _NAME, room - chip_width)
    yield Text(*name, left, NAME_BASELINE)
    left += text_width(*name) + 12
    yield Text(probability, _PROBABILITY, left, NAME_BASELINE)
    left += probability_width + 20
    if chip is not None:
        yield from chip.items(left, _CHIP_TOP)
    source = fit(source_line(explanation, facts), _SOURCE, end - MARGIN)
    yield Text(*source, MARGIN, SOURCE_BASELINE)


def _notice_strips(layout: PanelLayout, said: Iterable[str]) -> Iterator[Item]:
    width = layout.width - 2 * MARGIN
    for number, notice in enumerate(said):
        top = HEADER_HEIGHT + number * _NOTICE_STEP
        strip = Cell(MARGIN, top, _NOTICE_HEIGHT, width)
        yield from caution_strip(strip, (f"\u26a0 {notice}",), _NOTICE)


def _captions(layout: PanelLayout, *, clahe: bool) -> Iterator[Item]:
    """Name the rows, beside their first cells: of the input images, and of the layers."""
    inputs = "Original", "With CLAHE" if clahe else "CLAHE"
    for column, texts in ((0, inputs), (1, ("Heatmap", "Overlay"))):
        for top, text in zip(layout.tops, texts, strict=True):
            start = top + (layout.cell[0] + text_width(text, CAPTION)) // 2
            yield Text(text, CAPTION, layout.lefts[column] - 9, start, upright=True)


def _inputs(
    layout: PanelLayout, original: RgbImage, enhanced: RgbImage | None, scale: float
) -> Iterator[Item]:
    height, width = original.shape[:2]
    yield from _heading(layout, 0, "image", "", f"{width}\u00d7{height} px")
    for row, image in enumerate((original, enhanced)):
        cell = Cell(layout.lefts[0], layout.tops[row], *layout.cell)
        if image is None:
            yield cell.box
            yield from message(cell, CLAHE_OFF)
        else:
            fitted = resize_image(image, picture_size((height, width), layout.cell, scale))
            yield from letterboxed(cell, fitted, scale)


def _layers(
    layout: PanelLayout,
    original: RgbImage,
    explanation: Explanation,
    maps: Mapping[str, FloatMap],
    options: CamOptions,
    scale: float,
) -> Iterator[Item]:
    size = picture_size((original.shape[0], original.shape[1]), layout.cell, scale)
    picture = resize_image(original, size)
    for column, layer in enumerate(explanation.layers, 1):
        yield from _heading(layout, column, *column_heading(layer))
        upper, lower = (Cell(layout.lefts[column], top, *layout.cell) for top in layout.tops)
        if layer.empty:
            yield from _empty_cells(upper, lower, picture, scale)
            continue
        values = np.clip(resize_map(maps[layer.name], size), 0.0, 1.0)
        colours = heatmap(values, options.colormap)
        yield from letterboxed(upper, colours, scale)
        yield from letterboxed(lower, overlay(picture, values, options, colours), scale)


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


def _empty_cells(upper: Cell, lower: Cell, picture: RgbImage, scale: float) -> Iterator[Item]:
    """No colour where there is no evidence: words on hatching, and on the plain image."""
    yield from hatched(upper, NO_EVIDENCE, scale)
    yield from letterboxed(lower, picture, scale)
    top = lower.top + lower.height - _BAND_HEIGHT
    yield Box(lower.left, top, lower.width, _BAND_HEIGHT, _BAND)
    text = fit(NO_EVIDENCE[0], _BAND_TEXT, lower.width)
    left = lower.left + (lower.width - text_width(*text)) // 2
    yield Text(*text, left, centred_baseline(top, _BAND_HEIGHT, text[1]))

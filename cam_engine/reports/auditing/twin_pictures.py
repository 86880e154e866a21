"""Twins side by side in one picture, for a person to judge whether they are one cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2

from cam_engine.evidence.images.twins import Twin
from cam_engine.images.decoding import read_image
from cam_engine.pictures.drawing import Drawing, Item, Picture, Text
from cam_engine.pictures.lettering import Style, fit, text_width
from cam_engine.pictures.parts import GREY
from cam_engine.reports.auditing.twin_crops import TwinCrops
from cam_engine.reports.crops import Crop

MOST_PAIRS = 24

_COLUMNS, _SIDE, _GAP, _BETWEEN, _MARGIN = 3, 176, 4, 28, 16
_LINE, _WORDS = 19, 3 * 19 + 18
_QUALITY = 90
_NAME = Style(13, bold=True)
_FACTS = Style(13)
_DIFFERENT = Style(13, bold=True, colour=(176, 32, 38))
_HOW = Style(13, colour=GREY)


def draw_twins(found: TwinCrops, pairs: Sequence[Twin]) -> bytes:
    """A JPEG of up to 24 pairs, three in a row: names, splits, labels and correlation below.

    Splits and labels that differ are in red. Raises CamError where a crop cannot be read any more,
    and ValueError where there is no pair.
    """
    if not pairs:
        raise ValueError("no twins to draw")
    shown = pairs[:MOST_PAIRS]
    step = 2 * _SIDE + _GAP + _BETWEEN
    rows = -(-len(shown) // _COLUMNS)
    items: list[Item] = []
    for number, twin in enumerate(shown):
        row, column = divmod(number, _COLUMNS)
        top = _MARGIN + row * (_SIDE + _WORDS)
        items += _pair(found, twin, _MARGIN + column * step, top)
    width = 2 * _MARGIN + min(_COLUMNS, len(shown)) * step - _BETWEEN
    height = 2 * _MARGIN + rows * (_SIDE + _WORDS) - (_WORDS - 3 * _LINE)
    pixels = Drawing(width, height, 1.0, tuple(items)).to_pixels()
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def _pair(found: TwinCrops, twin: Twin, left: int, top: int) -> Iterator[Item]:
    splits = _DIFFERENT if found.crosses(twin) else _FACTS
    labels = _DIFFERENT if found.contradicts(twin) else _FACTS
    for number, index in enumerate((twin.one, twin.other)):
        at = left + number * (_SIDE + _GAP)
        yield from _crop(found.crops[index], at, top, splits, labels)
    how = twin.how if twin.how != "near" else f"correlation {twin.correlation:.2f}"
    yield Text(how, _HOW, left, top + _SIDE + 3 * _LINE - 4)


def _crop(crop: Crop, left: int, top: int, splits: Style, labels: Style) -> Iterator[Item]:
    if crop.path is not None:
        image = cv2.resize(read_image(crop.path), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        yield Picture(left, top, _SIDE, _SIDE, image.astype("uint8"))
    yield Text(*fit(crop.name, _NAME, _SIDE), left, top + _SIDE + _LINE - 4)
    split = fit(crop.split, splits, _SIDE // 2)
    yield Text(*split, left, top + _SIDE + 2 * _LINE - 4)
    used = text_width(*split) + 8
    label = fit(crop.label, labels, _SIDE - used)
    yield Text(*label, left + used, top + _SIDE + 2 * _LINE - 4)

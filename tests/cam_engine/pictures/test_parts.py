"""What the panel and the sheet are put together from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cam_engine.pictures.drawing import Box, Item, Picture, Text
from cam_engine.pictures.lettering import Style, line_metrics, text_width
from cam_engine.pictures.parts import (
    BAR_WIDTH,
    CAUTION_PADDING,
    MARGIN,
    PALE,
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
    pixel_size,
    scale_bar,
)
from cam_engine.pictures.wording import Verdict

CELL = Cell(100, 50, 80, 120)
SHAPE = ChipShape(size=16, height=28, padding=12)


def of(kind: type[Any], items: list[Item]) -> list[Any]:
    return [item for item in items if isinstance(item, kind)]


def inside(item: Any, cell: Cell) -> bool:
    return bool(
        cell.left <= item.left
        and cell.top <= item.top
        and item.left + item.width <= cell.left + cell.width
        and item.top + item.height <= cell.top + cell.height
    )


def test_a_cell_has_a_quiet_ground() -> None:
    assert CELL.box == Box(100, 50, 120, 80, PALE)


def test_a_verdict_fits_its_chip_and_only_the_true_classs_name_is_shortened() -> None:
    right = fit_chip(Verdict(True, "✔ correct"), SHAPE, 400)
    wrong = fit_chip(Verdict(False, "✘ wrong, true class: ", "ring"), SHAPE, 400)
    assert (right.text, wrong.text) == ("✔ correct", "✘ wrong, true class: ring")
    assert right.style.background != wrong.style.background
    assert wrong.width == text_width(wrong.text, wrong.style) + 24
    long = fit_chip(Verdict(False, "✘ wrong, true class: ", "x" * 90), SHAPE, 400)
    assert long.text.startswith("✘ wrong, true class: x")
    assert len(long.text) < 80
    assert long.width <= 400


def test_a_chip_is_a_rounded_box_with_its_words_in_the_middle() -> None:
    chip = fit_chip(Verdict(True, "✔ correct"), SHAPE, 400)
    box, text = chip.items(7, 9)
    assert box == Box(7, 9, chip.width, 28, chip.style.background, rounded=True)
    assert isinstance(text, Text)
    assert (text.left, text.text) == (19, "✔ correct")
    assert text.baseline == centred_baseline(9, 28, chip.style)


@pytest.mark.parametrize("lines", [["one"], ["one", "two"], ["x" * 300]])
def test_a_caution_stands_on_its_ground_line_below_line(lines: list[str]) -> None:
    style = caution_style(14)
    items = list(caution_strip(CELL, lines, style))
    ground, edge = of(Box, items)
    assert (ground.left, ground.top, ground.width, ground.height) == (100, 50, 120, 80)
    assert (edge.width, edge.height) == (5, 80)
    texts = of(Text, items)
    assert len(texts) == len(lines)
    for text in texts:
        assert text_width(text.text, text.style) <= CELL.width - CAUTION_PADDING
    baselines = [text.baseline for text in texts]
    assert baselines == sorted(baselines)
    if len(lines) == 2:
        assert baselines[1] - baselines[0] == line_metrics(style)[1]


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_scale_has_its_bar_its_ends_and_its_meaning(scale: float) -> None:
    items = list(scale_bar(1000, "viridis", scale))
    (bar,) = of(Picture, items)
    assert bar.left + BAR_WIDTH + 16 == 1000
    assert bar.pixels.shape[:2] == (14 * scale, BAR_WIDTH * scale)
    zero, one, meaning = of(Text, items)
    assert (zero.text, one.text) == ("0", "1")
    assert zero.left < bar.left < bar.left + BAR_WIDTH < one.left
    assert "maximum" in meaning.text
    assert header_end(1000 + MARGIN) < zero.left + MARGIN


def test_a_picture_of_other_proportions_is_centred_on_the_cells_ground() -> None:
    whole = np.zeros((160, 240, 3), np.uint8)
    assert list(letterboxed(CELL, whole, 2.0)) == [Picture(100, 50, 120, 80, whole)]
    narrow = np.zeros((160, 80, 3), np.uint8)
    ground, picture = letterboxed(CELL, narrow, 2.0)
    assert ground == CELL.box
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == (40, 80)
    assert (picture.left, picture.top) == (100 + 40, 50)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ((100, 100), (160, 160)),
        ((10, 1000), (2, 240)),
        ((1000, 10), (160, 2)),
        ((1, 9000), (1, 240)),
    ],
)
def test_the_largest_picture_that_fits_keeps_its_proportions(
    image: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert picture_size(image, (80, 120), 2.0) == expected
    assert pixel_size((80, 121), 0.5) == (40, 60)


def test_words_stand_in_the_middle_of_their_cell() -> None:
    cell = Cell(0, 0, 200, 300)
    items = list(message(cell, ("no positive evidence", "for this class")))
    (ground,) = of(Box, items)
    assert inside(ground, cell)
    assert abs(2 * ground.left + ground.width - 300) <= 1
    assert abs(2 * ground.top + ground.height - 200) <= 1
    bold, plain = of(Text, items)
    assert bold.style.bold
    assert not plain.style.bold
    assert ground.top < bold.baseline < plain.baseline < ground.top + ground.height


def test_words_that_are_too_long_are_made_to_fit() -> None:
    for text in of(Text, list(message(CELL, ("x" * 90, "y" * 90)))):
        assert text_width(text.text, text.style) <= CELL.width - 24


def test_where_there_is_nothing_to_show_lines_are_slanted() -> None:
    picture, *words = hatched(Cell(0, 0, 64, 64), ("a", "b"), 1.0)
    assert isinstance(picture, Picture)
    pixels = picture.pixels
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 2
    np.testing.assert_array_equal(pixels[1:, :-1], pixels[:-1, 1:])  # along the other diagonal
    assert not np.array_equal(pixels[0], pixels[1])
    np.testing.assert_array_equal(pixels[:, :48], pixels[:, 16:])
    assert words == list(message(Cell(0, 0, 64, 64), ("a", "b")))


def test_a_line_stands_in_the_middle_of_its_strip() -> None:
    style = Style(14)
    ascent, height = line_metrics(style)
    assert centred_baseline(10, height, style) == 10 + ascent
    assert centred_baseline(10, height + 20, style) == 20 + ascent

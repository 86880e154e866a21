"""What a figure says in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cam_engine.pictures.wording import (
    FigureFacts,
    Verdict,
    column_heading,
    notices,
    probability_text,
    source_line,
    verdict,
)
from cam_engine.results import ClassScore, Explanation, LayerMap

RING, ELF = ClassScore(1, "ring", 0.7), ClassScore(0, "elf", 0.3)
FACTS = FigureFacts("cell_1", "cls_a")


def layer(name: str = "mid", label: str = "denseblock3", method: Any = "gradcam++") -> LayerMap:
    return LayerMap(name, label, method, np.zeros((3, 5), np.float32), 1.0)


def explanation(target: ClassScore = RING, unenhanced: ClassScore | None = None) -> Explanation:
    return Explanation(target, (RING, ELF), (layer(),), unenhanced)


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "1.00"),
        (0.9951, ">0.99"),
        (0.9949, "0.99"),
        (0.5, "0.50"),
        (0.0051, "0.01"),
        (0.0049, "<0.01"),
        (0.0, "0.00"),
    ],
)
def test_a_probability_is_never_rounded_to_a_certainty(probability: float, text: str) -> None:
    assert probability_text(probability) == text


@pytest.mark.parametrize(
    ("true_class", "expected"),
    [
        (None, None),
        ("ring", Verdict(True, "✔ correct")),
        ("elf", Verdict(False, "✘ wrong, true class: ", "elf")),
    ],
)
def test_whether_it_is_right_is_said_where_that_is_known(
    true_class: str | None, expected: Verdict | None
) -> None:
    assert verdict(explanation(), FigureFacts("x", "cls_a", true_class)) == expected


@pytest.mark.parametrize(
    ("answer", "facts", "said"),
    [
        (explanation(), FACTS, ()),
        (explanation(unenhanced=RING), FACTS, ()),
        (explanation(ELF), FACTS, ("The maps explain elf 0.30, not the predicted class",)),
        (
            explanation(unenhanced=ELF),
            FACTS,
            ("CLAHE changed the predicted class; without CLAHE: elf 0.30",),
        ),
        (
            explanation(ELF),
            FigureFacts("x", "cls_a", assumed=("Page 1 of 2 was read", "second")),
            (
                "The maps explain elf 0.30, not the predicted class",
                "Page 1 of 2 was read",
                "second",
            ),
        ),
    ],
)
def test_what_a_reader_must_not_miss_is_said(
    answer: Explanation, facts: FigureFacts, said: tuple[str, ...]
) -> None:
    assert notices(answer, facts) == said


@pytest.mark.parametrize(
    ("true_class", "said"),
    [
        (None, "Predicted: {long}"),
        ("elf", "Predicted: {long}; true class: elf"),
        ("{long}", "Predicted: {long}"),
    ],
)
def test_names_that_the_header_has_no_room_for_are_said_in_full(
    true_class: str | None, said: str
) -> None:
    long = "x" * 37
    truth = None if true_class is None else true_class.format(long=long)
    answer = Explanation(ClassScore(0, long, 1.0), (ClassScore(0, long, 1.0),), (layer(),))
    assert notices(answer, FigureFacts("x", "cls_a", truth)) == (said.format(long=long),)


def test_two_names_share_the_headers_room() -> None:
    names = ClassScore(0, "x" * 18, 1.0)
    answer = Explanation(names, (names,), (layer(),))
    assert notices(answer, FigureFacts("x", "cls_a", "y" * 18)) == ()
    assert notices(answer, FigureFacts("x", "cls_a", "y" * 19)) != ()
    assert notices(answer, FigureFacts("x", "cls_a", "x" * 18)) == ()


def test_a_probability_stays_behind_a_name_from_right_to_left() -> None:
    answer = explanation(ClassScore(0, "טבעת", 0.25))
    assert notices(answer, FACTS) == ("The maps explain טבעת\u200e 0.25, not the predicted class",)


@pytest.mark.parametrize(
    ("column", "heading"),
    [
        (layer(), ("mid", "denseblock3", "5\u00d73")),
        (layer("denseblock3"), ("denseblock3", "", "5\u00d73")),
        (layer("fused", "a \u00d7 b \u00d7 c", "layercam"), ("fused", "LayerCAM", "5\u00d73")),
    ],
)
def test_a_column_is_headed_by_its_layer_and_grid(
    column: LayerMap, heading: tuple[str, str, str]
) -> None:
    assert column_heading(column) == heading


def test_a_figure_says_how_by_what_and_of_what_it_is() -> None:
    assert source_line(explanation(), FACTS) == "Grad-CAM++  ·  cls_a  ·  cell_1"

"""Cells for people: intervals beside their figures, and what a column is sorted by."""

from __future__ import annotations

import math

import pytest

from cam_engine.reports.criteria import make_table
from cam_engine.reports.documents.readable import readable, shown


@pytest.mark.parametrize(
    ("cell", "kind", "text"),
    [
        (0.8231, "share", "82.3%"),
        (1234, "count", "1,234"),
        (0.12345, "number", "0.123"),
        (0.00001234, "number", "1.2e-05"),
        (0.0, "number", "0.000"),
        (None, "number", "n/a"),
        (math.nan, "share", "n/a"),
        ("ring", "text", "ring"),
    ],
)
def test_cells_for_people(cell: float | str | None, kind: str, text: str) -> None:
    assert shown(cell, kind) == text  # type: ignore[arg-type]  # one of the kinds


def test_an_interval_stands_in_its_figures_cell() -> None:
    table = make_table(
        "t",
        "T",
        "map, AP:number, AP low:number, AP high:number, n:count, gain:share, low:share, high:share",
        [
            ("fused", 0.5, 0.25, 0.75, 9, 0.1, -0.05, 0.2),
            ("none", None, None, None, 0, 0.1, None, None),
        ],
    )
    read = readable(table)
    assert read.columns == (("map", False), ("AP", True), ("n", True), ("gain", True))
    first, second = read.rows
    assert [cell.text for cell in first] == [
        "fused",
        "0.500 [0.250, 0.750]",
        "9",
        "10.0% [-5.0, 20.0%]",
    ]
    assert [cell.order for cell in first] == [None, 0.5, 9.0, 0.1]
    assert [cell.text for cell in second] == ["none", "n/a", "0", "10.0%"]
    assert second[1].order == -math.inf


def test_a_low_without_a_high_is_a_column_of_its_own() -> None:
    read = readable(make_table("t", "T", "x:number, low:number, share:share", [(1.0, 0.5, 0.2)]))
    assert [name for name, _ in read.columns] == ["x", "low", "share"]


def test_tables_with_a_row_a_crop_are_told_apart() -> None:
    assert readable(make_table("t", "T", "crop, class", [("a", "b")])).of_crops
    assert not readable(make_table("t", "T", "class, crop", [("a", "b")])).of_crops

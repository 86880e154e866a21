"""Sections come back as they were kept, and their JSON holds no NaN."""

from __future__ import annotations

import json

from cam_engine.evidence.resampling import Interval
from cam_engine.reports.criteria import Column, Criterion, Picture, Section, make_table

SECTION = Section(
    "audit",
    "Data",
    ("What was done.",),
    (
        Criterion("audit.leakage", "fail", "14 of 78.", 0.18, Interval(0.18, 0.1, 0.3), 78, 0.0),
        Criterion("audit.fields", "cannot_tell", "Not known."),
    ),
    (make_table("audit.counts", "Counts", "class, test:count", [("ring", 24), ("all", None)]),),
    (Picture("audit.twins", "Pairs.", b"\x00\xff\x89", "image/jpeg"),),
)


def test_a_section_comes_back_as_it_was_kept() -> None:
    assert Section.from_kept(json.loads(json.dumps(SECTION.kept()))) == SECTION


def test_what_is_no_number_is_null() -> None:
    nan = float("nan")
    criterion = Criterion("a.b", "pass", "", nan, Interval(nan, nan, 1.0), 3, 0.5)
    assert criterion.as_json()["value"] is None
    assert criterion.as_json()["interval"] == [None, 1.0]
    table = make_table("a.t", "T", "name, x:number", [("one", nan), ("two", 2.5)])
    assert table.as_json()["rows"] == [{"name": "one", "x": None}, {"name": "two", "x": 2.5}]


def test_columns_say_their_kind() -> None:
    (table,) = SECTION.tables
    assert table.columns == (Column("class"), Column("test", "count"))
    assert table.rows == (("ring", 24), ("all", None))

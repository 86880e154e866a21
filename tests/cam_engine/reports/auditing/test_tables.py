"""Tables of the audit, from crops that are counted by hand."""

from __future__ import annotations

import pytest

from cam_engine.evidence.images.twins import Twin, Twins
from cam_engine.reports.auditing import tables
from cam_engine.reports.auditing.splits import units_of
from cam_engine.reports.auditing.tables import counts_table, pairs_table, shared_table
from cam_engine.reports.auditing.twin_crops import TwinCrops
from cam_engine.reports.crops import Crop

CROPS = (
    Crop("a.jpg", "test", "ring", field="f1", slide="s1"),
    Crop("b.jpg", "train", "ring", field="f2", slide="s1"),
    Crop("c.jpg", "train", "schizont", field="f2", slide="s1"),
    Crop("d.jpg", "test", "ring", field="f3", slide="s2"),
)


def test_counts() -> None:
    table = counts_table(CROPS)
    assert [column.name for column in table.columns] == ["class", "test", "train"]
    assert table.rows == (("ring", 2, 1), ("schizont", 0, 1))


def test_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = (Twin(0, 1, 0.912345, "near"), Twin(0, 2, 1.0, "same file"))
    found = TwinCrops(CROPS, Twins(pairs, ((0, 1, 2),)), frozenset(range(4)))
    (table,) = pairs_table(found, "test")
    assert table.rows == (
        ("a.jpg", "test", "ring", "c.jpg", "train", "schizont", 1.0, "same file"),
        ("a.jpg", "test", "ring", "b.jpg", "train", "ring", 0.9123, "near"),
    )
    assert len({column.name for column in table.columns}) == len(table.rows[0])
    monkeypatch.setattr(tables, "MOST_ROWS", 1)
    (table,) = pairs_table(found, "test")
    assert len(table.rows) == 1
    assert "The first 1 of 2." in table.note
    assert pairs_table(TwinCrops(CROPS, Twins(), frozenset()), "test") == []


def test_shared_units() -> None:
    (table,) = shared_table(units_of(CROPS, "test", "slide"), CROPS)
    assert (table.id, table.rows) == ("audit.shared_slides", (("s1", 1, 2),))
    assert shared_table(units_of(CROPS, "test", "field"), CROPS) == []

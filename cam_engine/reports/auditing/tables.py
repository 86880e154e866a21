"""Tables of the audit: crops by class, twins, and what splits share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cam_engine.reports.auditing.splits import Units, unit_of
from cam_engine.reports.auditing.twin_crops import TwinCrops
from cam_engine.reports.criteria import Cell, Column, Table
from cam_engine.reports.crops import Crop

MOST_ROWS = 500


def counts_table(crops: Sequence[Crop]) -> Table:
    """How many crops each class has in each split."""
    splits = sorted({crop.split for crop in crops})
    counts = Counter((crop.label, crop.split) for crop in crops)
    rows = [
        _row(label, *(counts[label, split] for split in splits))
        for label in sorted({crop.label for crop in crops})
    ]
    columns = (Column("class"), *(Column(split, "count") for split in splits))
    return Table("audit.class_counts", "Crops by class and split", columns, tuple(rows))


def pairs_table(found: TwinCrops, split: str) -> list[Table]:
    """The twins with their splits and labels, if there are any."""
    if not found.twins.pairs:
        return []
    columns = [
        *(Column(f"{what} {side}") for side in ("1", "2") for what in ("crop", "split", "label")),
        Column("correlation", "number"),
        Column("how"),
    ]
    rows: list[tuple[Cell, ...]] = []
    for twin in found.pairs(split)[:MOST_ROWS]:
        one, other = found.crops[twin.one], found.crops[twin.other]
        sides = (one.name, one.split, one.label, other.name, other.split, other.label)
        rows.append((*sides, round(twin.correlation, 4), twin.how))
    note = (
        "Labels that contradict each other first, then pairs in two splits, the least alike first."
    )
    title = "Crops that show one cell"
    note += _left_out(len(found.twins.pairs))
    return [Table("audit.twins", title, tuple(columns), tuple(rows), note)]


def shared_table(units: Units, crops: Sequence[Crop]) -> list[Table]:
    """Field images or slides that are in the split and in others, with their crops by split."""
    if not units.shared:
        return []
    splits = sorted({crop.split for crop in crops})
    counts = Counter((unit_of(crop, units.kind), crop.split) for crop in crops)
    rows = [
        _row(unit, *(counts[unit, split] for split in splits)) for unit in units.shared[:MOST_ROWS]
    ]
    columns = (Column(units.kind), *(Column(split, "count") for split in splits))
    what = "Slides" if units.kind == "slide" else "Field images"
    title = f"{what} of {units.split} that are in other splits as well, in crops"
    note = _left_out(len(units.shared)).strip()
    return [Table(f"audit.shared_{units.kind}s", title, columns, tuple(rows), note)]


def _row(*cells: Cell) -> tuple[Cell, ...]:
    return cells


def _left_out(count: int) -> str:
    return f" The first {MOST_ROWS} of {count}." if count > MOST_ROWS else ""

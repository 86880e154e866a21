"""Tables as people read them: an interval stands in its figure's cell, "0.88 [0.82, 0.93]"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cam_engine.reports.criteria import Cell, Column, ColumnKind, Table


@dataclass(frozen=True, slots=True)
class ReadCell:
    """text: as it is shown. order: by what a column is sorted; None where that is the text."""

    text: str
    order: float | None = None


@dataclass(frozen=True, slots=True)
class ReadTable:
    """columns: (name, whether its cells are numbers). of_crops: it has a row a crop."""

    title: str
    note: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[ReadCell, ...], ...]
    of_crops: bool


def readable(table: Table) -> ReadTable:
    """Columns "x low" and "x high", or "low" and "high", go into the one before them."""
    starts = _starts(table.columns)
    return ReadTable(
        table.title,
        table.note,
        tuple((table.columns[at].name, table.columns[at].kind != "text") for at, _ in starts),
        tuple(tuple(_cell(row, table.columns, *start) for start in starts) for row in table.rows),
        table.columns[0].name == "crop",
    )


def shown(cell: Cell, kind: ColumnKind) -> str:
    """A cell for people: 0.823 of a share is "82.3%"."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "n/a"
    if isinstance(cell, str):
        return cell
    if kind == "share":
        return f"{100 * cell:.1f}%"
    if kind == "count":
        return f"{cell:,.0f}"
    return f"{cell:.3f}" if abs(cell) >= 0.0005 or cell == 0 else f"{cell:.1e}"


def _starts(columns: Sequence[Column]) -> list[tuple[int, bool]]:
    """(index, whether an interval follows it) of the columns that are shown."""
    found: list[tuple[int, bool]] = []
    at = 0
    while at < len(columns):
        ends = [column.name.rpartition(" ")[2] for column in columns[at + 1 : at + 3]]
        has_interval = ends == ["low", "high"]
        found.append((at, has_interval))
        at += 3 if has_interval else 1
    return found


def _cell(row: Sequence[Cell], columns: Sequence[Column], at: int, has_interval: bool) -> ReadCell:
    cell, kind = row[at], columns[at].kind
    text = shown(cell, kind)
    if has_interval and (low := shown(row[at + 1], kind)) != "n/a":
        text += f" [{low.removesuffix('%')}, {shown(row[at + 2], kind)}]"
    if isinstance(cell, str):
        return ReadCell(text)
    return ReadCell(text, -math.inf if cell is None or not math.isfinite(cell) else float(cell))

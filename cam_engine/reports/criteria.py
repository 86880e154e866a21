"""What a report says: criteria with their verdicts, tables of numbers, pictures and paragraphs.

Each measure answers with a Section; the documents are made of nothing else.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from cam_engine.evidence.resampling import Interval

Verdict = Literal["pass", "fail", "cannot_tell"]
Cell = str | int | float | None
ColumnKind = Literal["text", "count", "share", "number"]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One question with a verdict.

    id: "<section>.<question>". sentence: for people, with the figure in it. threshold: what the
    value is held against. n: of how many independent cases.
    """

    id: str
    verdict: Verdict
    sentence: str
    value: float | None = None
    interval: Interval | None = None
    n: int | None = None
    threshold: float | None = None

    def as_json(self) -> dict[str, Any]:
        """With the interval as [low, high]."""
        interval = self.interval
        return {
            "id": self.id,
            "verdict": self.verdict,
            "value": _finite(self.value),
            "interval": interval and [_finite(interval.low), _finite(interval.high)],
            "n": self.n,
            "threshold": self.threshold,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: "share" is 0..1 and shown in percent."""

    name: str
    kind: ColumnKind = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers as numbers: cells of "text" columns are str, of others numbers or None."""

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Rows as objects by the columns' names; what is no number is null."""
        names = [column.name for column in self.columns]
        rows = [dict(zip(names, map(_cell, row), strict=True)) for row in self.rows]
        return {"id": self.id, "title": self.title, "note": self.note, "rows": rows}


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot as SVG, or pixels as PNG or JPEG, with what is to be seen in it."""

    id: str
    caption: str
    data: bytes
    media_type: Literal["image/svg+xml", "image/png", "image/jpeg"]


@dataclass(frozen=True, slots=True)
class Section:
    """The answer of one measure. paragraphs: what was done, and what it does not show."""

    id: str
    title: str
    paragraphs: tuple[str, ...] = ()
    criteria: tuple[Criterion, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()

    def kept(self) -> dict[str, Any]:
        """All of it as JSON, from which `from_kept` makes it again."""
        pictures = [
            {**asdict(picture), "data": base64.b64encode(picture.data).decode()}
            for picture in self.pictures
        ]
        return {**asdict(self), "pictures": pictures}

    @staticmethod
    def from_kept(kept: Mapping[str, Any]) -> Section:
        """Raises KeyError or TypeError where that is none."""
        return Section(
            kept["id"],
            kept["title"],
            tuple(kept["paragraphs"]),
            tuple(_criterion(one) for one in kept["criteria"]),
            tuple(_table(one) for one in kept["tables"]),
            tuple(
                Picture(**{**one, "data": base64.b64decode(one["data"])})
                for one in kept["pictures"]
            ),
        )


def make_table(
    id_: str, title: str, columns: str, rows: Iterable[Sequence[Cell]], note: str = ""
) -> Table:
    """A table; columns: "crop, true class, probability:share", the kind of each after its name."""
    made = []
    for column in columns.split(","):
        name, _, kind = column.strip().partition(":")
        made.append(Column(name, cast("ColumnKind", kind or "text")))
    return Table(id_, title, tuple(made), tuple(map(tuple, rows)), note)


def _criterion(kept: Mapping[str, Any]) -> Criterion:
    interval = kept["interval"]
    return Criterion(**{**kept, "interval": interval and Interval(**interval)})


def _table(kept: Mapping[str, Any]) -> Table:
    columns = tuple(Column(**column) for column in kept["columns"])
    return Table(kept["id"], kept["title"], columns, tuple(map(tuple, kept["rows"])), kept["note"])


def _cell(cell: Cell) -> Cell:
    return _finite(cell) if isinstance(cell, float) else cell


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

"""A report's numbers as a workbook: a sheet a table, the models one below the other."""

from __future__ import annotations

import io
import math
from datetime import datetime

import xlsxwriter

from cam_engine.reports.criteria import Cell, Column, Criterion, Table
from cam_engine.reports.report import Report

_LONGEST_SHEET_NAME = 31
_MADE = datetime(2000, 1, 1)  # noqa: DTZ001  the same bytes each time; XLSX has no time zones
_FORMATS = {"count": "0", "share": "0.0%", "number": "0.000"}
_CRITERIA = "model, criterion, verdict, value, low, high, n, threshold, sentence"


def workbook(report: Report) -> bytes:
    """The bytes of `tables.xlsx`: criteria first, numbers as numbers."""
    data = io.BytesIO()
    book = xlsxwriter.Workbook(data, {"in_memory": True})
    book.set_properties({"title": f"{report.experiment}: report", "created": _MADE})
    bold = book.add_format({"bold": True, "bottom": 1})
    formats = {kind: book.add_format({"num_format": text}) for kind, text in _FORMATS.items()}

    def write(name: str, columns: list[Column], rows: list[list[Cell]]) -> None:
        sheet = book.add_worksheet(name[:_LONGEST_SHEET_NAME])
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, max(len(rows), 1), len(columns) - 1)
        for at, column in enumerate(columns):
            words = [column.name, *(str(row[at]) for row in rows if isinstance(row[at], str))]
            sheet.set_column(at, at, min(60, 2 + max(map(len, words))))
            sheet.write_string(0, at, column.name, bold)
        for y, row in enumerate(rows, 1):
            for at, (column, cell) in enumerate(zip(columns, row, strict=True)):
                if isinstance(cell, str):
                    sheet.write_string(y, at, cell)
                elif cell is not None and math.isfinite(cell):
                    sheet.write_number(y, at, cell, formats.get(column.kind))

    write("criteria", [Column(name) for name in _CRITERIA.split(", ")], _criteria(report))
    for name, columns, rows in _tables(report):
        write(name, columns, rows)
    book.close()
    return data.getvalue()


def _criteria(report: Report) -> list[list[Cell]]:
    rows = [_row("(experiment)", criterion) for criterion in report.criteria]
    for model in report.models:
        rows += [_row(model.name, criterion) for criterion in model.criteria]
    return rows


def _row(model: str, one: Criterion) -> list[Cell]:
    low = None if one.interval is None else one.interval.low
    high = None if one.interval is None else one.interval.high
    numbers = [one.value, low, high, one.n, one.threshold]
    return [model, one.id, one.verdict.replace("_", " "), *numbers, one.sentence]


def _tables(report: Report) -> list[tuple[str, list[Column], list[list[Cell]]]]:
    made: list[tuple[str, list[Column], list[list[Cell]]]] = [
        (table.id, list(table.columns), [list(row) for row in table.rows])
        for section in (*report.sections, *report.appendix)
        for table in section.tables
    ]
    joined: dict[str, list[tuple[str, Table]]] = {}
    for model in report.models:
        for section in model.sections:
            for table in section.tables:
                joined.setdefault(table.id, []).append((model.name, table))
    for id_, parts in joined.items():
        columns = max((table.columns for _, table in parts), key=len)
        rows = [
            [name, *row, *[None] * (len(columns) - len(row))]
            for name, table in parts
            for row in table.rows
        ]
        made.append((id_, [Column("model"), *columns], rows))
    return made

"""A report as PDF pages, set by Typst with its own embedded fonts."""

from __future__ import annotations

import io
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typst
from PIL import Image

from cam_engine.confined import ConfinedFolder
from cam_engine.reports.criteria import Criterion, Picture, Section, Table
from cam_engine.reports.documents.readable import readable
from cam_engine.reports.report import ModelReport, Report, worst

_TEMPLATE = Path(__file__).parent / "templates" / "report.typ"
_MOST_CROPS = 16  # rows of a table with a row a crop; more are in the workbook and on the page
_WIDE, _WIDTH = 90, 17.0  # letters of 8.5 pt, cm
_POINTS, _HIGHEST = 72 / 2.54, 8.0  # of a cm, cm
_TALLEST = 18.0  # cm: below a heading and its words there is no more room on a page
_BROKEN = 20  # letters after which words may go on in the next line
_ENDINGS = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}


def paper(report: Report) -> bytes:
    """The bytes of `report.pdf`: the same for the same report."""
    with tempfile.TemporaryDirectory() as name:
        folder = ConfinedFolder(Path(name))
        folder.write("report.typ", _TEMPLATE.read_bytes())
        content = _content(report, folder)
        folder.write("report.json", json.dumps(content, ensure_ascii=False).encode())
        made = typst.compile(str(folder.path / "report.typ"), ignore_system_fonts=True)
    if not isinstance(made, bytes):
        raise TypeError("one document was asked for")
    return made


def _content(report: Report, folder: ConfinedFolder) -> dict[str, Any]:
    titles = report.judged
    return {
        "title": f"{report.experiment}: can these models and their maps be believed?",
        "about": (
            f"Split “{report.facts['split']}”, {report.facts['crops']} crops, seed "
            f"{report.facts['seed']}, {report.facts['software']}. “Cannot tell” stands where data "
            "are missing or too few; it is not a pass."
        ),
        "verdicts": {
            "head": ["model", *titles.values()],
            "rows": [
                {"name": _breakable(m.name), "cells": _verdicts(m, titles)} for m in report.models
            ],
        },
        "criteria": _criteria(report.criteria),
        "limits": list(report.limits),
        "sections": [_section(s, folder, f"e-{at}") for at, s in enumerate(report.sections)],
        "appendix": [_section(s, folder, f"a-{at}") for at, s in enumerate(report.appendix)],
        "models": [
            {
                "name": model.name,
                "about": _about(model),
                "sections": [
                    _section(section, folder, f"m{number}-{at}")
                    for at, section in enumerate(model.sections)
                ],
            }
            for number, model in enumerate(report.models)
        ],
    }


def _verdicts(model: ModelReport, titles: dict[str, str]) -> list[str]:
    by_id = {section.id: worst(section.criteria) for section in model.sections}
    return [by_id.get(id_) or "none" for id_ in titles]


def _about(model: ModelReport) -> str:
    if model.error is not None:
        return f"error [{model.error[0]}]: {model.error[1]}"
    facts = model.facts
    return (
        f"{facts['architecture']}, {facts['preprocessing']}, {facts['precision']}. "
        f"SHA-256 {facts['sha256']}"
    )


def _criteria(criteria: Sequence[Criterion]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "verdict": one.verdict,
            "sentence": one.sentence,
            "about": ("" if one.n is None else f"  n = {one.n}")
            + ("" if one.threshold is None else f"  threshold {one.threshold:.3g}"),
        }
        for one in criteria
    ]


def _section(section: Section, folder: ConfinedFolder, prefix: str) -> dict[str, Any]:
    return {
        "title": section.title,
        "paragraphs": list(section.paragraphs),
        "criteria": _criteria(section.criteria),
        "tables": [_table(table) for table in section.tables if table.rows],
        "pictures": [
            _picture(picture, folder, f"{prefix}-{at}")
            for at, picture in enumerate(section.pictures)
        ],
    }


def _table(table: Table) -> dict[str, Any]:
    read = readable(table)
    caption = f"{read.title}. {read.note}".rstrip()
    rows = read.rows
    if read.of_crops and len(rows) > _MOST_CROPS:
        rows = rows[:0]
        caption += f" Its {len(table.rows)} rows are in the workbook and on the page."
    # What a row takes of a page's width, by its longest cells.
    wide = sum(
        min(max([len(name), *(len(row[at].text) for row in rows)]), 99 if number else _BROKEN)
        for at, (name, number) in enumerate(read.columns)
    )
    return {
        "caption": caption,
        "size": 8.5 if wide < _WIDE else 7 if wide < 1.5 * _WIDE else 5.5,
        "columns": [{"name": name, "number": number} for name, number in read.columns],
        "rows": [[_breakable(cell.text) for cell in row] for row in rows],
    }


def _breakable(text: str) -> str:
    """Names may be broken after underscores."""
    return text.replace("_", "_\u200b")


def _picture(picture: Picture, folder: ConfinedFolder, name: str) -> dict[str, Any]:
    file = f"{name}.{_ENDINGS[picture.media_type]}"
    folder.write(file, picture.data)
    width = _WIDTH
    if picture.media_type == "image/svg+xml":
        width = _svg_width(picture.data)
    if picture.media_type != "image/svg+xml":
        with Image.open(io.BytesIO(picture.data)) as opened:
            width = min(_WIDTH, opened.width / 60, _TALLEST * opened.width / opened.height)
    return {"file": file, "caption": picture.caption, "width": width}


def _svg_width(data: bytes) -> float:
    """In cm: as large as it was drawn, up to the page's, and no higher than a third of a page."""
    width, height = (
        float(found.group(1)) / _POINTS
        if (found := re.search(rb'<svg[^>]* %b="([0-9.]+)pt"' % side, data))
        else 1.0
        for side in (b"width", b"height")
    )
    return min(width, _WIDTH, _HIGHEST * width / height)

"""The workbook: numbers as numbers, a sheet a table with the models below each other."""

from __future__ import annotations

import io
import re
import zipfile
from xml.etree import ElementTree

import pytest

from cam_engine.reports.documents.workbook import workbook
from cam_engine.reports.report import Report
from tests.cam_engine.reports.documents.conftest import HOSTILE

SPACE = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
Rows = list[list[str | float | None]]


@pytest.fixture(scope="module")
def sheets(report: Report) -> dict[str, Rows]:
    """Read back by the format's own rules: cells of text by the shared strings."""
    with zipfile.ZipFile(io.BytesIO(workbook(report))) as book:
        root = ElementTree.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314  our own
        words = ["".join(t.text or "" for t in si.iter(f"{{{SPACE['m']}}}t")) for si in root]
        listed = ElementTree.fromstring(book.read("xl/workbook.xml"))  # noqa: S314  our own
        names = [sheet.attrib["name"] for sheet in listed.iterfind("m:sheets/m:sheet", SPACE)]
        return {
            name: _rows(book.read(f"xl/worksheets/sheet{number}.xml"), words)
            for number, name in enumerate(names, 1)
        }


def _rows(data: bytes, words: list[str]) -> Rows:
    rows: Rows = []
    for row in ElementTree.fromstring(data).iterfind("m:sheetData/m:row", SPACE):  # noqa: S314
        cells: list[str | float | None] = []
        for cell in row.iterfind("m:c", SPACE):
            column = re.sub(r"\d", "", cell.attrib["r"])
            at = ord(column) - ord("A")
            cells += [None] * (at - len(cells))
            value = cell.findtext("m:v", None, SPACE)
            if value is not None:
                cells.append(words[int(value)] if cell.attrib.get("t") == "s" else float(value))
        rows.append(cells)
    return rows


def test_criteria_come_first_with_their_figures(sheets: dict[str, Rows]) -> None:
    assert next(iter(sheets)) == "criteria"
    head, *rows = sheets["criteria"]
    assert head[:4] == ["model", "criterion", "verdict", "value"]
    assert [row[1] for row in rows] == [
        "audit.a",
        "performance.a",
        "performance.b",
        "calibration.a",
    ]
    assert rows[1] == [
        "cls_resnet50_focal",
        "performance.a",
        "pass",
        0.9,
        0.8,
        1.0,
        30,
        0.5,
        "It is so.",
    ]
    assert rows[3][2] == "cannot tell"


def test_numbers_are_numbers_and_no_figure_is_an_empty_cell(sheets: dict[str, Rows]) -> None:
    head, first, second = sheets["performance.classes"]
    assert head == ["model", "class", "cases", "F1", "F1 low", "F1 high"]
    assert first == ["cls_resnet50_focal", HOSTILE, 1200.0, 0.5, 0.25, 0.75]
    assert second == ["cls_resnet50_focal", "none", 0.0]
    assert len(sheets["performance.crops"]) == 41


def test_the_same_report_is_the_same_bytes(report: Report) -> None:
    assert workbook(report) == workbook(report)

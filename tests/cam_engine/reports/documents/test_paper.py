"""The PDF: whatever a name holds, set with embedded fonts, the same bytes each time."""

from __future__ import annotations

import io
import re

import pytest
from pypdf import PdfReader

from cam_engine.reports.documents.paper import paper
from cam_engine.reports.report import Report


@pytest.fixture(scope="module")
def data(report: Report) -> bytes:
    return paper(report)


def test_it_is_a_pdf_with_its_fonts_in_it(data: bytes) -> None:
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert re.search(rb"/FontFile[23]?\b", data)
    assert len(re.findall(rb"/Type ?/Page\b", data)) >= 4


def test_the_same_report_is_the_same_bytes(data: bytes, report: Report) -> None:
    assert paper(report) == data
    assert b"CreationDate" not in data


def test_its_words_are_the_reports(data: bytes) -> None:
    pages = PdfReader(io.BytesIO(data)).pages
    text = " ".join(page.extract_text() for page in pages).replace("\u200b", "")
    for words in ("cannot tell", "It is so.", "1 of ", "Appendix", "error [checkpoint-invalid]"):
        assert words in text
    assert "0.500 [0.250, 0.750]" in text
    assert "Its 40 rows are in the workbook" in text
    assert "<script>alert(1)</script>" in text

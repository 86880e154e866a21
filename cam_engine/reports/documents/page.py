"""A report as one HTML file: offline, printable, light and dark, with sortable tables."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2

from cam_engine.reports.criteria import Picture
from cam_engine.reports.documents.readable import readable, shown
from cam_engine.reports.report import Report, worst

VERDICTS = {"pass": "pass", "fail": "fail", "cannot_tell": "cannot tell", None: "not measured"}
SIGNS = {"pass": "✓", "fail": "✗", "cannot_tell": "?", None: "-"}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(report: Report) -> str:
    """The text of `report.html`."""
    return _TEMPLATES.get_template("report.html.jinja").render(
        report=report,
        judged=report.judged,
        worst=worst,
        verdicts=VERDICTS,
        signs=SIGNS,
        shown=shown,
        readable=readable,
        address=_address,
    )


def _address(picture: Picture) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode()}"

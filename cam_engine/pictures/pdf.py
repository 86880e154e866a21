"""A drawing as a PDF with real text, by matplotlib.

Nothing else in the library imports it: it takes half a second to load.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import BoxStyle, FancyBboxPatch

from cam_engine import text_keys
from cam_engine.pictures.drawing import Box, Drawing, Picture, Text
from cam_engine.pictures.lettering import Colour, face
from cam_engine.pictures.panel import WIDTH_INCHES

_POINTS_PER_INCH = 72
_TRUETYPE = 42
_font_type_lock = threading.Lock()


class Document(NamedTuple):
    """What a list of documents shows of a PDF."""

    title: str
    subject: str


def save_pdf(
    target: Path | BinaryIO, drawing: Drawing, about: Document, text: Mapping[str, str]
) -> None:
    """Write a drawing as a PDF with real text; text: what its keywords say. Raises OSError.

    By matplotlib's objects only: pyplot keeps figures and is bound to one thread.
    """
    inches_per_unit = WIDTH_INCHES / drawing.width
    figure = Figure(figsize=(WIDTH_INCHES, drawing.height * inches_per_unit))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    for item in drawing.items:
        match item:
            case Text():
                _draw_text(axes, item, inches_per_unit * _POINTS_PER_INCH)
            case Box():
                _draw_box(axes, item)
            case Picture():
                _draw_picture(axes, item)
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.set_axis_off()
    keywords = "; ".join(f"{key}: {value}" for key, value in text.items())
    metadata = {
        "Title": about.title,
        "Subject": about.subject,
        "Keywords": keywords,
        "Creator": text.get(text_keys.SOFTWARE),
        "CreationDate": None,
    }
    with _truetype_fonts():
        FigureCanvasPdf(figure).print_figure(target, format="pdf", metadata=metadata)


@contextmanager
def _truetype_fonts() -> Iterator[None]:
    """Embed TrueType fonts, whose text stays text in a reader.

    matplotlib has no setting of a single figure for it, only a global one: it is changed for as
    long as the file is being written, by one thread at a time, and nothing else is.
    """
    with _font_type_lock:
        before = rcParams["pdf.fonttype"]
        rcParams["pdf.fonttype"] = _TRUETYPE
        try:
            yield
        finally:
            rcParams["pdf.fonttype"] = before


def _draw_text(axes: Axes, item: Text, points_per_unit: float) -> None:
    path, text = face(item.text, bold=item.style.bold, truetype_only=True)
    axes.text(
        item.left,
        item.baseline,
        text,
        color=_colour(item.style.colour),
        fontproperties=FontProperties(fname=path, size=item.style.size * points_per_unit),
        rotation=90 if item.upright else 0,
        rotation_mode="anchor",
        horizontalalignment="left",
        verticalalignment="baseline",
        parse_math=False,
        usetex=False,
    )


def _draw_box(axes: Axes, item: Box) -> None:
    radius = item.height / 2 if item.rounded else 0.0
    style = BoxStyle.Round(pad=0.0, rounding_size=radius) if item.rounded else BoxStyle.Square(0.0)
    place = (item.left, item.top), item.width, item.height
    axes.add_patch(FancyBboxPatch(*place, style, color=_colour(item.colour), linewidth=0.0))


def _draw_picture(axes: Axes, item: Picture) -> None:
    sides = (item.left, item.left + item.width, item.top + item.height, item.top)
    axes.imshow(item.pixels, extent=sides, aspect="auto", interpolation="none")


def _colour(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in colour)
    return red, green, blue

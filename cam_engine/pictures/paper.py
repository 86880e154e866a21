"""The main figure for print: 7 inches wide, as a PDF with real text, or as PNG at any resolution.

It shows what the panel shows, from the same composition.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Literal

from cam_engine.images.png import encode_png
from cam_engine.options import CamOptions
from cam_engine.pictures.panel import WIDTH_INCHES, compose_panel
from cam_engine.pictures.wording import FigureFacts, probability_text
from cam_engine.results import Explanation, FloatMap, RgbImage


def save_paper_figure(
    target: Path | BinaryIO,
    original: RgbImage,
    enhanced: RgbImage | None,
    explanation: Explanation,
    maps: Mapping[str, FloatMap],
    options: CamOptions,
    facts: FigureFacts,
    *,
    format: Literal["pdf", "png"] = "pdf",  # noqa: A002 (as savefig names it)
    dpi: int = 300,
    text: Mapping[str, str] | None = None,
) -> None:
    """Write the figure to a path or an open binary file; equal inputs give equal bytes.

    dpi: resolution of a PNG, and of the pictures in a PDF. text: how the figure was made; a PNG's
    text chunks, a PDF's keywords, beside its title and subject. The rest is as for `render_panel`.
    Raises OSError.
    """
    width = round(WIDTH_INCHES * dpi)
    drawing = compose_panel(
        original, enhanced, explanation, maps, options, facts, figure_width=width
    )
    if format == "png":
        _write(target, encode_png(drawing.to_pixels(), text=text, dpi=dpi))
    else:
        from cam_engine.pictures.pdf import Document, save_pdf  # noqa: PLC0415 (see there)

        save_pdf(target, drawing, Document(*_about(explanation, facts)), text or {})


def _about(explanation: Explanation, facts: FigureFacts) -> tuple[str, str]:
    """Title and subject of the document."""
    predicted = explanation.predicted
    layers = ", ".join(layer.name for layer in explanation.layers)
    probability = probability_text(predicted.probability)
    return (
        f"{facts.title}: predicted {predicted.name}, probability {probability}",
        f"Class activation maps of {explanation.target.name} by {facts.model_name}: {layers}",
    )


def _write(target: Path | BinaryIO, data: bytes) -> None:
    if isinstance(target, Path):
        target.write_bytes(data)
    else:
        target.write(data)

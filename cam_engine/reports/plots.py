"""Plots as SVG, whose bytes depend on the numbers alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cam_engine.reports.criteria import Picture

Values = NDArray[np.float64]
_SETTINGS: Any = {  # matplotlib lists each name in its type
    "svg.hashsalt": "report",
    "svg.fonttype": "path",
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_COLOURS = ("#0b5fa5", "#c2571a", "#2e7d4f", "#7a4fa0", "#777777", "#a8893a")


def reliability(id_: str, confidence: Values, right: Values, share: Values) -> Picture:
    """Share of right answers over mean confidence, a point a bin, as large as its share."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
        axes.plot(confidence, right, color=_COLOURS[0], linewidth=1, alpha=0.6)
        axes.scatter(confidence, right, s=600 * share, color=_COLOURS[0], zorder=3)
        axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.04), xlabel="confidence", ylabel="share right")

    caption = (
        "Reliability diagram: share of right answers over mean confidence, bins of equal mass, "
        "the area of a point by its share of crops. On the dashed line confidence is what it says."
    )
    return Picture(id_, caption, _svg(draw, (4.2, 3.4)), "image/svg+xml")


def confusion(id_: str, counts: NDArray[np.int64], names: Sequence[str]) -> Picture:
    """Counts, true classes in rows, shaded by the share of their row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(3.0, 1.2 + 0.62 * len(names))

    def draw(axes: Axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="named by the model", ylabel="true class")
        axes.spines[:].set_visible(False)

    caption = "Confusion matrix: crops by true class (rows) and the class that the model names."
    return Picture(id_, caption, _svg(draw, (size + 0.8, size)), "image/svg+xml")


def curves(
    id_: str, caption: str, of: Mapping[str, tuple[Values, Values]], labels: tuple[str, str]
) -> Picture:
    """Lines by name: x and y of each; labels: of the axes."""

    def draw(axes: Axes) -> None:
        for (name, (x, y)), colour in zip(of.items(), _COLOURS * 3, strict=False):
            style = "--" if name.startswith("control") else "-"
            axes.plot(x, y, label=name, color=colour, linestyle=style, linewidth=1.5)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.legend(
            frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16)
        )

    return Picture(id_, caption, _svg(draw, (5.6, 3.8)), "image/svg+xml")


def bars(
    id_: str,
    caption: str,
    rows: Sequence[tuple[str, float, float, float]],
    label: str,
    line: float | None = None,
) -> Picture:
    """(name, value, low, high) each, as points with intervals; line: a threshold."""

    def draw(axes: Axes) -> None:
        for at, (_, value, low, high) in enumerate(rows):
            axes.plot([low, high], [at, at], color=_COLOURS[0], linewidth=2)
            axes.plot([value], [at], "o", color=_COLOURS[0])
        if line is not None:
            axes.axvline(line, color="#999999", linewidth=1, linestyle="--")
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(label)

    return Picture(id_, caption, _svg(draw, (6.0, 0.8 + 0.32 * len(rows))), "image/svg+xml")


def _svg(draw: Callable[[Axes], None], size: tuple[float, float]) -> bytes:
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    return data.getvalue()

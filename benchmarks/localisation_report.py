"""Localisation results as tables for a terminal, a page of the documentation and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.localisation_metrics import MEASURES, Values
from cam_engine.evidence.resampling import ClusterBootstrap, Interval

# What the fused map is asked for; late Grad-CAM++ must not fall behind classical Grad-CAM.
GAP_TO_CLOSE = 0.35
PEAKS_IN_BOX = 0.95

AP, PEAK = "average_precision", "peak"
_HEADINGS = {
    AP: "AP",
    PEAK: "peak in box",
    "energy": "energy in box",
    "enrichment": "energy / area",
    "iou": "IoU at 0.5",
}
_TAPS_COMPARED = ("gradcam", "gradcam++", "layercam", "fused")


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of map: the method or control, the layer and the taps ("" where it has none)."""

    method: str
    layer: str = ""
    taps: str = "rectified"

    def label(self) -> str:
        words = [self.method, self.layer, "(raw taps)" if self.taps == "raw" else ""]
        return " ".join(word for word in words if word)


CLASSICAL = Row("classical Grad-CAM", taps="")
UNIFORM = Row("control: uniform", taps="")
GAUSSIAN = Row("control: centred Gaussian", taps="")
SQUARED = Row("control: gradcam++ late, squared", taps="")
FUSED = Row("fused")
LATE = Row("gradcam++", "late")


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's rows: {row: {measure: (crops,)}}, all over the same crops in the same order."""

    name: str
    sha256: str
    precision: str
    crops_given: int
    crops_right: int
    box_share: float
    bootstrap: ClusterBootstrap
    rows: Mapping[Row, Mapping[str, Values]]

    def estimate(self, row: Row, measure: str) -> Interval:
        return self.bootstrap.mean(self.rows[row][measure])

    def over_classical(self, row: Row, measure: str) -> Interval:
        """The mean difference to classical Grad-CAM, crop by crop."""
        return self.bootstrap.mean(self.rows[row][measure] - self.rows[CLASSICAL][measure])

    def gap_closed(self, row: Row) -> Interval:
        """Of the gap from classical Grad-CAM's AP to 1, the share that the row closes."""
        return self.bootstrap.gap_closed(self.rows[row][AP], self.rows[CLASSICAL][AP])

    def facts(self) -> str:
        return (
            f"{self.name}: {self.crops_right} of {self.crops_given} crops right, from "
            f"{self.bootstrap.clusters} slides; boxes cover {self.box_share:.1%}; {self.precision}"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was asked of one model's maps, by the estimates themselves."""

    gap: bool
    peak: bool
    late_ap: bool
    late_peak: bool

    @classmethod
    def of(cls, one: Measured) -> Verdict:
        return cls(
            gap=one.gap_closed(FUSED).value >= GAP_TO_CLOSE,
            peak=one.estimate(FUSED, PEAK).value >= PEAKS_IN_BOX,
            late_ap=one.over_classical(LATE, AP).value >= 0,
            late_peak=one.over_classical(LATE, PEAK).value >= 0,
        )

    def missed(self) -> str:
        words = {
            "gap": f"fused closes less than {GAP_TO_CLOSE:.0%}",
            "peak": f"fused peak in fewer than {PEAKS_IN_BOX:.0%}",
            "late_ap": "late Grad-CAM++ below classical by AP",
            "late_peak": "late Grad-CAM++ below classical by peak",
        }
        return "; ".join(text for name, text in words.items() if not getattr(self, name)) or "no"


def table(one: Measured) -> str:
    """All rows of one model, a measure a column, for a terminal."""
    lines = [
        [row.label(), *(_shown(one.estimate(row, m), m) for m in MEASURES)] for row in one.rows
    ]
    return f"{one.facts()}\n{_aligned([['', *_HEADINGS.values()], *lines])}"


def summary(results: Sequence[Measured]) -> str:
    """What was asked and what was found, a model a line, for a terminal."""
    return _aligned([_SUMMARY_HEADINGS, *map(_summary_cells, results)])


def markdown(results: Sequence[Measured], seed: int, resamples: int) -> str:
    """The generated block of the page, without its markers."""
    compared = [result for result in results if any(row.taps == "raw" for row in result.rows)]
    parts = [_markdown_table(_SUMMARY_HEADINGS, map(_summary_cells, results))]
    if compared:
        parts.append("The late layer and the fused map at raw and rectified taps (AP / peak):")
        parts.append(_markdown_table(*_taps_table(compared)))
    parts += map(_details, results)
    parts.append(f"Resamples: seed {seed}, {resamples} of slides.")
    return "\n\n".join(parts)


def side_by_side(results: Sequence[Measured], seed: int, resamples: int) -> str:
    """A model a column, a map a row, each cell its AP and its share of peaks in the mask."""
    rows = dict.fromkeys(row for result in results for row in result.rows)
    lines = [
        [row.label(), *(_pair(one, row) if row in one.rows else "-" for one in results)]
        for row in rows
    ]
    facts = [["crops right", *(f"{one.crops_right} of {one.crops_given}" for one in results)]]
    facts += [["precision", *(one.precision.partition(",")[0] for one in results)]]
    parts = [
        _markdown_table(["AP / peak", *(one.name for one in results)], facts + lines),
        "Means over the crops that a model gets right.",
    ]
    return "\n\n".join(parts)


def as_json(results: Sequence[Measured]) -> list[dict[str, object]]:
    """Everything, for other programs; intervals as {value, low, high}."""
    return [
        {
            "model": result.name,
            "sha256": result.sha256,
            "precision": result.precision,
            "crops_given": result.crops_given,
            "crops_right": result.crops_right,
            "slides": result.bootstrap.clusters,
            "box_share": result.box_share,
            "rows": [
                {**asdict(row), **{m: asdict(result.estimate(row, m)) for m in MEASURES}}
                for row in result.rows
            ],
            "fused_gap_closed": asdict(result.gap_closed(FUSED)) if FUSED in result.rows else None,
            "late_over_classical": {
                m: asdict(result.over_classical(LATE, m)) for m in (AP, PEAK) if LATE in result.rows
            },
            "targets": asdict(Verdict.of(result)) if FUSED in result.rows else None,
        }
        for result in results
    ]


_SUMMARY_HEADINGS = [
    "model",
    "crops",
    "classical AP",
    "fused AP",
    "gap closed",
    "fused peak",
    "late Grad-CAM++ over classical: AP",
    "peak",
    "missed",
]


def _summary_cells(one: Measured) -> list[str]:
    crops = f"{one.crops_right} of {one.crops_given}"
    if FUSED not in one.rows:
        return [one.name, crops, _shown(one.estimate(CLASSICAL, AP), AP), *["-"] * 5, "-"]
    return [
        one.name,
        crops,
        _shown(one.estimate(CLASSICAL, AP), AP),
        _shown(one.estimate(FUSED, AP), AP),
        _percent(one.gap_closed(FUSED)),
        _percent(one.estimate(FUSED, PEAK)),
        _signed(one.over_classical(LATE, AP)),
        _signed(one.over_classical(LATE, PEAK)),
        Verdict.of(one).missed(),
    ]


def _taps_table(results: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    kinds = [(m, taps) for m in _TAPS_COMPARED for taps in ("raw", "rectified")]
    lines = []
    for result in results:
        rows = [Row(m, "" if m == "fused" else "late", taps) for m, taps in kinds]
        lines.append(
            [result.name, *(_pair(result, row) if row in result.rows else "-" for row in rows)]
        )
    return ["model", *(f"{m}, {taps}" for m, taps in kinds)], lines


def _pair(one: Measured, row: Row) -> str:
    return f"{one.estimate(row, AP).value:.2f} / {one.estimate(row, PEAK).value:.2f}"


def _details(one: Measured) -> str:
    rows = [row for row in one.rows if row.taps != "raw"]
    lines = ([row.label(), *(_shown(one.estimate(row, m), m) for m in MEASURES)] for row in rows)
    body = _markdown_table(["map", *_HEADINGS.values()], lines)
    return f"<details>\n<summary>{one.facts()}</summary>\n\n{body}\n\n</details>"


def _shown(found: Interval, measure: str) -> str:
    digits = 1 if measure == "enrichment" else 2
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _percent(found: Interval) -> str:
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _markdown_table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [headings, ["---"] * len(headings), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )

"""Answers the guide's checklist by program, from the written files alone.

Each check gives a figure and the threshold it is held to; it does not apply where its question
has no sense (CLAHE off, a single grid). What is missing or damaged is a finding, and the checks go
on without it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from cam_engine.commands.console import wide_console
from cam_engine.commands.findings import Finding, Findings
from cam_engine.commands.written_figures import WrittenFigure, written_figures
from cam_engine.errors import ExperimentNotFound, InvalidImage
from cam_engine.images.png import is_whole_png
from cam_engine.pictures.recipes import to_json
from cam_engine.short_names import speakable

# Thresholds. A uniform map has a focus of 1; CLAHE that does nothing a gain of 1. The share of
# gradient energy on cell borders is held between bilinear upsampling (0) and nearest (1).
LEAST_CLAHE_GAIN = 1.05
LEAST_GRIDS = 2
LEAST_FOCUS = 1.05
MOST_BLOCKINESS = 0.25

_MOST_SHOWN = 20  # findings

NO_FIGURE = "no figure to look at"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist. passed: None where it does not apply; `figure` then says why."""

    name: str
    passed: bool | None
    figure: str
    threshold: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The checklist, and what it had to do without."""

    checks: list[Check]
    findings: list[Finding]

    @property
    def passed(self) -> bool:
        """Whether no check failed and all could be looked at."""
        return not self.findings and all(check.passed is not False for check in self.checks)


def run_verify(arguments: argparse.Namespace) -> int:
    """The verify command. Answers 0, or 1 where a check fails or something is damaged."""
    folder = arguments.output_dir
    if not folder.is_dir():
        raise ExperimentNotFound(f"there is no folder {folder}; name a folder of figures")
    verified = examine(folder)
    if arguments.json:
        answer = {
            "folder": str(folder),
            "checks": verified.checks,
            "findings": verified.findings,
        }
        sys.stdout.write(speakable(to_json(answer, indent=2)) + "\n")
    else:
        _print(folder, verified)
    return 0 if verified.passed else 1


def verify(folder: Path) -> list[Check]:
    """The checklist over all figures below the folder."""
    return examine(folder).checks


def examine(folder: Path) -> Verified:
    """The checklist over all figures below the folder, and what is missing or damaged."""
    findings = Findings(folder)
    figures = list(written_figures(folder, findings))
    readable = [figure for figure in figures if figure.options is not None]
    checks = [
        _main_figures(figures, findings),
        _components(figures, findings),
        _clahe_visible(readable),
        _several_grids(readable),
        _focused(readable),
        _smooth(readable),
    ]
    return Verified(checks, findings.all())


def _main_figures(figures: Sequence[WrittenFigure], findings: Findings) -> Check:
    files = [(figure, figure.paths.main()) for figure in figures]
    return _count_check("main figures there and whole", files, findings)


def _components(figures: Sequence[WrittenFigure], findings: Findings) -> Check:
    files = [
        (figure, figure.paths.component(layer, kind))
        for figure in figures
        for layer in figure.layers
        for kind in ("heatmap", "overlay")
    ]
    return _count_check("components complete", files, findings)


def _count_check(
    name: str, files: Sequence[tuple[WrittenFigure, Path]], findings: Findings
) -> Check:
    bad = []
    for figure, path in files:
        whole = False
        with findings.fence(figure.folder.path / path):
            whole = is_whole_png(figure.folder.read(path))
            if not whole:
                raise InvalidImage("it is damaged")
        if not whole:
            bad.append((figure, path))
    shown = f"{len(files) - len(bad)} of {len(files)}"
    if bad:
        figure, path = bad[0]
        reason = "damaged" if figure.folder.is_file(path) else "missing"
        shown += f"; {reason}: {path.name}" + (f" and {len(bad) - 1} more" if bad[1:] else "")
    return Check(name, bool(files) and not bad, shown, "all, at least 1")


def _several_grids(figures: Sequence[WrittenFigure]) -> Check:
    name, threshold = "several resolutions", f">= {LEAST_GRIDS} grids"
    asked = max((len(figure.layers) for figure in figures), default=0)
    if asked < LEAST_GRIDS:
        reason = "a single layer was asked for" if figures else NO_FIGURE
        return Check(name, None, reason, threshold)
    grids = [figure.grids for figure in figures]
    fewest = min((len(grid) for grid in grids), default=0)
    shown = sorted(set().union(*grids), reverse=True)
    figure_text = ", ".join(f"{height}x{width}" for height, width in shown) or "none"
    return Check(name, fewest >= LEAST_GRIDS, figure_text, threshold)


def _clahe_visible(figures: Sequence[WrittenFigure]) -> Check:
    name, limit = "CLAHE visible", f">= {LEAST_CLAHE_GAIN}"
    gains = [figure.clahe_gain for figure in figures if figure.clahe_gain is not None]
    if not gains:
        return Check(name, None, "CLAHE is off" if figures else NO_FIGURE, limit)
    median = float(np.median(gains))
    shown = f"local contrast x{median:.2f}, median of {len(gains)}"
    return Check(name, median >= LEAST_CLAHE_GAIN, shown, limit)


def _focused(figures: Sequence[WrittenFigure]) -> Check:
    """The median, since a single map may well lie elsewhere; but a flat one is a defect."""
    name, limit = "heatmaps focused", f">= {LEAST_FOCUS}, none flat"
    measured = [focus for figure in figures for focus in figure.focus]
    if not measured:
        reason = "no map with positive evidence" if figures else NO_FIGURE
        return Check(name, None, reason, limit)
    median = float(np.median([value for _, value in measured]))
    flat = [path for path, value in measured if value == 1.0]
    shown = f"energy on stained tissue x{median:.2f} its area, median of {len(measured)}"
    shown += f"; flat: {flat[0].name}" if flat else ""
    return Check(name, median >= LEAST_FOCUS and not flat, shown, limit)


def _smooth(figures: Sequence[WrittenFigure]) -> Check:
    """The worst map: a smooth one is hardly ever above 0."""
    name, limit = "heatmaps smooth", f"<= {MOST_BLOCKINESS}"
    measured = [blockiness for figure in figures for blockiness in figure.blockiness]
    if not measured:
        reason = "cells of less than 3 px, or no map with evidence" if figures else NO_FIGURE
        return Check(name, None, reason, limit)
    path, worst = max(measured, key=lambda measurement: measurement[1])
    shown = f"blockiness {worst:.2f} (bilinear 0, nearest 1), worst of {len(measured)}"
    passed = worst <= MOST_BLOCKINESS
    return Check(name, passed, shown if passed else f"{shown}: {path.name}", limit)


_WORDS = {True: "[green]ok[/green]", False: "[red]FAILED[/red]", None: "n/a"}


def _print(folder: Path, verified: Verified) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "", "figure", "held to"):
        table.add_column(column, no_wrap=True)
    for check in verified.checks:
        table.add_row(check.name, _WORDS[check.passed], check.figure, check.threshold)
    console = wide_console()
    console.print(speakable(str(folder)), markup=False)
    console.print(table)
    for finding in verified.findings[:_MOST_SHOWN]:
        said = f"{finding.path}: error [{finding.code}]: {finding.detail}"
        console.print(said, markup=False)
    if more := len(verified.findings[_MOST_SHOWN:]):
        console.print(f"and {more} more; --json has them all")

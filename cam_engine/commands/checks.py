"""Answers the guide's checklist by program, from the written files alone.

Each check gives a figure and the threshold it is held to; it does not apply where its question
has no sense (CLAHE off, a single grid). What is missing or damaged is a finding, and the checks go
on without it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from cam_engine import text_keys
from cam_engine.commands.console import wide_console
from cam_engine.confined import ConfinedFolder, parts_of
from cam_engine.errors import ExperimentNotFound, InvalidImage, PathOutsideRoot, error_of_item
from cam_engine.images.png import is_whole_png, read_png_text
from cam_engine.outputs.files import COMPONENTS, MAIN_PREFIX, PicturePaths
from cam_engine.outputs.summaries import SUMMARY_JSON
from cam_engine.pictures.measures import blockiness, focus, local_contrast, stained_tissue
from cam_engine.pictures.recipes import to_json
from cam_engine.pictures.rendering import resize_map
from cam_engine.results import FloatMap, RgbImage
from cam_engine.short_names import speakable

# Thresholds. A uniform map has a focus of 1; CLAHE that does nothing a gain of 1. The share of
# gradient energy on cell borders is held between bilinear upsampling (0) and nearest (1).
LEAST_CLAHE_GAIN = 1.05
LEAST_GRIDS = 2
LEAST_FOCUS = 1.05
MOST_BLOCKINESS = 0.25

_MOST_SHOWN = 20  # findings
_OF_DAMAGED_FILES = (
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    Image.DecompressionBombError,
)

NO_FIGURE = "no figure to look at"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist. passed: None where it does not apply; `figure` then says why."""

    name: str
    passed: bool | None
    figure: str
    threshold: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A file or folder that could not be looked at: its path below the folder, and why."""

    path: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The checklist, and what it had to do without."""

    checks: list[Check]
    findings: list[Finding]

    @property
    def passed(self) -> bool:
        """Whether no check failed and all could be looked at."""
        return not self.findings and all(check.passed is not False for check in self.checks)


@dataclass(frozen=True, slots=True)
class _Heatmap:
    values: FloatMap
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Figure:
    """One image's main figure, its options as its recipe has them, and what was measured.

    paths: below `folder`, the one that the figure lies in, where links are not followed. options:
    None where there is no recipe. clahe_gain: of local contrast; None without CLAHE. grids, focus,
    blockiness: of heatmaps with evidence, the latter two by their paths.
    """

    folder: ConfinedFolder
    paths: PicturePaths
    options: Mapping[str, Any] | None = None
    clahe_gain: float | None = None
    grids: frozenset[tuple[int, int]] = frozenset()
    focus: tuple[tuple[Path, float], ...] = ()
    blockiness: tuple[tuple[Path, float], ...] = ()

    @property
    def layers(self) -> list[str]:
        """The layers that it should have components of; by default the documented three."""
        return _layers(self.options or {})


class _Findings:
    """Gathers what went wrong with single files, each file once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, Finding] = {}

    def add(self, path: Path, code: str, detail: str) -> None:
        """Unless something was found out about the file before."""
        shown = path.relative_to(self._root).as_posix() if path != self._root else "."
        self._found.setdefault(shown, Finding(speakable(shown), code, speakable(detail)))

    def fence(self, path: Path, damaged: str = "invalid-image") -> _Fence:
        """Whatever is raised inside concerns this file alone; damaged: the code for its content."""
        return _Fence(self, path, damaged)

    def all(self) -> list[Finding]:
        """By path."""
        return sorted(self._found.values(), key=lambda finding: finding.path)


class _Fence:
    def __init__(self, findings: _Findings, path: Path, damaged: str) -> None:
        self._findings = findings
        self._path = path
        self._damaged = damaged

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Whether what was raised has become a finding."""
        if not isinstance(raised, Exception):
            return False
        self._findings.add(self._path, *self._told(raised))
        return True

    def _told(self, raised: Exception) -> tuple[str, str]:
        match raised:
            case FileNotFoundError():
                return "image-not-found", "it is missing"
            case OSError():
                return self._damaged, f"it cannot be read: {raised.strerror or raised}"
            case _ if isinstance(raised, _OF_DAMAGED_FILES):
                why = ": ".join(filter(None, (type(raised).__name__, str(raised))))
                return self._damaged, f"it is damaged, or not of this software ({why})"
        error = error_of_item(raised, self._path.name)
        return error.code, str(error)


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
    findings = _Findings(folder)
    figures = list(_figures(folder, findings))
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


def _figures(folder: Path, findings: _Findings) -> Iterator[_Figure]:
    for place in _picture_folders(folder, findings):
        for name in sorted(_names_in(place, findings)):
            yield _figure(ConfinedFolder(place), PicturePaths(Path(), name), findings)


def _picture_folders(folder: Path, findings: _Findings) -> list[Path]:
    found = set()

    def unread(error: OSError) -> None:
        findings.add(Path(error.filename), "not-readable", f"{error.strerror}")

    for place, folders, files in os.walk(folder, onerror=unread):
        if COMPONENTS in folders or any(_is_main(name) for name in files):
            found.add(Path(place))
    return sorted(found)


def _is_main(name: str) -> bool:
    return name.startswith(MAIN_PREFIX) and name.endswith(".png")


def _names_in(folder: Path, findings: _Findings) -> set[str]:
    """Names of images that have a figure, or that the summary says should have one."""
    names = {path.stem.removeprefix(MAIN_PREFIX) for path in folder.glob(f"{MAIN_PREFIX}*.png")}
    with findings.fence(folder / SUMMARY_JSON, "invalid-summary"):
        try:
            data = ConfinedFolder(folder).read(SUMMARY_JSON)
        except FileNotFoundError:
            return names
        rows = json.loads(data)["images"]
        said = [row["name"] for row in rows if row["status"] == "succeeded"]
        if strange := [name for name in said if not _names_a_figure(name)]:
            raise ValueError(f"{strange[0]!r} names no figure")
        names |= set(said)
    return names


def _names_a_figure(name: object) -> bool:
    try:
        return isinstance(name, str) and len(parts_of(MAIN_PREFIX + name)) == 1
    except PathOutsideRoot:
        return False


def _figure(folder: ConfinedFolder, paths: PicturePaths, findings: _Findings) -> _Figure:
    """All that is to be seen of a figure; what cannot be seen becomes a finding."""
    main = paths.main()
    options: Mapping[str, Any] | None = None
    gain: float | None = None
    tissue: NDArray[np.bool_] | None = None
    with findings.fence(folder.path / main):
        data = folder.read(main)
        options = _options(read_png_text(data))
        inputs = _inputs(data)
        gain = _clahe_gain(inputs)
        tissue = stained_tissue(inputs["original"])
    if options is None:
        return _Figure(folder, paths)
    grids: list[tuple[int, int]] = []
    focused: list[tuple[Path, float]] = []
    blocky: list[tuple[Path, float]] = []
    for layer in _layers(options):
        path = paths.component(layer, "heatmap")
        with findings.fence(folder.path / path):
            heatmap = _heatmap(folder, path)
            if heatmap is None:
                continue
            grids.append(heatmap.grid)
            focused += _measured(path, _focus(heatmap, tissue))
            blocky += _measured(path, blockiness(heatmap.values, heatmap.grid))
    return _Figure(folder, paths, options, gain, frozenset(grids), tuple(focused), tuple(blocky))


def _measured(path: Path, value: float | None) -> list[tuple[Path, float]]:
    return [] if value is None else [(path, value)]


def _options(text: Mapping[str, str]) -> Mapping[str, Any]:
    """The options of a figure's recipe. Raises what damaged ones cause."""
    options: Mapping[str, Any] = json.loads(text[text_keys.RECIPE])["facts"]["options"]
    if not all(isinstance(layer, str) for layer in _layers(options)):
        raise TypeError("layers are no names")
    return options


def _layers(options: Mapping[str, Any]) -> list[str]:
    layers = options.get("layers", ("early", "mid", "late"))
    return [*layers, *(["fused"] if options.get("fused") else [])]


def _inputs(main: bytes) -> dict[str, RgbImage]:
    """The original and CLAHE images as a main figure shows them.

    Raises what damaged ones cause.
    """
    places = json.loads(read_png_text(main)[text_keys.PLACES])
    with Image.open(io.BytesIO(main)) as picture:
        panel = np.asarray(picture.convert("RGB"))
    shown = {}
    for name, (left, top, width, height) in places.items():
        shown[name] = panel[top : top + height, left : left + width]
        if min(left, top) < 0 or shown[name].shape[:2] != (height, width) or not shown[name].size:
            raise ValueError(f"{name} is not within the figure")
    return shown


def _heatmap(folder: ConfinedFolder, path: Path) -> _Heatmap | None:
    """A heatmap from its palette indices; None without evidence. Raises what damage causes."""
    data = folder.read(path)
    recipe = json.loads(read_png_text(data)[text_keys.RECIPE])
    with Image.open(io.BytesIO(data)) as picture:
        indices = np.asarray(picture, np.float32)
    height, width = (int(cells) for cells in recipe["grid"])
    if indices.ndim != 2 or min(height, width) < 1:
        raise ValueError("no map of a grid")
    return None if recipe["empty"] else _Heatmap(indices / 255.0, (height, width))


def _main_figures(figures: Sequence[_Figure], findings: _Findings) -> Check:
    files = [(figure, figure.paths.main()) for figure in figures]
    return _count_check("main figures there and whole", files, findings)


def _components(figures: Sequence[_Figure], findings: _Findings) -> Check:
    files = [
        (figure, figure.paths.component(layer, kind))
        for figure in figures
        for layer in figure.layers
        for kind in ("heatmap", "overlay")
    ]
    return _count_check("components complete", files, findings)


def _count_check(name: str, files: Sequence[tuple[_Figure, Path]], findings: _Findings) -> Check:
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


def _several_grids(figures: Sequence[_Figure]) -> Check:
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


def _clahe_visible(figures: Sequence[_Figure]) -> Check:
    name, limit = "CLAHE visible", f">= {LEAST_CLAHE_GAIN}"
    gains = [figure.clahe_gain for figure in figures if figure.clahe_gain is not None]
    if not gains:
        return Check(name, None, "CLAHE is off" if figures else NO_FIGURE, limit)
    median = float(np.median(gains))
    shown = f"local contrast x{median:.2f}, median of {len(gains)}"
    return Check(name, median >= LEAST_CLAHE_GAIN, shown, limit)


def _focused(figures: Sequence[_Figure]) -> Check:
    """The median, since a single map may well lie elsewhere; but a flat one is a defect."""
    name, limit = "heatmaps focused", f">= {LEAST_FOCUS}, none flat"
    measured = [one for figure in figures for one in figure.focus]
    if not measured:
        reason = "no map with positive evidence" if figures else NO_FIGURE
        return Check(name, None, reason, limit)
    median = float(np.median([value for _, value in measured]))
    flat = [path for path, value in measured if value == 1.0]
    shown = f"energy on stained tissue x{median:.2f} its area, median of {len(measured)}"
    shown += f"; flat: {flat[0].name}" if flat else ""
    return Check(name, median >= LEAST_FOCUS and not flat, shown, limit)


def _smooth(figures: Sequence[_Figure]) -> Check:
    """The worst map: a smooth one is hardly ever above 0."""
    name, limit = "heatmaps smooth", f"<= {MOST_BLOCKINESS}"
    measured = [one for figure in figures for one in figure.blockiness]
    if not measured:
        reason = "cells of less than 3 px, or no map with evidence" if figures else NO_FIGURE
        return Check(name, None, reason, limit)
    path, worst = max(measured, key=lambda one: one[1])
    shown = f"blockiness {worst:.2f} (bilinear 0, nearest 1), worst of {len(measured)}"
    passed = worst <= MOST_BLOCKINESS
    return Check(name, passed, shown if passed else f"{shown}: {path.name}", limit)


def _clahe_gain(shown: Mapping[str, RgbImage]) -> float | None:
    if "enhanced" not in shown:
        return None
    before = local_contrast(shown["original"])
    return local_contrast(shown["enhanced"]) / before if before > 0 else None


def _focus(heatmap: _Heatmap, tissue: NDArray[np.bool_] | None) -> float | None:
    """1 for a flat map; None where it cannot be told."""
    if tissue is None:
        return None
    there = focus(np.clip(resize_map(heatmap.values, tissue.shape), 0, 1), tissue)
    return 1.0 if there is not None and float(np.ptp(heatmap.values)) == 0.0 else there


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

"""Answers the guide's checklist by program, from the written files alone.

Each check gives a figure and the threshold it is held to; it does not apply where its question
has no sense (CLAHE off, a single grid).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from cam_engine.confined import ConfinedFolder
from cam_engine.console import wide_console
from cam_engine.errors import CamError, ExperimentNotFound
from cam_engine.outputs import COMPONENTS, MAIN_PREFIX, SUMMARY_JSON, PicturePaths
from cam_engine.pictures import PLACES
from cam_engine.png import is_whole_png, read_png_text
from cam_engine.provenance import text_in
from cam_engine.records import to_json
from cam_engine.rendering import resize_map
from cam_engine.results import FloatMap, RgbImage

# Thresholds. A uniform map has a focus of 1; CLAHE that does nothing a gain of 1. The share of
# gradient energy on cell borders is held between bilinear upsampling (0) and nearest (1).
LEAST_CLAHE_GAIN = 1.05
LEAST_GRIDS = 2
LEAST_FOCUS = 1.05
MOST_BLOCKINESS = 0.25

NO_FIGURE = "no figure to look at"

_LEAST_CELL_PX = 3  # with fewer, every pixel is on a cell's border


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist. passed: None where it does not apply; `figure` then says why."""

    name: str
    passed: bool | None
    figure: str
    threshold: str


@dataclass(frozen=True, slots=True)
class _Heatmap:
    path: Path
    values: FloatMap
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Figure:
    """One image's main figure and its recipe; `recipe` is None where it cannot be read.

    paths: below `folder`, the one that the figure lies in, where links are not followed.
    """

    folder: ConfinedFolder
    paths: PicturePaths
    recipe: dict[str, Any] | None

    def is_whole(self, path: Path) -> bool:
        """Whether a PNG of the figure is there, undamaged."""
        try:
            return is_whole_png(self.folder.read(path))
        except OSError:
            return False


def run_verify(arguments: argparse.Namespace) -> int:
    """The verify command. Answers 0, or 1 where a check fails."""
    folder = arguments.output_dir
    if not folder.is_dir():
        raise ExperimentNotFound(f"there is no folder {folder}; name a folder of figures")
    checks = verify(folder)
    if arguments.json:
        sys.stdout.write(to_json({"folder": str(folder), "checks": checks}, indent=2) + "\n")
    else:
        _print(folder, checks)
    return 1 if any(check.passed is False for check in checks) else 0


def verify(folder: Path) -> list[Check]:
    """The checklist over all figures below the folder."""
    figures = list(_figures(folder))
    readable = [figure for figure in figures if figure.recipe is not None]
    return [
        _main_figures(figures),
        _components(figures),
        _clahe_visible(readable),
        _several_grids(readable),
        _focused(readable),
        _smooth(readable),
    ]


def local_contrast(image: RgbImage) -> float:
    """Mean standard deviation of lightness (0..255) in 8 x 8 tiles of a (H, W, 3) image."""
    light = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    size = (max(1, image.shape[1] // 8), max(1, image.shape[0] // 8))
    mean = cv2.blur(light, size)
    variance = cv2.blur(light * light, size) - mean * mean
    return float(np.sqrt(np.maximum(variance, 0)).mean())


def stained_tissue(image: RgbImage) -> NDArray[np.bool_]:
    """Where a (H, W, 3) RGB image is stained: Otsu's threshold on what the red channel lacks.

    Giemsa's azure and blue, which parasites take up, absorb red; eosin in red cells hardly does.
    """
    absorbed = 255 - image[..., 0]
    _, mask = cv2.threshold(absorbed, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(mask, bool)


def focus(values: FloatMap, tissue: NDArray[np.bool_]) -> float | None:
    """Share of the map's energy on the tissue over the tissue's share of the area.

    1 for a uniform map; None where the map or the tissue is empty.
    """
    area, total = float(tissue.mean()), float(values.sum())
    if area == 0.0 or total == 0.0:
        return None
    return float(values[tissue].sum()) / total / area


def blockiness(values: FloatMap, grid: tuple[int, int]) -> float | None:
    """Share of gradient energy on the grid's cell borders: 0 as in bilinear, 1 as in nearest.

    The same map, averaged over its cells and upsampled in both ways, gives the scale. None where
    cells have fewer than 3 px, or the map is constant.
    """
    height, width = values.shape
    if min(height // grid[0], width // grid[1]) < _LEAST_CELL_PX:
        return None
    native = cv2.resize(values, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    bilinear = np.asarray(
        cv2.resize(native, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
    share, low = _border_share(values, grid), _border_share(bilinear, grid)
    if share is None or low is None or low >= 1.0:
        return None
    return max(0.0, (share - low) / (1.0 - low))


def _border_share(values: FloatMap, grid: tuple[int, int]) -> float | None:
    on_border = total = 0.0
    for axis, cells in enumerate(grid):
        steps = np.square(np.diff(values.astype(np.float64), axis=axis))
        side = values.shape[axis]
        borders = np.unique(np.round(np.arange(1, cells) * side / cells).astype(int)) - 1
        total += float(steps.sum())
        on_border += float(steps.take(borders, axis=axis).sum())
    return None if total <= 1e-9 else on_border / total  # rounding noise


def _figures(folder: Path) -> Iterator[_Figure]:
    for place in _picture_folders(folder):
        for name in sorted(_names_in(place)):
            within, paths = ConfinedFolder(place), PicturePaths(Path(), name)
            yield _Figure(within, paths, _recipe(within, paths.main()))


def _picture_folders(folder: Path) -> list[Path]:
    found = {path.parent for path in folder.rglob(f"{MAIN_PREFIX}*.png")}
    found |= {path.parent for path in folder.rglob(COMPONENTS) if path.is_dir()}
    return sorted(found)


def _names_in(folder: Path) -> set[str]:
    """Names of images that have a figure, or that the summary says should have one."""
    names = {path.stem.removeprefix(MAIN_PREFIX) for path in folder.glob(f"{MAIN_PREFIX}*.png")}
    try:
        rows = json.loads(ConfinedFolder(folder).read(SUMMARY_JSON))["images"]
        return names | {row["name"] for row in rows if row["status"] == "succeeded"}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return names


def _recipe(folder: ConfinedFolder, main: Path) -> dict[str, Any] | None:
    try:
        recipe = json.loads(text_in(folder, main)["Recipe"])
    except (CamError, KeyError, ValueError, RecursionError):
        return None
    return recipe if isinstance(recipe, dict) else None


def _options(figure: _Figure) -> dict[str, Any]:
    facts = (figure.recipe or {}).get("facts", {})
    options = facts.get("options", {}) if isinstance(facts, dict) else {}
    return options if isinstance(options, dict) else {}


def _layers(figure: _Figure) -> list[str]:
    """The layers that a figure should have components of; by default the documented three."""
    options = _options(figure)
    layers = options.get("layers", ("early", "mid", "late"))
    fused = ["fused"] if options.get("fused") else []
    return [*(str(layer) for layer in layers), *fused]


def _main_figures(figures: Sequence[_Figure]) -> Check:
    files = [(figure, figure.paths.main()) for figure in figures]
    return _count_check("main figures there and whole", files)


def _components(figures: Sequence[_Figure]) -> Check:
    files = [
        (figure, figure.paths.component(layer, kind))
        for figure in figures
        for layer in _layers(figure)
        for kind in ("heatmap", "overlay")
    ]
    return _count_check("components complete", files)


def _count_check(name: str, files: Sequence[tuple[_Figure, Path]]) -> Check:
    bad = [(figure, path) for figure, path in files if not figure.is_whole(path)]
    shown = f"{len(files) - len(bad)} of {len(files)}"
    if bad:
        figure, path = bad[0]
        reason = "damaged" if figure.folder.is_file(path) else "missing"
        shown += f"; {reason}: {path.name}" + (f" and {len(bad) - 1} more" if bad[1:] else "")
    return Check(name, bool(files) and not bad, shown, "all, at least 1")


def _several_grids(figures: Sequence[_Figure]) -> Check:
    name, threshold = "several resolutions", f">= {LEAST_GRIDS} grids"
    asked = max((len(_layers(figure)) for figure in figures), default=0)
    if asked < LEAST_GRIDS:
        reason = "a single layer was asked for" if figures else NO_FIGURE
        return Check(name, None, reason, threshold)
    grids = [{heatmap.grid for heatmap in _heatmaps(figure)} for figure in figures]
    fewest = min((len(one) for one in grids), default=0)
    shown = sorted(set().union(*grids), reverse=True)
    figure_text = ", ".join(f"{height}x{width}" for height, width in shown) or "none"
    return Check(name, fewest >= LEAST_GRIDS, figure_text, threshold)


def _clahe_visible(figures: Sequence[_Figure]) -> Check:
    name, limit = "CLAHE visible", f">= {LEAST_CLAHE_GAIN}"
    gains = [gain for figure in figures if (gain := _clahe_gain(figure)) is not None]
    if not gains:
        return Check(name, None, "CLAHE is off" if figures else NO_FIGURE, limit)
    median = float(np.median(gains))
    shown = f"local contrast x{median:.2f}, median of {len(gains)}"
    return Check(name, median >= LEAST_CLAHE_GAIN, shown, limit)


def _focused(figures: Sequence[_Figure]) -> Check:
    """The median, since a single map may well lie elsewhere; but a flat one is a defect."""
    name, limit = "heatmaps focused", f">= {LEAST_FOCUS}, none flat"
    measured = [one for figure in figures for one in _focus(figure)]
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
    measured = [one for figure in figures for one in _blockiness(figure)]
    if not measured:
        reason = "cells of less than 3 px, or no map with evidence" if figures else NO_FIGURE
        return Check(name, None, reason, limit)
    path, worst = max(measured, key=lambda one: one[1])
    shown = f"blockiness {worst:.2f} (bilinear 0, nearest 1), worst of {len(measured)}"
    passed = worst <= MOST_BLOCKINESS
    return Check(name, passed, shown if passed else f"{shown}: {path.name}", limit)


def _inputs(figure: _Figure) -> dict[str, RgbImage]:
    """The original and CLAHE images as the main figure shows them."""
    try:
        data = figure.folder.read(figure.paths.main())
        places = json.loads(read_png_text(data)[PLACES])
        with Image.open(io.BytesIO(data)) as picture:
            panel = np.asarray(picture.convert("RGB"))
    except (OSError, CamError, SyntaxError, ValueError, KeyError, RecursionError):
        return {}
    return {
        name: panel[top : top + height, left : left + width]
        for name, (left, top, width, height) in places.items()
    }


def _clahe_gain(figure: _Figure) -> float | None:
    shown = _inputs(figure)
    if "enhanced" not in shown:
        return None
    before = local_contrast(shown["original"])
    return local_contrast(shown["enhanced"]) / before if before > 0 else None


def _focus(figure: _Figure) -> Iterator[tuple[Path, float]]:
    shown = _inputs(figure)
    if not shown:
        return
    tissue = stained_tissue(shown["original"])
    for heatmap in _heatmaps(figure):
        flat = float(np.ptp(heatmap.values)) == 0.0
        there = focus(np.clip(resize_map(heatmap.values, tissue.shape), 0, 1), tissue)
        if there is not None:
            yield heatmap.path, 1.0 if flat else there


def _blockiness(figure: _Figure) -> Iterator[tuple[Path, float]]:
    for heatmap in _heatmaps(figure):
        there = blockiness(heatmap.values, heatmap.grid)
        if there is not None:
            yield heatmap.path, there


def _heatmaps(figure: _Figure) -> Iterator[_Heatmap]:
    """The figure's heatmaps with evidence, from their palette indices; unreadable ones left out."""
    for layer in _layers(figure):
        path = figure.paths.component(layer, "heatmap")
        try:
            data = figure.folder.read(path)
            recipe = json.loads(read_png_text(data)["Recipe"])
            with Image.open(io.BytesIO(data)) as picture:
                indices = np.asarray(picture, np.float32)
            grid = recipe["grid"][0], recipe["grid"][1]
            empty = recipe["empty"]
        except (OSError, CamError, SyntaxError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if not empty:
            yield _Heatmap(path, indices / 255.0, grid)


_WORDS = {True: "[green]ok[/green]", False: "[red]FAILED[/red]", None: "n/a"}


def _print(folder: Path, checks: Sequence[Check]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "", "figure", "held to"):
        table.add_column(column, no_wrap=True)
    for check in checks:
        table.add_row(check.name, _WORDS[check.passed], check.figure, check.threshold)
    console = wide_console()
    console.print(f"{folder}", markup=False)
    console.print(table)

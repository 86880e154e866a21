"""Figures as they stand in a folder: what each should have beside it, and what is to be seen."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_engine import text_keys
from cam_engine.commands.findings import Findings
from cam_engine.confined import ConfinedFolder, parts_of
from cam_engine.errors import PathOutsideRoot
from cam_engine.images.png import MAIN_PREFIX, read_png_text
from cam_engine.outputs.files import COMPONENTS, PicturePaths
from cam_engine.outputs.summaries import SUMMARY_JSON
from cam_engine.pictures.measures import blockiness, focus, local_contrast, stained_tissue
from cam_engine.pictures.rendering import resize_map
from cam_engine.results import FloatMap, RgbImage


@dataclass(frozen=True, slots=True)
class _Heatmap:
    values: FloatMap
    grid: tuple[int, int]


@dataclass(frozen=True, slots=True)
class WrittenFigure:
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


def written_figures(folder: Path, findings: Findings) -> Iterator[WrittenFigure]:
    """All below the folder, also those that a summary says should be there."""
    for place in _picture_folders(folder, findings):
        for name in sorted(_names_in(place, findings)):
            yield _figure(ConfinedFolder(place), PicturePaths(Path(), name), findings)


def _picture_folders(folder: Path, findings: Findings) -> list[Path]:
    holding = set()

    def unread(error: OSError) -> None:
        findings.add(Path(error.filename), "not-readable", f"{error.strerror}")

    for place, folders, files in os.walk(folder, onerror=unread):
        if COMPONENTS in folders or any(_is_main(name) for name in files):
            holding.add(Path(place))
    return sorted(holding)


def _is_main(name: str) -> bool:
    return name.startswith(MAIN_PREFIX) and name.endswith(".png")


def _names_in(folder: Path, findings: Findings) -> set[str]:
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


def _figure(folder: ConfinedFolder, paths: PicturePaths, findings: Findings) -> WrittenFigure:
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
        return WrittenFigure(folder, paths)
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
    return WrittenFigure(
        folder, paths, options, gain, frozenset(grids), tuple(focused), tuple(blocky)
    )


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

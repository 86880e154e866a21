"""Does the model look at what it should not: borders, background, a mark on one class's crops?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.images.stain import stained
from cam_engine.evidence.map_groups import group_maps
from cam_engine.evidence.resampling import Interval
from cam_engine.pictures.recipes import border_energy
from cam_engine.pictures.rendering import full_size_map
from cam_engine.reports.criteria import (
    Cell,
    Criterion,
    Picture,
    Section,
    Table,
    Verdict,
    make_table,
)
from cam_engine.reports.mosaics import Tile, mosaic, on
from cam_engine.reports.study import Indices, Study
from cam_engine.reports.words import counted, judged, listed, percent, percent_with
from cam_engine.results import FloatMap, RgbImage

UNIFORM_BORDER = 0.36  # what the outer tenth at each edge holds of a uniform map: 1 - 0.8 squared
SMALL, PURE = 0.05, 0.8  # a group of under 5 %, or of which over 80 % are of one class, is shown
_MANY = 0.05  # of all crops: from here on a group says something of its class
_MOST_TILES = 8

Values = NDArray[np.float64]


def measure_shortcuts(study: Study) -> Section:
    """Energy at the border and on background, by class and by error; groups of alike maps."""
    chosen = study.chosen(study.effort.map_crops)
    pixels = study.inputs(chosen)
    size = pixels[0].shape[:2]
    maps = [full_size_map(one, size) for one in study.own_maps]
    border = np.array([_or_nan(border_energy(one)) for one in maps])
    background = np.array([_on_background(i, m) for i, m in zip(pixels, maps, strict=True)])
    groups = group_maps(maps, study.seed)
    table, odd = _groups(study, chosen, groups, border)
    return Section(
        "shortcuts",
        "Shortcuts",
        (
            (
                f"Fused maps of {counted(len(chosen), 'crop')}. The outer tenth at each edge holds "
                f"{percent(UNIFORM_BORDER)} of a uniform map. Groups: maps alike, by spectral "
                "clustering; a group of one class whose energy lies at the border is the sign of a "
                "mark, a stamp or a neighbour by which that class is told."
            ),
        ),
        (_border(study, chosen, border), _marked(study, odd, border, groups, chosen)),
        (_by_class(study, chosen, border, background), table),
        tuple(_mosaics(study, chosen, pixels, maps, groups)),
    )


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _on_background(image: RgbImage, values: FloatMap) -> float:
    """Share of the map's energy off the stain; NaN where none stands out, or of an empty map."""
    mask, total = stained(image), float(values.sum())
    return np.nan if mask is None or total <= 0 else float(values[~mask].sum()) / total


def _border(study: Study, chosen: Indices, border: Values) -> Criterion:
    found = study.bootstrap(chosen).mean_where_known(border)
    if not np.isfinite(found.value):
        return Criterion("shortcuts.border", "cannot_tell", "All maps are empty.")
    verdict: Verdict = "fail" if found.low > UNIFORM_BORDER else "pass"
    return judged(
        "shortcuts.border",
        verdict,
        f"The outer tenth holds {percent_with(found)} of the fused map's energy; of a uniform map "
        f"it holds {percent(UNIFORM_BORDER)}.",
        found,
        n=study.units(chosen),
        threshold=UNIFORM_BORDER,
    )


def _groups(
    study: Study, chosen: Indices, groups: NDArray[np.int64], border: Values
) -> tuple[Table, list[int]]:
    """The table of groups, and the groups of one class that look at the border."""
    names = study.class_names
    rows: list[tuple[Cell, ...]] = []
    odd: list[int] = []
    labels = study.labels[chosen]
    per_class = np.bincount(labels, minlength=len(names))
    for group in np.unique(groups):
        among = groups == group
        counts = np.bincount(labels[among], minlength=len(names))
        largest = int(counts.argmax())
        pure = counts[largest] / counts.sum()
        at_border = float(np.nanmean(border[among])) if group >= 0 else np.nan
        rows.append(
            (
                "empty maps" if group < 0 else f"{group + 1}",
                int(among.sum()),
                float(among.mean()),
                names[largest],
                float(pure),
                float(counts[largest] / per_class[largest]),
                at_border,
                float(study.right[chosen][among].mean()),
            )
        )
        if group >= 0 and pure > PURE and among.mean() >= _MANY and at_border > UNIFORM_BORDER:
            odd.append(int(group))
    table = make_table(
        "shortcuts.groups",
        "Groups of alike maps",
        "group, crops:count, share of crops:share, largest class:text, of that class:share, "
        "share of that class:share, energy at border:share, right:share",
        rows,
    )
    return table, odd


def _marked(
    study: Study, odd: Sequence[int], border: Values, groups: NDArray[np.int64], chosen: Indices
) -> Criterion:
    id_, count = "shortcuts.groups", study.units(chosen)
    if not (groups >= 0).any():
        return Criterion(id_, "cannot_tell", "All maps are empty.")
    if len(np.unique(study.labels[chosen])) < 2:
        return Criterion(id_, "cannot_tell", "These crops are of one class.", n=count)
    if not study.enough(chosen):
        said = f"{counted(count, 'independent unit')} are too few for groups of maps."
        return Criterion(id_, "cannot_tell", said, n=count)
    if not odd:
        return Criterion(
            id_,
            "pass",
            "No group of alike maps is of one class and looks at the border.",
            n=count,
        )
    energy = float(np.nanmean(border[np.isin(groups, odd)]))
    named = listed([f"group {group + 1}" for group in odd])
    return Criterion(
        id_,
        "fail",
        f"Maps of one class look alike and at the border ({named}, {percent(energy)} of their "
        "energy there): look at the pictures for a mark by which the class is told.",
        energy,
        Interval(energy, np.nan, np.nan),
        count,
        UNIFORM_BORDER,
    )


def _by_class(study: Study, chosen: Indices, border: Values, background: Values) -> Table:
    def row(name: str, among: NDArray[np.bool_]) -> tuple[Cell, ...]:
        figures = (border[among], background[among])
        means = (float(np.nanmean(f)) if np.isfinite(f).any() else None for f in figures)
        return (name, int(among.sum()), *means)

    labels, right = study.labels[chosen], study.right[chosen]
    rows = [row(name, labels == at) for at, name in enumerate(study.class_names)]
    rows += [row("right answers", right), row("wrong answers", ~right)]
    return make_table(
        "shortcuts.energy",
        "Where the fused map's energy lies",
        "crops, number:count, at the border:share, off the stain:share",
        [row for row in rows if row[1]],
        "Off the stain: outside of what is stained in the middle, where that can be told.",
    )


def _mosaics(
    study: Study,
    chosen: Indices,
    pixels: Sequence[RgbImage],
    maps: Sequence[FloatMap],
    groups: NDArray[np.int64],
) -> Iterator[Picture]:
    labels = study.labels[chosen]
    for group in np.unique(groups[groups >= 0]):
        among = np.flatnonzero(groups == group)
        counts = np.bincount(labels[among], minlength=len(study.class_names))
        largest, pure = int(counts.argmax()), counts.max() / counts.sum()
        if len(among) / len(groups) >= SMALL and pure <= PURE:
            continue
        drawn = np.random.default_rng(study.seed).permutation(among)[:_MOST_TILES]
        tiles = [
            Tile(
                on(pixels[at], maps[at]),
                (study.crops[chosen[at]].name, study.class_names[labels[at]]),
            )
            for at in np.sort(drawn)
        ]
        yield mosaic(
            f"shortcuts.group_{group + 1}",
            f"Group {group + 1}: {counted(len(among), 'map')}, {percent(pure)} of "
            f"{study.class_names[largest]}; {len(tiles)} drawn at random.",
            tiles,
        )

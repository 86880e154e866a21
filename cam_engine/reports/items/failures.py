"""What went wrong, and a fair sample of what went right: figures that nobody picked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from cam_engine.pictures.rendering import full_size_map, heatmap
from cam_engine.reports.criteria import Cell, Picture, Section, make_table
from cam_engine.reports.mosaics import SIDE, Tile, mosaic, on
from cam_engine.reports.study import Indices, Study, shown
from cam_engine.reports.words import counted, percent
from cam_engine.results import FloatMap, RgbImage

_SIZE = (64, 64)


def show_failures(study: Study) -> Section:
    """Errors with their maps, right answers drawn by the seed, and mean maps."""
    wrong = np.flatnonzero(~study.right)
    sure = wrong[np.argsort(-study.probabilities.max(1)[wrong], kind="stable")]
    errors = sure[: study.effort.figures]
    sample = study.chosen(study.effort.figures // 2, study.right)
    pictures: list[Picture] = []
    said = f"{counted(len(wrong), 'error')}; the surest of them first."
    if len(errors) < len(wrong):
        said += f" {len(errors)} are shown; all are in the table."
    for id_, caption, indices in (
        (
            "failures.errors",
            f"{said} Each: crop, map for the named class, map for the true one.",
            errors,
        ),
        (
            "failures.sample",
            (
                f"{counted(len(sample), 'right answer')}, drawn at random (seed {study.seed}), not "
                "picked. Each: crop, map for the named class, map for the runner-up."
            ),
            sample,
        ),
    ):
        if len(indices):
            others = study.labels if id_ == "failures.errors" else study.runner_up
            pictures.append(mosaic(id_, caption, list(_tiles(study, indices, others)), 6))
    pictures += list(_mean_maps(study))
    names, top = study.class_names, study.probabilities.max(1)
    rows: list[tuple[Cell, ...]] = [
        (study.crops[i].name, names[study.labels[i]], names[study.predicted[i]], float(top[i]))
        for i in sure
    ]
    return Section(
        "failures",
        "Failure analysis",
        (
            (
                f"{counted(len(wrong), 'error')} among {counted(len(study.crops), 'crop')} "
                f"({percent(len(wrong) / len(study.crops))})."
            ),
        ),
        (),
        (
            make_table(
                "failures.errors",
                "All errors",
                "crop, true class, named, probability:share",
                rows,
            ),
        ),
        tuple(pictures),
    )


def _tiles(study: Study, indices: Indices, others: np.ndarray) -> Iterator[Tile]:
    pixels = study.inputs(indices)
    size = pixels[0].shape[:2]
    names = study.class_names
    for at, image, own, other in zip(
        indices,
        pixels,
        study.explain(pixels, None, study.predicted[indices]),
        study.explain(pixels, None, others[indices]),
        strict=True,
    ):
        yield Tile(image, (study.crops[at].name, f"true: {names[study.labels[at]]}"))
        wrong = study.predicted[at] != study.labels[at]
        yield Tile(
            on(image, shown(own, size)),
            (f"named: {names[study.predicted[at]]}", percent(own.predicted.probability)),
            frozenset({0} if wrong else ()),
        )
        yield Tile(on(image, shown(other, size)), ("map for", names[others[at]]))


def _mean_maps(study: Study) -> Iterator[Picture]:
    """Of each class, and of each kind of error, over the crops that are measured."""
    chosen = study.chosen(study.effort.map_crops)
    maps = [full_size_map(one, _SIZE) for one in study.own_maps]
    names, labels, named = study.class_names, study.labels[chosen], study.predicted[chosen]
    tiles = []
    for true in range(len(names)):
        for said in range(len(names)):
            among = np.flatnonzero((labels == true) & (named == said))
            if len(among):
                tiles.append(
                    Tile(
                        _mean([maps[at] for at in among]),
                        (f"true: {names[true]}", f"named: {names[said]}", f"{len(among)} maps"),
                        frozenset({1} if true != said else ()),
                    )
                )
    yield mosaic(
        "failures.mean_maps",
        "Mean fused map by true class and named class.",
        tiles,
    )


def _mean(maps: Sequence[FloatMap]) -> RgbImage:
    mean = np.mean(maps, axis=0, dtype=np.float32)
    drawn = heatmap(np.asarray(mean, np.float32), "inferno")
    return np.asarray(cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)

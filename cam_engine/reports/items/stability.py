"""Do map and answer hold when a crop is treated as laboratories treat crops?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.agreement import rank_correlation
from cam_engine.evidence.images.disturbances import DISTURBANCES
from cam_engine.evidence.resampling import Interval
from cam_engine.reports.criteria import Cell, Criterion, Section, make_table
from cam_engine.reports.study import Study, shown
from cam_engine.reports.words import above, counted, figure_with, judged, percent
from cam_engine.results import FloatMap

LEAST = 0.7  # rank correlation: about half of the order's variance
Values = NDArray[np.float64]


def measure_stability(study: Study) -> Section:
    """Rank correlation of the map with that of the undisturbed crop, and changed answers."""
    chosen = study.chosen(study.effort.disturbed_crops)
    images = list(study.images(chosen))
    pixels = [study.network_image(image) for image in images]
    size = pixels[0].shape[:2]
    targets = study.predicted[chosen]
    own = [shown(one, size) for one in study.explain(pixels, None, targets)]
    bootstrap = study.bootstrap(chosen)
    rows: list[tuple[Cell, ...]] = []
    every: list[Values] = []
    answers: list[float] = []
    for name, disturbance in DISTURBANCES.items():
        changed = [study.network_image(disturbance.change(image)) for image in images]
        found = study.explain(changed, None, targets)
        values = np.array(
            [
                _alike(
                    one, *disturbance.undone(shown(other, size), (image.shape[0], image.shape[1]))
                )
                for one, other, image in zip(own, found, images, strict=True)
            ]
        )
        every.append(values)
        mean = bootstrap.mean_where_known(values)
        moved = np.mean(
            [f.predicted.index != target for f, target in zip(found, targets, strict=True)]
        )
        answers.append(float(moved))
        rows.append((name, mean.value, mean.low, mean.high, float(moved)))
    means = [bootstrap.mean_where_known(values) for values in every]
    # Where no map was there before, all are NaN, and any of them says so.
    worst = int(np.argmin([mean.value if np.isfinite(mean.value) else np.inf for mean in means]))
    return Section(
        "stability",
        "Stability",
        (
            (
                f"{counted(len(chosen), 'crop')}, each changed as laboratories and their software "
                "change crops; shifts and turns are undone before maps are compared. The map is "
                "that for the class named before."
            ),
        ),
        (_criterion(means[worst], str(rows[worst][0]), max(answers), bootstrap.clusters),),
        (
            make_table(
                "stability.changes",
                "Maps and answers under small changes",
                "change, rank correlation:number, low:number, high:number, changed answers:share",
                rows,
                "A map that is gone after the change has 0; a crop without one before has none.",
            ),
        ),
    )


def _alike(own: FloatMap, other: FloatMap, sight: NDArray[np.bool_]) -> float:
    """Spearman's rho; 0 where the map is gone after the change, NaN where none was before."""
    before, after = own[sight], other[sight]
    if np.ptp(before) == 0:
        return np.nan
    rho = rank_correlation(before, after)
    return 0.0 if rho is None else rho


def _criterion(found: Interval, name: str, changed: float, n: int) -> Criterion:
    return judged(
        "stability.maps",
        above(found, LEAST),
        f"The fused map changes most by “{name}”: its rank correlation with the "
        f"map before is {figure_with(found)}; asked is {LEAST}. At most {percent(changed)} of the "
        "answers change.",
        found,
        n=n,
        threshold=LEAST,
    )

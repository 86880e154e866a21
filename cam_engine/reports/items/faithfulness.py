"""Does the model's answer follow the map, and better than controls?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.controls import blurred_copy, centred_gaussian, edges, random_smooth
from cam_engine.evidence.faithfulness import blurred, deletion, insertion, mean_coloured
from cam_engine.evidence.images.imputation import highest, imputed
from cam_engine.evidence.resampling import ClusterBootstrap, Interval
from cam_engine.pictures.rendering import full_size_map
from cam_engine.reports import plots
from cam_engine.reports.criteria import Cell, Criterion, Section, make_table
from cam_engine.reports.study import Study, margins_of
from cam_engine.reports.words import above, counted, figure_with, if_informed, judged
from cam_engine.results import FloatMap, RgbImage

CONTROLS = (
    "control: random blobs",
    "control: centred Gaussian",
    "control: blurred copy of the fused map",
    "control: Sobel edges",
)
_THREADS = 2
_MEASURES = ("insertion - deletion", "by margin", "insertion", "deletion", "ROAD")
Values = NDArray[np.float64]
Score = Callable[[Sequence[RgbImage]], Values]


def measure_faithfulness(study: Study) -> Section:
    """Insertion, deletion and ROAD of each kind of map and of the controls, on the same crops."""
    chosen = study.chosen(study.effort.followed_crops, study.right)
    if not len(chosen):
        said = "The model names none of the crops correctly."
        criterion = Criterion("faithfulness.answer", "cannot_tell", said)
        return Section("faithfulness", "Faithfulness", (), (criterion,))
    pixels = study.inputs(chosen)
    maps = _maps(study, chosen, pixels)

    def followed(task: tuple[int, FloatMap]) -> tuple[float, ...]:
        at, values = task
        target = int(study.predicted[chosen[at]])
        return _followed(study, values, pixels[at], target, study.seed + at)

    # What is imputed is solved on one core while the network looks at another crop.
    with ThreadPoolExecutor(_THREADS) as pool:
        rows = {
            name: np.array(list(pool.map(followed, enumerate(made)))) for name, made in maps.items()
        }
    bootstrap = study.bootstrap(chosen)
    return Section(
        "faithfulness",
        "Faithfulness",
        (
            (
                f"Over {counted(len(chosen), 'crop')} that the model names correctly. Insertion "
                "puts the highest pixels first into a blurred image; deletion takes them away, "
                "half of it to the mean colour, half to a blurred image. ROAD imputes what is "
                "taken from its neighbours: probability with the lowest pixels gone less that "
                "with the highest gone. Equal pixels go together."
            ),
            (
                "Random blobs, a centred Gaussian and Sobel's edges know nothing of the network. A "
                "blurred copy of the fused map stands beside them, since some measures reward "
                "blur alone: a map should beat that too."
            ),
        ),
        tuple(
            if_informed(_leads(id_, rows, column, bootstrap, what), informed=study.informed)
            for id_, column, what in (
                ("faithfulness.insertion_deletion", 0, "insertion less deletion"),
                ("faithfulness.road", 4, "ROAD"),
            )
        ),
        (
            make_table(
                "faithfulness.scores",
                "The answer along the map",
                "map, "
                + ", ".join(f"{m}:number, {m} low:number, {m} high:number" for m in _MEASURES),
                [(name, *_cells(values, bootstrap)) for name, values in rows.items()],
                "Areas by the probability of the named class, or by its margin (log-odds) over the "
                "others; 95% bootstrap intervals.",
            ),
        ),
        (
            plots.bars(
                "faithfulness.plot",
                "Insertion less deletion by the probability, with 95% intervals.",
                [(name, *_triple(values[:, 0], bootstrap)) for name, values in rows.items()],
                "insertion - deletion",
            ),
        ),
    )


def _maps(
    study: Study, chosen: NDArray[np.intp], pixels: Sequence[RgbImage]
) -> Mapping[str, list[FloatMap]]:
    size = pixels[0].shape[:2]
    made = {
        name: [full_size_map(layer, size) for layer in maps]
        for name, maps in study.of_kinds(pixels, study.predicted[chosen]).items()
    }
    rng = np.random.default_rng(study.seed)
    controls = (
        [random_smooth(size, rng) for _ in pixels],
        [centred_gaussian(size) for _ in pixels],
        [blurred_copy(one) for one in made["fused"]],
        [edges(image) for image in pixels],
    )
    return {**made, **dict(zip(CONTROLS, controls, strict=True))}


def _followed(
    study: Study, values: FloatMap, image: RgbImage, target: int, seed: int
) -> tuple[float, ...]:
    """(insertion - deletion, the same by margin, insertion, deletion, ROAD)."""
    answers: list[Values] = []

    def score(images: Sequence[RgbImage]) -> Values:
        answers.append(np.array(study.explainer.probabilities(images)))
        return np.asarray(answers[-1][:, target], np.float64)

    blur, mean = blurred(image), mean_coloured(image)
    steps = study.effort.steps
    into = insertion(values, image, blur, score, steps)
    out = [deletion(values, image, base, score, steps) for base in (mean, blur)]
    margins = [margins_of(answer, np.full(len(answer), target)) for answer in answers]
    by_margin = [
        float(np.trapezoid(margin, curve.shares))
        for margin, curve in zip(margins, (into, *out), strict=True)
    ]
    deleted = float(np.mean([curve.area for curve in out]))
    return (
        into.area - deleted,
        by_margin[0] - float(np.mean(by_margin[1:])),
        into.area,
        deleted,
        _road(study, values, image, target, seed),
    )


def _road(study: Study, values: FloatMap, image: RgbImage, target: int, seed: int) -> float:
    """Mean over the shares of the probability, lowest first less highest first."""
    shares = study.effort.imputed_shares
    scaled = image.astype(np.float64) / 255
    areas = []
    for order in (-values, values):
        gone = highest(order, shares)
        rng = np.random.default_rng(seed)
        images = [(255 * imputed(scaled, one, rng)).round().astype(np.uint8) for one in gone]
        scores = np.array(study.explainer.probabilities([image, *images]))[:, target]
        really = np.array([0.0, *(one.mean() for one in gone)])
        areas.append(_area(really, scores))
    return areas[0] - areas[1]


def _area(shares: Values, scores: Values) -> float:
    """Mean height of the curve over the shares that were really changed."""
    return float(np.trapezoid(scores, shares) / (shares[-1] - shares[0]))


def _leads(
    id_: str, rows: Mapping[str, Values], column: int, bootstrap: ClusterBootstrap, what: str
) -> Criterion:
    own = rows["fused"][:, column]
    best = max(CONTROLS, key=lambda name: float(rows[name][:, column].mean()))
    lead = bootstrap.mean(own - rows[best][:, column])
    return judged(
        id_,
        above(lead, 0.0),
        f"The fused map's {what} is {own.mean():.2f}; the best control "
        f"({best.removeprefix('control: ')}) has {rows[best][:, column].mean():.2f}: a lead of "
        f"{figure_with(lead)}.",
        lead,
        n=bootstrap.clusters,
        threshold=0.0,
    )


def _cells(values: Values, bootstrap: ClusterBootstrap) -> list[Cell]:
    cells: list[Cell] = []
    for column in values.T:
        cells += _triple(column, bootstrap)
    return cells


def _triple(values: Values, bootstrap: ClusterBootstrap) -> tuple[float, float, float]:
    found: Interval = bootstrap.mean(values)
    return found.value, found.low, found.high

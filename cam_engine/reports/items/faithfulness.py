"""Does the model's answer follow the map, and better than controls?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.controls import blurred_copy, centred_gaussian, edges, random_smooth
from cam_engine.evidence.faithfulness import (
    States,
    blurred,
    deleted,
    inserted,
    mean_coloured,
)
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
_MEASURES = ("insertion - deletion", "by margin", "insertion", "deletion", "ROAD")
Values = NDArray[np.float64]


def measure_faithfulness(study: Study) -> Section:
    """Insertion, deletion and ROAD of each kind of map and of the controls, on the same crops."""
    chosen = study.chosen(study.effort.followed_crops, study.right)
    if not len(chosen):
        said = "The model names none of the crops correctly."
        criterion = Criterion("faithfulness.answer", "cannot_tell", said)
        return Section("faithfulness", "Faithfulness", (), (criterion,))
    pixels = study.inputs(chosen)
    maps = _maps(study, chosen, pixels)

    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in maps}
    for at, walks in enumerate(_prepared(study, maps, pixels)):
        target = int(study.predicted[chosen[at]])
        for name, figures in walks.figures(study, target).items():
            found[name].append(figures)
    rows = {name: np.array(figures) for name, figures in found.items()}
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


class _Images:
    """Images that one crop becomes, each of them once however often it is asked for."""

    def __init__(self) -> None:
        self.all: list[RgbImage] = []
        self._places: dict[bytes, int] = {}

    def add(self, images: Sequence[RgbImage]) -> list[int]:
        """Where each one's answer will stand."""
        places = []
        for image in images:
            place = self._places.setdefault(image.tobytes(), len(self.all))
            if place == len(self.all):
                self.all.append(image)
            places.append(place)
        return places


@dataclass(frozen=True, slots=True)
class _Walk:
    """Along one order of the pixels: shares of what is changed, and the places of the images."""

    shares: Values
    places: list[int]

    def area(self, scores: Values) -> float:
        """Mean height of the curve over the shares that were really changed."""
        shares = self.shares
        return float(np.trapezoid(scores[self.places], shares) / (shares[-1] - shares[0]))


class _Walks:
    """One crop along all maps: what the network is asked, and what its answers mean."""

    def __init__(
        self, study: Study, maps: Mapping[str, FloatMap], image: RgbImage, seed: int
    ) -> None:
        self._images = _Images()
        blur, mean = blurred(image), mean_coloured(image)
        steps, shares = study.effort.steps, study.effort.imputed_shares
        self._walks = {
            name: tuple(
                self._walk(states.shares, states.images)
                for states in (
                    inserted(values, image, blur, steps),
                    *(deleted(values, image, base, steps) for base in (mean, blur)),
                    # ROAD: the lowest pixels first, and the highest.
                    *(_imputed(order, image, shares, seed) for order in (-values, values)),
                )
            )
            for name, values in maps.items()
        }

    def _walk(self, shares: Values, images: Sequence[RgbImage]) -> _Walk:
        return _Walk(shares, self._images.add(images))

    def figures(self, study: Study, target: int) -> dict[str, tuple[float, ...]]:
        """By map: (insertion - deletion, the same by margin, insertion, deletion, ROAD)."""
        answers = np.array(study.explainer.probabilities(self._images.all))
        scores = np.asarray(answers[:, target], np.float64)
        margins = margins_of(answers, np.full(len(answers), target))
        figures: dict[str, tuple[float, ...]] = {}
        for name, (into, *out, low, high) in self._walks.items():
            inserting, deleting = into.area(scores), _mean(one.area(scores) for one in out)
            by_margin = into.area(margins) - _mean(one.area(margins) for one in out)
            road = low.area(scores) - high.area(scores)
            figures[name] = (inserting - deleting, by_margin, inserting, deleting, road)
        return figures


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _prepared(
    study: Study, maps: Mapping[str, Sequence[FloatMap]], pixels: Sequence[RgbImage]
) -> Iterator[_Walks]:
    """One crop after the other; the next is prepared while the network looks at this one."""

    def prepare(at: int) -> _Walks:
        own = {name: made[at] for name, made in maps.items()}
        return _Walks(study, own, pixels[at], study.seed + at)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(prepare, 0)
        for at in range(1, len(pixels)):
            ready, coming = coming.result(), pool.submit(prepare, at)
            yield ready
        yield coming.result()


def _imputed(order: FloatMap, image: RgbImage, shares: Sequence[float], seed: int) -> States:
    """Images whose highest pixels of the order are imputed."""
    scaled = image.astype(np.float64) / 255
    rng = np.random.default_rng(seed)
    gone = highest(order, shares)
    images = ((255 * imputed(scaled, one, rng)).round().astype(np.uint8) for one in gone)
    return States(np.array([0.0, *(one.mean() for one in gone)]), (image, *images))


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

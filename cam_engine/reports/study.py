"""One model over the labelled crops of a split: what all measures of it are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cam_engine.class_names import class_index
from cam_engine.evidence.classification import performance
from cam_engine.evidence.images.imputation import SHARES
from cam_engine.evidence.randomisation import STEPS
from cam_engine.evidence.resampling import FEWEST_CLUSTERS, ClusterBootstrap
from cam_engine.images.preparing import enhance, read_image, resize_for_network
from cam_engine.maps.explainer import Explainer, NetworkInput
from cam_engine.options import CamOptions
from cam_engine.pictures.rendering import full_size_map
from cam_engine.reports.crops import Crop
from cam_engine.results import Explanation, FloatMap, LayerMap, RgbImage

Indices = NDArray[np.intp]
Values = NDArray[np.float64]

_AT_ONCE = 64  # crops in memory


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is computed of each model: kinds of maps, numbers of crops, steps, repetitions."""

    kinds: tuple[str, ...] = ("fused", "Grad-CAM++ late")
    map_crops: int = 40
    located_crops: int = 80
    followed_crops: int = 24
    steps: int = 3
    imputed_shares: tuple[float, ...] = (0.2,)
    random_seeds: int = 3
    random_crops: int = 24
    random_shares: tuple[float, ...] = (0.0, 1.0)
    pairs: int = 50
    disturbed_crops: int = 24
    figures: int = 24


QUICK = Effort()
THOROUGH = Effort(
    kinds=("fused", "Grad-CAM++ late", "Grad-CAM late"),
    map_crops=1000,
    located_crops=1000,
    followed_crops=96,
    steps=28,
    imputed_shares=SHARES,
    random_seeds=5,
    random_crops=48,
    random_shares=STEPS,
    pairs=200,
    disturbed_crops=200,
    figures=96,
)
FUSED = CamOptions(layers=(), fused=True)
# The maps that are measured: what the product shows, and what most papers show.
KINDS: dict[str, CamOptions] = {
    "fused": FUSED,
    "Grad-CAM++ late": CamOptions(layers=("late",)),
    "Grad-CAM late": CamOptions(method="gradcam", layers=("late",)),
}


@dataclass(frozen=True)
class Study:
    """A model and the crops of one split whose folders name one of its classes.

    name: of the model. clusters: of each crop, its independent unit; crops of one unit are
    resampled together. leaked: of each crop, whether its cell is in another split too. options: of
    the map that is judged, the fused one, and of how images are read.
    """

    name: str
    explainer: Explainer
    crops: tuple[Crop, ...]
    clusters: tuple[str, ...]
    leaked: tuple[bool, ...]
    options: CamOptions = FUSED
    seed: int = 0
    effort: Effort = QUICK

    @property
    def clahe(self) -> bool:
        """Whether the network sees crops with CLAHE, as figures do."""
        return self.options.clahe

    @property
    def kinds(self) -> dict[str, CamOptions]:
        """The maps that are measured, by name, with the options of the study."""
        made = {
            name: replace(self.options, method=kind.method, layers=kind.layers, fused=kind.fused)
            for name, kind in KINDS.items()
            if name in self.effort.kinds
        }
        return {name: replace(kind, clahe=False) for name, kind in made.items()}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classifier's own, by index."""
        return tuple(self.explainer.classifier.class_names)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) index of each crop's class."""
        found = [class_index(crop.label, self.class_names) for crop in self.crops]
        return np.array([-1 if index is None else index for index in found], np.int64)

    @cached_property
    def probabilities(self) -> Values:
        """(n, classes) softmax, of the crops as they are explained."""
        return self.probabilities_by(self.explainer)

    def joined(self, other: Study) -> Study:
        """The same model over the crops of both; they are not classified again."""
        made = replace(
            self,
            crops=self.crops + other.crops,
            clusters=self.clusters + other.clusters,
            leaked=self.leaked + other.leaked,
        )
        vars(made)["probabilities"] = np.concatenate([self.probabilities, other.probabilities])
        return made

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) index of the class that the model names."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    @property
    def runner_up(self) -> NDArray[np.int64]:
        """(n,) index of the class of the second highest probability."""
        return np.asarray(np.argsort(-self.probabilities, 1, kind="stable")[:, 1], np.int64)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) whether the model names the crop's class."""
        return np.asarray(self.predicted == self.labels, np.bool_)

    @cached_property
    def informed(self) -> bool:
        """Whether the model tells classes apart at all, by its interval.

        That is: recall averaged over the classes is above what always naming one class has.
        """
        found = performance(self.probabilities, self.labels, self.bootstrap())
        return bool(found.balanced_accuracy.low > 1 / (found.cases > 0).sum())

    def bootstrap(self, indices: Sequence[int] | Indices | None = None) -> ClusterBootstrap:
        """Resamples over the independent units of some crops, or of all."""
        chosen = range(len(self.crops)) if indices is None else indices
        return ClusterBootstrap([self.clusters[index] for index in chosen], seed=self.seed)

    def units(self, indices: Sequence[int] | Indices | None = None) -> int:
        """How many independent units there are among some crops, or among all."""
        chosen = range(len(self.crops)) if indices is None else indices
        return len({self.clusters[index] for index in chosen})

    def enough(self, indices: Sequence[int] | Indices | None = None) -> bool:
        """Whether there are as many independent units as an interval needs."""
        return self.units(indices) >= FEWEST_CLUSTERS

    def chosen(self, count: int, among: NDArray[np.bool_] | None = None) -> Indices:
        """At most so many crops, drawn by the seed, in their order; among: (n,) of which."""
        allowed = np.arange(len(self.crops)) if among is None else np.flatnonzero(among)
        drawn = np.random.default_rng(self.seed).permutation(allowed)[:count]
        return np.sort(drawn)

    def images(self, indices: Sequence[int] | Indices) -> Iterator[RgbImage]:
        """Crops as they are in their files, one after the other."""
        for index in indices:
            yield read_image(self.crops[index].file, options=self.options.decoding)

    def network_image(self, image: RgbImage) -> RgbImage:
        """An image as the network gets it: with CLAHE or without, at its input size."""
        seen = enhance(image) if self.clahe else image
        return resize_for_network(seen, self.explainer.classifier.preprocessing)

    def inputs(self, indices: Sequence[int] | Indices) -> list[RgbImage]:
        """(h, w, 3) uint8 of crops at the network's input size."""
        return [self.network_image(image) for image in self.images(indices)]

    def probabilities_by(
        self, explainer: Explainer, *, clahe: bool | None = None, swapped: bool = False
    ) -> Values:
        """(n, classes) of all crops by another explainer, or of changed pixels.

        swapped: with red and blue exchanged.
        """
        with_clahe = self.clahe if clahe is None else clahe
        preprocessing = explainer.classifier.preprocessing
        answers: list[Values] = []
        for start in range(0, len(self.crops), _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, len(self.crops)))
            seen = (enhance(image) if with_clahe else image for image in self.images(part))
            pixels = [resize_for_network(image, preprocessing) for image in seen]
            if swapped:
                pixels = [np.ascontiguousarray(image[..., ::-1]) for image in pixels]
            answers += explainer.probabilities(pixels)
        return np.array(answers).reshape(len(self.crops), len(self.class_names))

    @cached_property
    def own_maps(self) -> list[LayerMap]:
        """The judged maps of `chosen(effort.map_crops)`, for the class that each is named."""
        chosen = self.chosen(self.effort.map_crops)
        found = self.explain(self.inputs(chosen), None, self.predicted[chosen])
        return [only_layer(one) for one in found]

    def of_kinds(
        self,
        pixels: Sequence[RgbImage],
        targets: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> dict[str, list[LayerMap]]:
        """The maps of each kind, by name; the fused ones come with another kind's pass."""
        fused = [name for name, kind in self.kinds.items() if not kind.layers]
        others = [name for name in self.kinds if name not in fused]
        made: dict[str, list[LayerMap]] = {}
        for at, name in enumerate(others or fused[:1]):
            kind = self.kinds[name]
            with_fused = kind.fused or (at == 0 and bool(fused))
            found = self.explain(pixels, replace(kind, fused=with_fused), targets)
            made[name] = [one.layers[0] for one in found]
            if at == 0:
                made.update({each: [one.layers[-1] for one in found] for each in fused})
        return {name: made[name] for name in self.kinds}

    def explain(
        self,
        pixels: Sequence[RgbImage],
        options: CamOptions | None = None,
        targets: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> list[Explanation]:
        """Maps of network inputs; targets: a class for each, else the predicted one."""
        # The pixels have been through CLAHE.
        wanted = replace(options or self.options, clahe=False, target=None)
        inputs = [NetworkInput(image) for image in pixels]
        chosen = None if targets is None else [int(target) for target in targets]
        return self.explainer.explain_inputs(inputs, wanted, chosen)


def margins_of(probabilities: Values, classes: NDArray[np.intp]) -> Values:
    """(n,) log-odds of a class of each row against all others, within single precision's reach."""
    own = np.clip(probabilities[np.arange(len(classes)), classes], 1e-7, 1 - 1e-7)
    return np.asarray(np.log(own) - np.log1p(-own), np.float64)


def only_layer(explanation: Explanation) -> LayerMap:
    """The map of an explanation that has one."""
    (layer,) = explanation.layers
    return layer


def shown(explanation: Explanation, size: tuple[int, int]) -> FloatMap:
    """Its one map as figures show it: (H, W) float32, 0..1."""
    return full_size_map(only_layer(explanation), size)

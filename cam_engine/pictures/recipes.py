"""What a run leaves behind in words: rows of summaries, recipes of pictures, manifests."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cam_engine import text_keys
from cam_engine.images.decoded import UNKNOWN, ImageFacts
from cam_engine.options import CamOptions, DecodingOptions, FigureStyle
from cam_engine.results import ClassScore, Explanation, FloatMap, LayerMap

if TYPE_CHECKING:
    from cam_engine.maps.explainer import Explainer

DISTRIBUTION = "gradcam-service"
# Of what maps are, for equal options; facts without it are of version 1, which had no `fusion` (its
# fused map was LayerCAM's), no `score`, and gradients that were not averaged over blocks of cells.
MAPS_VERSION = "2"

DIVIDED_BY_255 = "The model's mean and std (0..255) were divided by 255"

# The frame in which evidence counts as "on the border": a tenth of the side at each edge.
_BORDER_SHARE_OF_SIDE = 0.1


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One layer's row entries.

    grid: native (height, width). maximum: raw, before scaling. border_energy: share (0..1) of the
    full-size map's sum that lies in the outer tenth at each edge; None where the map is empty.
    """

    name: str
    label: str
    method: str
    grid: tuple[int, int]
    maximum: float
    empty: bool
    border_energy: float | None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """An image whose pictures are all written.

    image: path relative to where images were looked for. name: the stem of its pictures.
    correct: None where the true class is unknown. unenhanced: the class without CLAHE, or None.
    decoding: what was done to make pixels of the file.
    """

    image: str
    name: str
    true_class: str | None
    predicted: str
    probability: float
    target: str
    top: tuple[ClassScore, ...]
    layers: tuple[LayerFacts, ...]
    unenhanced: ClassScore | None
    clahe_changed_class: bool
    decoding: ImageFacts = UNKNOWN

    @property
    def correct(self) -> bool | None:
        """Whether the predicted class is the true one; None where that is unknown."""
        return None if self.true_class is None else self.predicted == self.true_class


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that could not be explained, and why: a stable code and a sentence."""

    image: str
    name: str
    true_class: str | None
    code: str
    detail: str


Row = Succeeded | Failed


def succeeded_row(
    image: str,
    name: str,
    true_class: str | None,
    explanation: Explanation,
    maps: Mapping[str, FloatMap],
    decoding: ImageFacts,
) -> Succeeded:
    """The summary row of an explanation; `maps` are its full-size (H, W) maps by layer name."""
    return Succeeded(
        image=image,
        name=name,
        true_class=true_class,
        predicted=explanation.predicted.name,
        probability=explanation.predicted.probability,
        target=explanation.target.name,
        top=explanation.top,
        layers=tuple(_layer_facts(layer, maps[layer.name]) for layer in explanation.layers),
        unenhanced=explanation.unenhanced,
        clahe_changed_class=explanation.clahe_changed_class,
        decoding=decoding,
    )


def border_energy(full: FloatMap) -> float | None:
    """Share (0..1) of a (H, W) map's sum in the outer tenth at each edge; None if all is zero."""
    total = float(full.sum(dtype=np.float64))
    if total <= 0.0:
        return None
    rows, columns = (max(1, round(side * _BORDER_SHARE_OF_SIDE)) for side in full.shape)
    inner = full[rows:-rows, columns:-columns]
    return 1.0 - float(inner.sum(dtype=np.float64)) / total


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What all pictures of one classifier's run share: enough to make them again.

    divided_by_255: mean and std were given on the scale 0..255, and stand here on 0..1.
    of_the_model: what was assumed of the model's file, as sentences.
    """

    model: str
    model_sha256: str
    architecture: str
    naming: str
    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    precision: str
    device: str
    options: CamOptions
    figures: FigureStyle
    versions: Mapping[str, str]
    divided_by_255: bool = False
    of_the_model: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all of it: equal runs have equal digests."""
        return hashlib.sha256(to_json(self).encode()).hexdigest()

    @property
    def preprocessing(self) -> str:
        """For a person: "CLAHE 2.0 8x8; resize 224x224; mean ...; std ..."."""
        clahe = "CLAHE 2.0 8x8" if self.options.clahe else "no CLAHE"
        height, width = self.input_size
        mean, std = (", ".join(f"{v:.6g}" for v in triple) for triple in (self.mean, self.std))
        said = f"{clahe}; resize {height}x{width}; mean {mean}; std {std}"
        return f"{said} (given on 0..255)" if self.divided_by_255 else said

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must not miss of the model and how its input is made, as sentences."""
        return (*((DIVIDED_BY_255,) if self.divided_by_255 else ()), *self.of_the_model)


def run_facts(
    model: str, explainer: Explainer, options: CamOptions, figures: FigureStyle
) -> RunFacts:
    """The facts of one classifier's run under its shown name."""
    classifier = explainer.classifier
    return RunFacts(
        model=model,
        model_sha256=classifier.sha256,
        architecture=classifier.architecture,
        naming=classifier.naming,
        class_names=classifier.class_names,
        input_size=classifier.preprocessing.input_size,
        mean=classifier.preprocessing.mean,
        std=classifier.preprocessing.std,
        precision=explainer.precision.describe(),
        device=str(explainer.device),
        options=options,
        figures=figures,
        versions=software_versions(),
        divided_by_255=classifier.preprocessing.divided_by_255,
        of_the_model=classifier.notices,
    )


class Recipes:
    """The text chunks of one run's pictures. What all of them share is put into words once."""

    def __init__(self, facts: RunFacts) -> None:
        self.run_digest = facts.digest
        self.model = facts.model
        self.notices = facts.notices
        self._method = facts.options.method
        self._facts = to_json(facts)
        self._shared = {
            text_keys.SOFTWARE: f"{DISTRIBUTION} {facts.versions[DISTRIBUTION]}",
            text_keys.MODEL: f"{facts.model} ({facts.architecture})",
            text_keys.MODEL_SHA256: facts.model_sha256,
            text_keys.PREPROCESSING: facts.preprocessing,
        }

    def text(
        self,
        image: str,
        image_sha256: str,
        target: ClassScore,
        layer: LayerMap | None,
        decoding: ImageFacts,
    ) -> dict[str, str]:
        """A picture's text chunks: readable ones, and `Recipe`, all of it as JSON.

        layer: None for the main figure, which shows all layers. decoding: of the image.
        """
        method = layer.method if layer else self._method
        own = {
            "run": self.run_digest,
            "image": image,
            "image_sha256": image_sha256,
            "target": target,
            "layer": layer.name if layer else None,
            "label": layer.label if layer else None,
            "grid": layer.grid if layer else None,
            "empty": layer.empty if layer else None,
            "block": layer.block if layer else None,
            "method": method,
            "decoding": decoding,
        }
        chunks = {**self._shared, text_keys.METHOD: method, text_keys.CLASS: target.name}
        if decoding.format:
            chunks[text_keys.DECODING] = decoding.words
        if layer:
            chunks[text_keys.LAYER] = (
                f"{layer.name}: {layer.label}, {layer.grid[0]}x{layer.grid[1]}"
            )
        chunks[text_keys.RECIPE] = f'{to_json(own)[:-1]}, "facts": {self._facts}}}'
        return chunks


@cache
def software_versions() -> Mapping[str, str]:
    """Versions of this software and of what its numbers depend on."""
    import torch  # noqa: PLC0415  (what only reads rows and facts does without)
    import torchvision  # noqa: PLC0415

    try:
        own = version(DISTRIBUTION)
    except PackageNotFoundError:  # run from a source tree that is not installed
        own = "0+unknown"
    return MappingProxyType(
        {
            DISTRIBUTION: own,
            "maps": MAPS_VERSION,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "timm": version("timm"),
            "opencv": str(cv2.__version__),
            "numpy": str(np.__version__),
        }
    )


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON of dataclasses, mappings and tuples, with sorted keys, non-ASCII kept."""
    return json.dumps(value, default=_plain, sort_keys=True, ensure_ascii=False, indent=indent)


def run_facts_from_json(text: str) -> RunFacts:
    """The facts that `to_json` wrote. Raises KeyError, TypeError or ValueError on others."""
    values = json.loads(text)
    options = values.pop("options")
    figures = FigureStyle(**values.pop("figures"))
    layers = tuple(options.pop("layers"))
    decoding = DecodingOptions(**options.pop("decoding", {}))  # none in older facts
    options.setdefault("fusion", "layercam")
    for name in ("class_names", "input_size", "mean", "std", "of_the_model"):
        values[name] = tuple(values.get(name, ()))  # older facts have not all of them
    cam = CamOptions(**options, layers=layers, decoding=decoding)
    return RunFacts(**values, options=cam, figures=figures)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")


def _layer_facts(layer: LayerMap, full: FloatMap) -> LayerFacts:
    return LayerFacts(
        name=layer.name,
        label=layer.label,
        method=layer.method,
        grid=layer.grid,
        maximum=layer.maximum,
        empty=layer.empty,
        border_energy=border_energy(full),
    )

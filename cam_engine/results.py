"""What the engine answers: immutable, and without a way to write a contradiction down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cam_engine.method_facts import Fusion, Method

FloatMap = NDArray[np.float32]
RgbImage = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its index (0-based), name and softmax probability (0..1)."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class LayerMap:
    """One layer's map at the layer's own resolution.

    name: as asked for ("early", "fused", "features.denseblock3").
    label: the stage or module that is shown to a person ("denseblock3").
    method: the formula really used; of the fused map, how it was made ("class-aware").
    values: (h, w) float32 in 0..1, the raw map over its own maximum; all zero where `empty`.
    maximum: the raw map's maximum before scaling (logit units), >= 0.
    block: side in cells of the blocks over which gradients were averaged; 1: they were not. Of the
    fused map the largest of its three.
    """

    name: str
    label: str
    method: Method | Fusion
    values: FloatMap
    maximum: float
    block: int = 1

    @property
    def grid(self) -> tuple[int, int]:
        """Native (height, width) of the map, in cells."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def empty(self) -> bool:
        """True where the layer holds no positive evidence for the class."""
        return self.maximum <= 0.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """One image's answer.

    target: the class that the maps explain.
    top: classes by falling probability, the predicted one first.
    layers: in the order asked for; `fused`, where asked for, last.
    unenhanced: the predicted class of the same image without CLAHE; None where CLAHE is off, or
    where nobody asked.
    """

    target: ClassScore
    top: tuple[ClassScore, ...]
    layers: tuple[LayerMap, ...]
    unenhanced: ClassScore | None = None

    @property
    def predicted(self) -> ClassScore:
        """The class of highest probability."""
        return self.top[0]

    @property
    def clahe_changed_class(self) -> bool:
        """True where the network names another class once CLAHE has been applied."""
        return self.unenhanced is not None and self.unenhanced.index != self.predicted.index

    def layer(self, name: str) -> LayerMap:
        """The map of that name. Raises KeyError where it was not asked for."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

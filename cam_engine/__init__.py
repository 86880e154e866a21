"""Class activation maps of trained image classifiers: files and tensors in, maps and PNGs out.

What programs need of it can be imported from here, and is loaded when it is first used:
importing `cam_engine` itself loads neither torch nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cam_engine.errors import CamError
    from cam_engine.experiments.finding import Experiment, ImageItem, ModelFolder, find_experiments
    from cam_engine.images.decoding import ImageLimits, decode_image, read_image
    from cam_engine.images.preparing import Preprocessing, enhance
    from cam_engine.maps.explainer import Explainer
    from cam_engine.models.libraries.plugins import OwnNetwork
    from cam_engine.models.loading import Classifier, load_classifier
    from cam_engine.options import COLORMAPS, METHODS, CamOptions, FigureStyle
    from cam_engine.pictures.rendering import full_size_map, heatmap, overlay
    from cam_engine.results import ClassScore, Explanation, LayerMap

__all__ = [
    "COLORMAPS",
    "METHODS",
    "CamError",
    "CamOptions",
    "ClassScore",
    "Classifier",
    "Experiment",
    "Explainer",
    "Explanation",
    "FigureStyle",
    "ImageItem",
    "ImageLimits",
    "LayerMap",
    "ModelFolder",
    "OwnNetwork",
    "Preprocessing",
    "decode_image",
    "enhance",
    "find_experiments",
    "full_size_map",
    "heatmap",
    "load_classifier",
    "overlay",
    "read_image",
]

_NAMES_OF_MODULES = {
    "cam_engine.errors": ("CamError",),
    "cam_engine.experiments.finding": (
        "Experiment",
        "ImageItem",
        "ModelFolder",
        "find_experiments",
    ),
    "cam_engine.images.decoding": ("ImageLimits", "decode_image", "read_image"),
    "cam_engine.images.preparing": ("Preprocessing", "enhance"),
    "cam_engine.maps.explainer": ("Explainer",),
    "cam_engine.models.loading": ("Classifier", "load_classifier"),
    "cam_engine.models.libraries.plugins": ("OwnNetwork",),
    "cam_engine.options": ("COLORMAPS", "METHODS", "CamOptions", "FigureStyle"),
    "cam_engine.pictures.rendering": ("full_size_map", "heatmap", "overlay"),
    "cam_engine.results": ("ClassScore", "Explanation", "LayerMap"),
}
_HOMES = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """The exported name, from where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

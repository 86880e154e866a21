"""The facts of a run that nobody ran, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

from cam_engine.options import CamOptions, FigureStyle
from cam_engine.pictures.recipes import DISTRIBUTION, RunFacts


def run_facts(**more: Any) -> RunFacts:
    """Those of a small network with its options' defaults, but for what the test says."""
    plain: dict[str, Any] = {
        "model": "cls_a",
        "model_sha256": "0" * 64,
        "architecture": "resnet18",
        "naming": "torchvision",
        "class_names": ("elf", "ring"),
        "input_size": (224, 224),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "precision": "float32",
        "device": "cpu",
        "options": CamOptions(),
        "figures": FigureStyle(),
        "versions": {DISTRIBUTION: "1"},
    }
    return RunFacts(**{**plain, **more})

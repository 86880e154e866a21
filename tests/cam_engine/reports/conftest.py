"""A bundled classifier and a few of its crops, and measures that are over soon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cam_engine.experiments.finding import Experiment
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.reports.crops import Crop, read_crops
from cam_engine.reports.study import FUSED, KINDS, Effort, Study

TINY = Effort(
    kinds=tuple(KINDS),
    map_crops=12,
    located_crops=12,
    followed_crops=4,
    steps=3,
    random_seeds=1,
    random_crops=3,
    pairs=6,
    disturbed_crops=4,
    figures=4,
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sample_crops(lifecycle: Path) -> list[Crop]:
    """All of the bundled experiment's."""
    return read_crops(Experiment(lifecycle))


@pytest.fixture(scope="session")
def sample_explainer(lifecycle: Path) -> Explainer:
    """The bundled classifier of life stages."""
    return Explainer(load_classifier(lifecycle / "cls_mobilenet_v3_small_focal/best.pt"))


@pytest.fixture(scope="session")
def study(sample_crops: list[Crop], sample_explainer: Explainer) -> Study:
    """Six test crops of each class, each a unit of its own, without CLAHE as in training."""
    test = [crop for crop in sample_crops if crop.split == "test"]
    labels = sorted({crop.label for crop in test})
    crops = tuple(c for label in labels for c in [c for c in test if c.label == label][:6])
    clusters = tuple(crop.cluster for crop in crops)
    options = replace(FUSED, clahe=False)
    nothing = (False,) * len(crops)
    return Study("focal", sample_explainer, crops, clusters, nothing, options, effort=TINY)

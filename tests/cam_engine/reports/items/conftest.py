"""The network and the crops that are made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cam_engine.experiments.finding import Experiment
from cam_engine.models.loading import load_classifier
from cam_engine.reports.crops import read_crops
from cam_engine.reports.study import Study
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.marked import marked_study


@pytest.fixture(scope="session")
def crafted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the classes' crops."""
    return tmp_path_factory.mktemp("crafted")


@pytest.fixture(scope="session")
def crafted_study(crafted_folder: Path) -> Study:
    """Right on all of 30 crops, each a unit of its own."""
    return crafted.study_of(crafted.classifier(), crafted.crops(crafted_folder))


@pytest.fixture(scope="session")
def species(sample_run: Path) -> Study:
    """The bundled classifier of species over 24 test crops; trained without CLAHE."""
    folder = sample_run / "experiments/experiment_synthetic_species"
    name = "cls_mobilenetv3_small_050_focal"
    test = [crop for crop in read_crops(Experiment(folder)) if crop.split == "test"]
    labels = sorted({crop.label for crop in test})
    crops = [c for label in labels for c in [c for c in test if c.label == label][:6]]
    study = crafted.study_of(load_classifier(folder / name / "best.pt"), crops)
    return replace(study, name=name, clusters=tuple(crop.cluster for crop in crops))


@pytest.fixture(scope="session")
def marked(species: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """As `species`, with a mark on crops of vivax by which alone the network tells them."""
    return marked_study(species, "vivax", tmp_path_factory.mktemp("marked"))

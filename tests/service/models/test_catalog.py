"""The catalog by function: every layout of a data root, and ids that are unambiguous."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cam_engine.errors import PathOutsideRoot
from cam_engine.experiments.data_root import DataRoot
from cam_engine.experiments.finding import Experiment
from cam_engine.images.png import encode_png
from service.http.problems import ServiceError
from service.models import catalog as catalog_module
from service.models.catalog import Catalog, Unreadable
from tests.service.odd_root import rewrite

NAMES = ["cls_mobilenet_v3_small_cb", "cls_mobilenet_v3_small_focal"]


@pytest.fixture
def results(lifecycle: Path, tmp_path: Path) -> Path:
    """A results folder of two runs with one experiment each, of the same name."""
    for run in ("optA_20250101_000000", "optB_20260101_000000"):
        for name in NAMES:
            folder = tmp_path / "results" / run / "experiments/experiment_x" / name
            shutil.copytree(lifecycle / name, folder)
    return tmp_path / "results"


def code_of(error: pytest.ExceptionInfo[ServiceError]) -> str:
    return error.value.code


def test_ids_are_paths_below_whatever_the_root_is(results: Path) -> None:
    newest = "optB_20260101_000000/experiments/experiment_x"
    for root, first in (
        (results.parent, f"results/{newest}"),
        (results, newest),
        (results / "optB_20260101_000000", "experiments/experiment_x"),
        (results / "optB_20260101_000000/experiments", "experiment_x"),
        (results / newest, "experiment_x"),
    ):
        catalog = Catalog(root, 0)
        assert catalog.experiments()[0].id == first
        assert [model.id for model in catalog.models()][:2] == [f"{first}/{n}" for n in NAMES]
        assert catalog.experiment(first).id == first
        assert catalog.model(f"{first}/{NAMES[1]}").name == NAMES[1]
        assert catalog.best_model().id == f"{first}/{NAMES[0]}"


def test_a_folders_name_is_enough_only_where_it_is_the_only_one(results: Path) -> None:
    catalog = Catalog(results, 0)
    with pytest.raises(ServiceError) as refused:
        catalog.model(NAMES[0])
    assert code_of(refused) == "model-ambiguous"
    experiment = catalog.experiments()[1]
    for name in (NAMES[0], NAMES[0].removeprefix("cls_")):
        assert catalog.model(name, experiment).id == f"{experiment.id}/{NAMES[0]}"


def test_the_best_model_is_the_one_of_highest_accuracy(results: Path) -> None:
    catalog = Catalog(results, 0)
    experiment = catalog.experiments()[0]
    folder = results.parent / "results" / experiment.id
    rewrite(folder / NAMES[1] / "best.pt", val_acc=99.95)  # per cent
    assert catalog.best_model().name == NAMES[1]
    (folder / NAMES[1] / "best.pt").write_bytes(b"broken")
    assert catalog.best_model().name == NAMES[0]
    assert isinstance(catalog.facts(catalog.model(NAMES[1], catalog.experiments()[0])), Unreadable)


def test_one_that_cannot_be_read_is_the_best_only_where_all_cannot(results: Path) -> None:
    catalog = Catalog(results, 0)
    folder = results / catalog.experiments()[0].id
    rewrite(folder / NAMES[0] / "best.pt", val_acc=None)
    (folder / NAMES[1] / "best.pt").write_bytes(b"broken")
    assert NAMES[1] > NAMES[0] == catalog.best_model().name
    (folder / NAMES[0] / "best.pt").write_bytes(b"broken")
    assert catalog.best_model().name == NAMES[1]


def test_a_look_holds_for_as_long_as_it_is_told(results: Path) -> None:
    patient, eager = Catalog(results, 3600), Catalog(results, 0)
    assert len(patient.models()) == len(eager.models()) == 4
    shutil.rmtree(results / "optA_20250101_000000")
    assert len(patient.models()) == 4
    assert len(eager.models()) == 2


def test_a_root_that_is_not_there_is_empty(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "none", 0)
    assert (catalog.experiments(), catalog.models()) == ((), [])
    with pytest.raises(ServiceError) as refused:
        catalog.best_model()
    assert code_of(refused) == "no-models-found"


def test_beside_an_experiment_that_is_the_root_nothing_is_reached(results: Path) -> None:
    root = results / "optB_20260101_000000/experiments/experiment_x"
    shutil.copytree(root, root.parent / "experiment_y")
    catalog = Catalog(root, 0)
    assert [experiment.id for experiment in catalog.experiments()] == ["experiment_x"]
    for path in (
        "experiment_y",
        f"experiment_y/{NAMES[0]}/best.pt",
        "experiment_x/../experiment_y",
    ):
        with pytest.raises(PathOutsideRoot):
            catalog.data.inside(path)


def test_a_file_is_looked_into_once_also_where_it_is_refused(results: Path) -> None:
    broken = next(results.rglob("cls_*/best.pt")).parent.parent / "cls_broken"
    broken.mkdir()
    (broken / "best.pt").write_bytes(b"no checkpoint")
    catalog = Catalog(results, 0.0)
    models = {model.name: model for model in catalog.models()}
    first = catalog.facts(models["cls_broken"])
    assert isinstance(first, Unreadable)
    assert catalog.facts(models["cls_broken"]) is first
    (broken / "best.pt").write_bytes(b"still no checkpoint")
    (again,) = [model for model in catalog.models() if model.name == "cls_broken"]
    assert catalog.facts(again) is not first


def test_a_model_whose_grids_cannot_be_found_is_listed_with_its_error(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a library's code raises of a network that a file names."""
    grids = catalog_module._grids

    def asserting(architecture: str, *others: Any) -> Any:
        assert architecture != "vit_tiny_patch16_224", "of this size"
        return grids(architecture, *others)

    monkeypatch.setattr(catalog_module, "_grids", asserting)
    catalog = Catalog(results, 0)
    experiment = catalog.experiments()[0]
    checkpoint = results / experiment.id / NAMES[0] / "best.pt"
    rewrite(checkpoint, model_name="vit_tiny_patch16_224")
    first, second = (catalog.facts(model) for model in catalog.experiments()[0].models)
    assert isinstance(first, Unreadable)
    assert (first.code, str(results) in first.detail) == ("internal-error", False)
    assert not isinstance(second, Unreadable)
    assert catalog.best_model().name == NAMES[1]


def experiment_of_one_image(root: Path, name: str) -> str:
    """An experiment of one test image; its id."""
    folder = root / "run" / "experiments" / f"experiment_{name}"
    images = folder / "crops_gt_crops" / "crops" / "test" / "ring"
    images.mkdir(parents=True)
    (images / "x.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    (folder / "cls_a").mkdir()
    return folder.relative_to(root).as_posix()


@pytest.fixture
def looked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of experiments whose images are really looked for."""
    looked: list[str] = []
    look: Callable[..., object] = DataRoot.look_for_images

    def counting(self: DataRoot, wanted: Experiment, split: str) -> object:
        looked.append(wanted.folder.name.removeprefix("experiment_"))
        return look(self, wanted, split)

    monkeypatch.setattr(DataRoot, "look_for_images", counting)
    return looked


def test_the_lists_of_images_asked_for_last_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_for: list[str]
) -> None:
    monkeypatch.setattr(catalog_module, "_MOST_LISTS", 2)
    ids = {name: experiment_of_one_image(tmp_path, name) for name in "abc"}
    root = Catalog(tmp_path, refresh_seconds=3600.0)
    for name in "abacab":
        entry = root.experiment(ids[name])
        assert [item.name for item in root.images(entry, "test")] == ["x"]
    assert "".join(looked_for) == "abcb"

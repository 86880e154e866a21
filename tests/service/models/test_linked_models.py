"""Models whose files are links within the data root, and those that lead out of it on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from service.http.problems import ServiceError
from service.models.catalog import Catalog, ModelEntry, Unreadable
from service.models.model_cache import fresh_stamp, loader

MODEL = "cls_mobilenet_v3_small_cb"


@pytest.fixture
def root(lifecycle: Path, tmp_path: Path) -> Path:
    """A data root with a model in Hugging Face's cache, which one experiment links to."""
    root = tmp_path / "root"
    blobs, snapshot = root / "hub/blobs", root / "hub/snapshots/main"
    linked = root / "experiment_x/cls_linked"
    for folder in (blobs, snapshot, linked):
        folder.mkdir(parents=True)
    contents = torch.load(lifecycle / MODEL / "best.pt", weights_only=True)
    safetensors.torch.save_file(contents["model_state_dict"], blobs / "0123")
    config = {"architecture": "mobilenet_v3_small", "label_names": ["a", "b", "c", "d"]}
    (blobs / "4567").write_text(json.dumps(config))
    (snapshot / "model.safetensors").symlink_to("../../blobs/0123")
    (snapshot / "config.json").symlink_to("../../blobs/4567")
    (linked / "model.safetensors").symlink_to(snapshot / "model.safetensors")
    return root


def only_model(root: Path) -> ModelEntry:
    (model,) = Catalog(root, 0).models()
    return model


def test_a_model_in_hugging_faces_cache_is_listed_and_loaded(root: Path) -> None:
    catalog = Catalog(root, 0)
    (model,) = catalog.models()
    facts = catalog.facts(model)
    assert not isinstance(facts, Unreadable)
    assert facts.header.architecture == "mobilenet_v3_small"
    assert facts.header.class_names == ("a", "b", "c", "d")
    loaded = loader("cpu", "float32", 1)(model, fresh_stamp(model))
    assert loaded.explainer.classifier.class_names == ("a", "b", "c", "d")


def test_a_config_beside_the_target_is_part_of_the_stamp(root: Path) -> None:
    model = only_model(root)
    before = fresh_stamp(model)
    (root / "hub/blobs/4567").write_text(json.dumps({"architecture": "mobilenet_v3_small"}))
    assert fresh_stamp(model) != before


def test_a_link_that_leaves_the_root_on_its_way_is_left_out(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model.safetensors").symlink_to(root / "hub/blobs/0123")
    (outside / "model.json").write_text(json.dumps({"class_names": ["secret"] * 4}))
    link = root / "experiment_x/cls_linked/model.safetensors"
    link.unlink()
    link.symlink_to(outside / "model.safetensors")
    catalog = Catalog(root, 0)
    assert catalog.models() == []


def test_a_link_that_comes_to_lead_elsewhere_is_not_followed(root: Path, tmp_path: Path) -> None:
    model = only_model(root)
    secret = tmp_path / "secret.safetensors"
    shutil.copy(root / "hub/blobs/0123", secret)
    link = root / "experiment_x/cls_linked/model.safetensors"
    link.unlink()
    link.symlink_to(secret)
    with pytest.raises(ServiceError):
        fresh_stamp(model)

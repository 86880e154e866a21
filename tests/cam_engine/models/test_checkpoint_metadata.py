"""What is read from beside the weights, however a training script wrote it."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import (
    CheckpointInvalid,
    ClassNamesMismatch,
    InvalidOption,
)
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ["gametocyte", "ring", "schizont"]


@cache
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.resnet18(weights=None, num_classes=3)
    return network.state_dict()


def save(folder: Path, **recorded: object) -> Path:
    path = folder / "best.pt"
    torch.save({"model_state_dict": weights(), "model_name": "resnet18", **recorded}, path)
    return path


@pytest.mark.parametrize(
    "recorded",
    [
        {"class_names": CLASSES},
        {"class_names": tuple(CLASSES)},
        {"classes": np.array(CLASSES)},
        {"classes": np.array(CLASSES, dtype=object)},
        {"idx_to_class": {2: "schizont", 0: "gametocyte", 1: "ring"}},
        {"idx_to_class": {"0": "gametocyte", "1": "ring", "2": "schizont"}},
        {"class_to_idx": {"ring": 1, "gametocyte": 0, "schizont": 2}},
        {"class_to_idx": {"ring": np.int64(1), "gametocyte": np.int64(0), "schizont": 2}},
        {"classes": 3, "class_to_idx": {"ring": 1, "gametocyte": 0, "schizont": 2}},
        {"config": {"class_names": CLASSES}},
        {"args": argparse.Namespace(classes=CLASSES, data=Path("data"))},
    ],
    ids=lambda recorded: "-".join(f"{k}-{type(v).__name__}" for k, v in recorded.items()),
)
def test_class_names_are_read(tmp_path: Path, recorded: dict[str, object]) -> None:
    path = save(tmp_path, **recorded)
    assert load_classifier(path).class_names == tuple(CLASSES)
    assert read_header(path).class_names == tuple(CLASSES)


def test_passed_class_names_overrule_the_files(tmp_path: Path) -> None:
    path = save(tmp_path, class_names=CLASSES[:2])
    assert load_classifier(path, class_names=["a", "b", "c"]).class_names == ("a", "b", "c")
    with pytest.raises(ClassNamesMismatch, match=r"2 class names are in the file.* 3 outputs"):
        load_classifier(path)
    with pytest.raises(ClassNamesMismatch, match=r"4 class names were passed.* 3 outputs"):
        load_classifier(path, class_names=["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ring", "ring", "schizont"], "repeated: ring"),
        (["ring", 2, "schizont"], "2 is no class name"),
        (["ring", " ", "schizont"], "' ' is no class name"),
    ],
)
def test_bad_class_names_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    path = save(tmp_path, class_names=names)
    with pytest.raises(CheckpointInvalid, match=message):
        load_classifier(path)
    assert read_header(path).class_names is None
    with pytest.raises(InvalidOption, match=message):
        load_classifier(path, class_names=names)


def test_one_text_is_no_list_of_class_names(tmp_path: Path) -> None:
    path = save(tmp_path)
    with pytest.raises(InvalidOption, match="one text"):
        load_classifier(path, class_names="abc")


@pytest.mark.parametrize(
    "indices", [{"a": 0, "b": 1, "c": 3}, {"a": 0, "b": 1, "c": 1}, {"a": "x", "b": 1, "c": 2}]
)
def test_class_indices_with_gaps_are_refused(tmp_path: Path, indices: dict[str, object]) -> None:
    path = save(tmp_path, class_to_idx=indices)
    with pytest.raises(CheckpointInvalid, match="class_to_idx"):
        load_classifier(path)


@pytest.mark.parametrize(
    ("recorded", "accuracy"),
    [
        ({"val_acc": 85.39}, 0.8539),
        ({"val_acc": 0.8539}, 0.8539),
        ({"val_accuracy": np.float32(50)}, 0.5),
        ({"best_acc": torch.tensor(25.0)}, 0.25),
        ({"val_acc": np.array(75.0)}, 0.75),
        ({"val_acc": 1.0}, 1.0),
        ({"val_acc": 0}, 0.0),
        ({"val_acc": float("nan")}, None),
        ({"val_acc": 250.0}, None),
        ({"val_acc": "high"}, None),
        ({"val_acc": True}, None),
        ({}, None),
    ],
)
def test_validation_accuracy_is_a_share(
    tmp_path: Path, recorded: dict[str, object], accuracy: float | None
) -> None:
    assert read_header(save(tmp_path, **recorded)).val_accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(7, 7), (np.int64(7), 7), (7.5, None), ("7", None)]
)
def test_epoch_is_a_whole_number(tmp_path: Path, epoch: object, expected: int | None) -> None:
    assert read_header(save(tmp_path, epoch=epoch)).epoch == expected


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({}, Preprocessing()),
        ({"input_size": 96}, Preprocessing((96, 96))),
        ({"image_size": (96, 128)}, Preprocessing((96, 128))),
        ({"img_size": [3, 96, 128]}, Preprocessing((96, 128))),
        ({"input_size": np.array([96, 128])}, Preprocessing((96, 128))),
        ({"pretrained_cfg": {"input_size": (3, 64, 64)}}, Preprocessing((64, 64))),
        (
            {"mean": [0.5, 0.5, 0.5], "std": torch.tensor([0.5, 0.25, 0.125])},
            Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.125)),
        ),
    ],
)
def test_preprocessing_is_the_files(
    tmp_path: Path, recorded: dict[str, object], expected: Preprocessing
) -> None:
    path = save(tmp_path, **recorded)
    assert load_classifier(path).preprocessing == expected


def test_passed_preprocessing_overrules_the_files(tmp_path: Path) -> None:
    recorded = {"input_size": "big", "mean": [9.0], "std": [0, 0, 0]}
    path = save(tmp_path, **recorded)
    classifier = load_classifier(path, input_size=(64, 32), mean=[0, 0, 0], std=(1, 1, 1))
    assert classifier.preprocessing == Preprocessing((64, 32), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "bad",
    [
        {"input_size": "224"},
        {"input_size": 0},
        {"input_size": (1, 2, 3, 4)},
        {"input_size": 100_000},
        {"mean": 0.5},
        {"mean": [0.5, 0.5, float("nan")]},
        {"std": [1, 1, 0]},
    ],
    ids=str,
)
def test_bad_preprocessing_is_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    (name,) = bad
    path = save(tmp_path)
    with pytest.raises(InvalidOption, match=name):
        load_classifier(path, **bad)
    path = save(tmp_path, **bad)
    with pytest.raises(CheckpointInvalid, match=rf"best\.pt: {name}.*pass {name}"):
        load_classifier(path)

"""Files of other libraries, and of PyTorch's own that are no weights: one plain sentence each."""

from __future__ import annotations

import argparse
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import sklearn.svm
import torch
import torch.distributed.checkpoint
from torch import nn

from cam_engine.commands.arguments import add_inspect_arguments
from cam_engine.commands.inspecting import run_inspect
from cam_engine.errors import CamError
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import load_classifier
from tests.cam_engine.models.kinds import plain

pytestmark = pytest.mark.usefixtures("one_thread")


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("best.pt"))
    return file.getvalue()


def by_torch(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def quantised(*, whole: bool) -> bytes:
    quantise: Any = torch.ao.quantization.quantize_dynamic
    network = quantise(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), {nn.Linear}, dtype=torch.qint8
    )
    return by_torch(network if whole else network.state_dict())


def quantised_tensor() -> torch.Tensor:
    quantise: Any = torch.quantize_per_tensor
    made: torch.Tensor = quantise(torch.ones(3, 4), 0.1, 0, torch.qint8)
    return made


def normed() -> bytes:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    return by_torch({"fc.0.weight": torch.zeros(4, 4), **prefixed(layer.state_dict())})


def prefixed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"fc.1.{key}": value for key, value in weights.items()}


ADAPTER = {
    "base_model.model.vit.layers.0.attention.q.lora_A.weight": torch.zeros(8, 16),
    "base_model.model.vit.layers.0.attention.q.lora_B.weight": torch.zeros(16, 8),
}

FILES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "ONNX": ("best.onnx", lambda: b"\x08\x07\x12\x07pytorch" + bytes(50), "an ONNX file"),
    "Keras 3": (
        "best.keras",
        lambda: zipped("metadata.json", "config.json", "model.weights.h5"),
        "of Keras",
    ),
    "Keras 3 by another name": (
        "best.pt",
        lambda: zipped("metadata.json", "config.json", "model.weights.h5"),
        "of Keras",
    ),
    "Keras": ("best.h5", lambda: b"\x89HDF\r\n\x1a\n" + bytes(50), "Keras"),
    "TensorFlow Lite": (
        "best.pt",
        lambda: b"\x1c\0\0\0TFL3" + bytes(50),
        "TensorFlow Lite.*name the checkpoint that it was exported from",
    ),
    "a SavedModel's graph": ("saved_model.pb", lambda: b"\x08\x01\x12" + bytes(50), "TensorFlow"),
    "scikit-learn": ("clf.joblib", lambda: pickle.dumps(sklearn.svm.SVC()), "a model of sklearn"),
    "scikit-learn by torch": ("best.pt", lambda: by_torch(sklearn.svm.SVC()), "a model of sklearn"),
    "tar": ("best.pt", tarred, "archive of tar: unpack"),
    "a zip of checkpoints": ("best.zip", lambda: zipped("run/best.pt"), "unpack it first"),
    "npz": ("best.npz", lambda: zipped("arr_0.npy"), "arrays of NumPy"),
    "a web page": ("best.pt", lambda: b"<!DOCTYPE html><html>", "download it again"),
    "JSON": ("best.pt", lambda: b'{"model_type": "vit"}', "text in JSON"),
    "an adapter": (
        "adapter_model.safetensors",
        lambda: safetensors.torch.save(ADAPTER),
        "merge_and_unload",
    ),
    "an adapter, pickled": ("adapter_model.bin", lambda: by_torch(ADAPTER), "merge_and_unload"),
    "quantised": ("best.pt", lambda: quantised(whole=False), "before it was quantised"),
    "quantised, whole": ("best.pt", lambda: quantised(whole=True), "before it was quantised"),
    "parametrised": ("best.pt", normed, "remove_parametrizations"),
    "normed in the older way": (
        "best.pt",
        lambda: by_torch({f"fc.weight{end}": torch.zeros(3, 4) for end in ("_g", "_v")}),
        "remove_weight_norm",
    ),
    "a quantised tensor": (
        "best.pt",
        lambda: by_torch({"fc.weight": quantised_tensor()}),
        "before it was quantised",
    ),
    "sparse": (
        "best.pt",
        lambda: by_torch({"fc.weight": torch.eye(3).to_sparse()}),
        r"to_dense\(\)",
    ),
    "arrays for all weights": (
        "best.pt",
        lambda: by_torch({"fc.weight": np.zeros((4200, 4200), np.float32)}),
        "arrays of NumPy",
    ),
    "an optimiser": (
        "optimizer.pt",
        lambda: by_torch(torch.optim.Adam(plain().parameters()).state_dict()),
        "state of an optimiser",
    ),
    "arrays for weights": (
        "best.pt",
        lambda: by_torch({"fc.weight": np.zeros((3, 4), np.float32)}),
        "holds no model weights",
    ),
}


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("name", FILES)
def test_each_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    file, content, said = FILES[name]
    path = tmp_path / file
    path.write_bytes(content())
    with pytest.raises(CamError, match=said) as refused:
        load_classifier(path)
    assert "damaged" not in str(refused.value)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_part_of_a_distributed_checkpoint_is_refused_with_how_to_join_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "checkpoint"
    save: Any = getattr(torch.distributed.checkpoint, "save")  # noqa: B009 (untyped)
    save({"model": plain().state_dict()}, checkpoint_id=str(folder))
    for path in (folder, *folder.glob("*.distcp")):
        for reader in (load_classifier, read_header):
            with pytest.raises(CamError, match=r"format_utils dcp_to_torch"):
                reader(path)


@pytest.mark.parametrize(
    ("file", "said"),
    [("saved_model.pb", "SavedModel"), ("adapter_config.json", "merge_and_unload")],
)
def test_folders_of_other_libraries_are_refused(tmp_path: Path, file: str, said: str) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(CamError, match=said):
        load_classifier(tmp_path)
    parser = argparse.ArgumentParser()
    add_inspect_arguments(parser)
    with pytest.raises(CamError, match=said):
        run_inspect(parser.parse_args([str(tmp_path)]))

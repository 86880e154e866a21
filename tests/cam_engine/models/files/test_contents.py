"""Files that are no checkpoints, damaged ones, and pickles that would run code."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cam_engine.errors import (
    ArchitectureUnknown,
    CamError,
    CheckpointInvalid,
    CheckpointNotFound,
    CheckpointUnsafe,
)
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("reader", [load_classifier, read_header])
def test_a_missing_file_is_not_found(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    with pytest.raises(CheckpointNotFound, match=r"nothing\.pt is not there"):
        reader(tmp_path / "nothing.pt")
    with pytest.raises(CheckpointNotFound, match="a folder"):
        reader(tmp_path)


def save(folder: Path, saved: object) -> Path:
    path = folder / "best.pt"
    torch.save(saved, path)
    return path


def as_bytes(saved: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(saved, file, **options)
    return file.getvalue()


def zip_of_text() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("letter.txt", "no weights here")
    return file.getvalue()


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(50_000_000))
    return file.getvalue()


NO_CHECKPOINTS = {
    "empty": b"",
    "text": b"These are not the weights you are looking for.\n" * 20,
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
    "another zip": zip_of_text(),
    "compressed zip": bomb(),
    "cut zip": as_bytes({"model": {"weight": torch.ones(5000)}})[:9000],
    "cut older format": as_bytes(
        {"model": {"weight": torch.ones(5000)}}, _use_new_zipfile_serialization=False
    )[:9000],
    "no tensors": as_bytes({"epoch": 3, "val_acc": 0.5}),
    "empty dict": as_bytes({}),
    "list": as_bytes([torch.ones(3)]),
    "tensor": as_bytes(torch.ones(3)),
    "optimizer only": as_bytes({"optimizer_state_dict": {"momentum": torch.ones(3)}}),
    "memory": pickle.dumps(bytearray, 2)[:-1] + b"\x8a\x06" + b"\xff" * 5 + b"\x00\x85R.",
}


@pytest.mark.parametrize("reader", [load_classifier, read_header])
@pytest.mark.parametrize("content", NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS)
def test_what_is_no_checkpoint_is_invalid(
    tmp_path: Path, content: bytes, reader: Callable[[Path], object]
) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointInvalid, match=r"best\.pt"):
        reader(path)


def test_damaged_weights_are_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, {"model": {"weight": torch.ones(5000)}})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointInvalid, match="damaged"):
        load_classifier(path)


def without_check_sums(saved: object) -> bytes:
    """As torch.serialization.set_crc32_options(False) makes them, for speed."""
    torch.serialization.set_crc32_options(False)
    try:
        return as_bytes(saved)
    finally:
        torch.serialization.set_crc32_options(True)


def test_a_file_without_check_sums_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(without_check_sums({"model": {"weight": torch.ones(5000)}, "epoch": 3}))
    with pytest.raises(ArchitectureUnknown):
        load_classifier(path)
    assert read_header(path).epoch == 3


class MakesAFile:
    """Unpickling one writes a file, as an attacker's would run anything at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("reader", [load_classifier, read_header])
@pytest.mark.parametrize("form", ["new", "older", "pickle 2", "pickle 4", "pickle 5"])
def test_a_pickle_that_runs_code_is_refused_and_nothing_is_run(
    tmp_path: Path, form: str, reader: Callable[[Path], object]
) -> None:
    evidence, path = tmp_path / "ran", tmp_path / "best.pt"
    saved = {"model_name": "resnet18", "model": {"a": torch.ones(1)}, "x": MakesAFile(evidence)}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps({"x": MakesAFile(evidence)}, int(form[-1])))
    else:
        torch.save(saved, path, _use_new_zipfile_serialization=form == "new")
    with pytest.raises(CheckpointUnsafe, match=r"best\.pt .*posix\.system.*nothing was run"):
        reader(path)
    assert not evidence.exists()


def test_an_attribute_of_a_stand_in_is_no_way_in(tmp_path: Path) -> None:
    """A name is a record, whatever hangs below it where it comes from."""
    path = tmp_path / "best.pt"
    path.write_bytes(b"\x80\x02cnumpy.core.multiarray\nscalar.__globals__\n.")
    with pytest.raises(CamError):
        load_classifier(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    trace: Callable[..., Any] = torch.jit.trace
    trace(nn.Linear(2, 2), torch.ones(1, 2)).save(path)
    with pytest.raises(CheckpointUnsafe, match="TorchScript"):
        load_classifier(path)


@cache
def small_checkpoint(*, zipped: bool) -> bytes:
    saved = {
        "model_state_dict": {"conv.weight": torch.ones(4, 3, 3, 3), "fc.bias": torch.ones(2)},
        "class_names": ["a", "b"],
        "val_acc": np.float64(80.0),
        "classes": np.array(["a", "b"]),
        "args": argparse.Namespace(data=Path("x")),
        "epoch": 3,
    }
    if zipped:  # with check sums, damage would hardly ever reach the unpickler
        return without_check_sums(saved)
    return as_bytes(saved, _use_new_zipfile_serialization=False)


@settings(max_examples=150, deadline=5000, suppress_health_check=list(HealthCheck))
@given(
    zipped=st.booleans(),
    keep=st.floats(0.0, 1.0),
    changes=st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 255)), max_size=6),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_a_cam_error(
    tmp_path: Path, zipped: bool, keep: float, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(small_checkpoint(zipped=zipped))
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    path = tmp_path / "best.pt"
    path.write_bytes(content[: round(len(content) * keep)] if keep < 0.5 else content)
    with pytest.raises(CamError):
        load_classifier(path)
    with suppress(CamError):
        read_header(path)

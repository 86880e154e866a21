"""Headers through a process of their own: the same as here, whatever becomes of the process."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from pathlib import Path

import pytest
import torch

from cam_engine.errors import CamError, CheckpointInvalid, CheckpointUnsafe
from cam_engine.models.checkpoint_headers import CheckpointStalled, HeaderReader
from cam_engine.models.header_reading import read_header


def saved(folder: Path, **beside: object) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save({"model": {"fc.weight": torch.ones(2, 2)}, **beside}, folder / "best.pt")
    return folder / "best.pt"


def test_a_process_of_its_own_gives_the_same_headers(tmp_path: Path) -> None:
    reader = HeaderReader()
    for number, beside in enumerate(
        (
            {"class_names": ["ä", "b"], "val_acc": torch.tensor(0.5), "epoch": 3},
            {"class_to_idx": {"b": 1, "a": 0}, "model_name": "resnet18", "input_size": 64},
            {"idx_to_class": {0: "a", 1: "b"}, "hparams": {"mean": [0.5, 0.5, 0.5]}},
        )
    ):
        path = saved(tmp_path / f"cls_resnet18_{number}", **beside)
        assert reader.read(path) == read_header(path)
    assert reader.started == 1


class Evil:
    """Unpickling one would run a command."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def test_errors_are_those_that_reading_here_raises(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "text.pt").write_bytes(b"no weights")
    reader = HeaderReader()
    for name in ("evil.pt", "text.pt", "nothing.pt"):
        with pytest.raises(CamError) as here:
            read_header(tmp_path / name)
        with pytest.raises(CamError) as there:
            reader.read(tmp_path / name)
        assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
    with pytest.raises(CheckpointUnsafe):
        reader.read(tmp_path / "evil.pt")
    assert reader.started == 1


def test_no_process_is_started_before_the_first_file(tmp_path: Path) -> None:
    reader = HeaderReader()
    assert (reader.process, reader.started) == (None, 0)
    reader.read(saved(tmp_path))
    assert reader.process is not None


def test_several_threads_are_answered_one_after_the_other(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{number}", epoch=number) for number in range(8)]
    reader, epochs = HeaderReader(), dict.fromkeys(range(8), -1)

    def read(number: int) -> None:
        epochs[number] = reader.read(paths[number]).epoch or 0

    threads = [threading.Thread(target=read, args=(number,)) for number in epochs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert epochs == {number: number for number in range(8)}
    assert reader.started == 1


def test_a_process_that_ends_is_replaced(tmp_path: Path) -> None:
    path = saved(tmp_path, epoch=5)
    reader = HeaderReader()
    assert reader.read(path).epoch == 5
    assert reader.process is not None
    os.kill(reader.process, signal.SIGKILL)
    assert reader.read(path).epoch == 5
    assert reader.started == 2


def test_a_file_that_stalls_is_given_up(tmp_path: Path) -> None:
    path = saved(tmp_path, epoch=5)
    reader = HeaderReader(wait_seconds=0.5)
    reader.read(path)
    assert reader.process is not None
    os.kill(reader.process, signal.SIGSTOP)
    with pytest.raises(CheckpointStalled, match=r"best\.pt could not be looked into in 0\.5 s"):
        reader.read(path)
    assert isinstance(CheckpointStalled(), CheckpointInvalid)
    assert HeaderReader().read(path).epoch == 5


def test_the_process_ends_with_its_reader(tmp_path: Path) -> None:
    reader = HeaderReader()
    reader.read(saved(tmp_path))
    process = reader.process
    assert process is not None
    del reader
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)

"""Empty storages, in a folder and in a real (local) S3 store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cam_engine.experiments.data_root import DataRoot
from tests.s3_server import BUCKET, S3Server, running_s3
from tests.worker.jobs.outputs.storing import output_of
from worker.jobs.outputs.posix import PosixStorage
from worker.jobs.outputs.s3 import ObjectStorage
from worker.jobs.outputs.storage import OutputFolder, OutputStorage


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> OutputStorage:
    """An empty one, with experiments below tmp_path/data."""
    root = DataRoot(tmp_path / "data")
    if request.param == "s3":
        return ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", root)
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    return PosixStorage(root, outputs)


@pytest.fixture
def output(storage: OutputStorage) -> OutputFolder:
    return output_of(storage, "here")


@pytest.fixture
def in_s3(s3: S3Server, tmp_path: Path) -> OutputFolder:
    storage = ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", DataRoot(tmp_path))
    return output_of(storage, "here")

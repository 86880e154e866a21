"""Where a job's images, models and pictures are by what its record says."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cam_engine.errors import ExperimentNotFound, InvalidOption, NoModelsFound
from worker.jobs.contract import JobFolder, JobModel, JobRecord, JobRequest
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.posix import PosixStorage
from worker.jobs.settings import JobSettings

OWN = "gradcam_visualizations"


def record(*models: str, folder: JobFolder | None = None, output: str | None = None) -> JobRecord:
    return JobRecord(
        id="0" * 32,
        created_at=datetime.now(UTC),
        request=JobRequest(experiment="experiment_x", output=output),
        models=tuple(JobModel(id=f"x/{m}", name=m, checkpoint_sha256="0" * 64) for m in models),
        image_count=1,
        output="shown",
        folder=folder,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A root with one experiment of two models, one's name part of the other's."""
    experiment = tmp_path / "data/experiment_x"
    for name in ("cls_a", "cls_ab"):
        (experiment / name).mkdir(parents=True)
        (experiment / name / "best.pt").write_bytes(b"weights")
    return tmp_path / "data"


@pytest.fixture
def places(data: Path, tmp_path: Path) -> Places:
    """With an output root."""
    (tmp_path / "outputs").mkdir()
    return Places(JobSettings(data=data, output_root=tmp_path / "outputs"))


def test_without_a_store_outputs_are_folders(tmp_path: Path) -> None:
    assert isinstance(Places(JobSettings(data=tmp_path)).storage, PosixStorage)
    with pytest.raises(InvalidOption, match="s3://bucket/prefix"):
        Places(JobSettings(data=tmp_path, output_store="http://elsewhere"))


def test_the_experiment_is_that_of_the_request(places: Places, data: Path) -> None:
    assert places.experiment(record("cls_a").request).folder == data / "experiment_x"
    with pytest.raises(ExperimentNotFound):
        places.experiment(JobRequest(experiment="experiment_y"))


def test_pictures_are_where_the_record_says(places: Places) -> None:
    folder = JobFolder(below="output", path="named/sets/x")
    assert places.output(record("cls_a", folder=folder)).shown == "named/sets/x"


def test_those_of_an_older_record_are_where_they_were_put_then(
    places: Places, data: Path, tmp_path: Path
) -> None:
    places.output(record("cls_a")).write_job_file("0" * 32, b"{}", finished=False)
    assert (data / "experiment_x" / OWN / "runs").is_dir()
    places.output(record("cls_a", output="named")).write_job_file("0" * 32, b"{}", finished=False)
    assert (tmp_path / "outputs/named/runs").is_dir()
    plain = Places(JobSettings(data=data))
    assert plain.output(record("cls_a")).shown == f"experiment_x/{OWN}"


def test_a_model_is_the_one_of_just_that_name(places: Places, data: Path) -> None:
    jobs = record("cls_ab", "cls_a")
    assert [places.model(jobs, index).name for index in (0, 1)] == ["cls_ab", "cls_a"]
    assert places.model(jobs, 1).checkpoint == data / "experiment_x/cls_a/best.pt"
    shutil.rmtree(data / "experiment_x/cls_a")
    with pytest.raises(NoModelsFound, match="cls_a is not in the experiment any more"):
        places.model(jobs, 1)


def test_people_elsewhere_are_not_told_where_the_roots_are(
    places: Places, data: Path, tmp_path: Path
) -> None:
    said = places.without_roots(f"{data}/x and {tmp_path}/outputs/y: full")
    assert str(tmp_path) not in said
    assert "x and" in said
    plain = Places(JobSettings(data=data))
    assert f"{tmp_path}/outputs/y" in plain.without_roots(f"{data}/x and {tmp_path}/outputs/y")

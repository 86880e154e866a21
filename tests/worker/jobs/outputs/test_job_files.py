"""A job's file: what is written into it, and what is taken from one that somebody put there."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cam_engine.errors import OutputNotWritable
from cam_engine.outputs.folder_lock import FINISHED
from processes.redis_server import RedisServer
from worker.jobs.contract import JobError, JobFolder, JobRecord
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.outputs import job_files
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.storage import FoundJob
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings
from worker.process import parts

ID = "0123456789abcdef0123456789abcdef"
MODEL = "cls_mobilenet_v3_small_focal"

Change = Callable[[dict[str, Any]], None]


class Jobs:
    """A coordinator over an empty Redis and a data root with one experiment."""

    def __init__(self, data: Path, redis: RedisServer) -> None:
        self.data = data
        self.coordinator: Coordinator
        self.store: JobStore
        self.places: Places
        settings = JobSettings(data=data, redis_url=redis.url)
        self.store, self.coordinator, self.places = parts(settings)

    @property
    def experiment(self) -> Path:
        return next(self.data.glob("*/experiments/experiment_*"))

    @property
    def output(self) -> Path:
        return self.experiment / "gradcam_visualizations"

    def manifest(self) -> dict[str, Any]:
        """One as the service writes it for two images."""
        experiment = self.experiment.relative_to(self.data).as_posix()
        crops = sorted(self.experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))[:2]
        folder = {"below": "data", "path": f"{experiment}/gradcam_visualizations"}
        return {
            "status": "running",
            "job": {
                "id": ID,
                "created_at": datetime.now(UTC).isoformat(),
                "request": {"experiment": experiment, "models": ["focal"], "max_images": 2},
                "models": [
                    {"id": f"{experiment}/{MODEL}", "name": MODEL, "checkpoint_sha256": "0" * 64}
                ],
                "image_count": 2,
                "output": folder["path"],
                "folder": folder,
            },
            "images": [
                [crop.relative_to(self.experiment).as_posix(), crop.stem, crop.parent.name]
                for crop in crops
            ],
        }

    def plant(self, manifest: object, folder: str = ID) -> Path:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        path = self.output / "runs" / folder / "job.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        return path

    def listed(self) -> list[str]:
        return self.store.job_ids(0, 100)[0]


@pytest.fixture
def jobs(store: JobStore, redis_server: RedisServer, sample_run: Path, tmp_path: Path) -> Jobs:
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    target = tmp_path / "data" / sample_run.name / "experiments" / source.name
    shutil.copytree(source, target)
    return Jobs(tmp_path / "data", redis_server)


def test_what_was_left_out_is_looked_for_anew(jobs: Jobs) -> None:
    manifest = jobs.manifest()
    planted = {"reason": "hidden", "count": 5, "examples": ["whatever somebody wants to be shown"]}
    manifest["job"]["left_out"] = {"kinds": [planted]}
    jobs.plant(manifest)
    (jobs.experiment / "cls_empty").mkdir()
    jobs.coordinator.rebuild()
    state = jobs.store.state(ID)
    assert state is not None
    assert state.record.left_out is not None
    assert [kind.examples for kind in state.record.left_out.kinds] == [("cls_empty",)]


def test_a_manifest_of_ours_is_put_back(jobs: Jobs) -> None:
    jobs.plant(jobs.manifest())
    jobs.coordinator.rebuild()
    state = jobs.store.state(ID)
    assert state is not None
    assert state.record.request.resume
    assert [image.true_class for image in jobs.store.images(ID)] == [
        row[2] for row in jobs.manifest()["images"]
    ]


def test_one_of_an_older_version_has_the_folder_that_it_lies_in(jobs: Jobs) -> None:
    manifest = jobs.manifest()
    del manifest["job"]["folder"]
    jobs.plant(manifest)
    jobs.coordinator.rebuild()
    state = jobs.store.state(ID)
    assert state is not None
    assert state.record.folder is not None
    assert state.record.folder.path.endswith("/gradcam_visualizations")


def _set(*path: str | int, to: object) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        inside: Any = manifest
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = to

    return change


def _twice(*path: str) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        inside: Any = manifest
        for key in path:
            inside = inside[key]
        inside.append(deepcopy(inside[0]))

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("job", "id", to="f" * 32),
        _set("job", "id", to=f"{ID}:images"),
        _set("job", "models", 0, "name", to="../../crops_gt_crops"),
        _set("job", "models", 0, "name", to="cls_not_there"),
        _set("job", "models", 0, "id", to="elsewhere/cls_mobilenet_v3_small_focal"),
        _set("job", "models", to=[]),
        _twice("job", "models"),
        _set("images", 0, 0, to="../../../secret.jpg"),
        _set("images", 0, 0, to="/etc/hostname"),
        _set("images", 0, 0, to="cls_mobilenet_v3_small_focal/best.pt"),
        _set("images", 0, 1, to="../../../../planted"),
        _set("images", 0, 1, to="/planted"),
        _set("images", 0, 1, to=""),
        _set("images", 0, 1, to="x" * 300),
        _twice("images"),
        _set("job", "image_count", to=10**12),
        _set("job", "image_count", to=-1),
        _set("job", "folder", "path", to="crops_gt_crops"),
        _set("job", "folder", "path", to="../outside/gradcam_visualizations"),
        _set("job", "folder", "below", to="store"),
        _set("job", "request", "experiment", to="../outside"),
        _set("job", "request", "experiment", to="nowhere"),
        _set("job", "request", "output", to="../outside"),
        _set("status", to=[]),
    ],
)
def test_what_does_not_agree_with_the_experiment_is_not_put_back(
    jobs: Jobs, change: Change
) -> None:
    manifest = jobs.manifest()
    change(manifest)
    jobs.plant(manifest)
    jobs.coordinator.rebuild()
    assert jobs.listed() == []
    assert jobs.store.active() == []


@pytest.mark.parametrize("text", ["[" * 200_000, "", "\x00", "{}", '"text"', "1e999", "[NaN"])
def test_what_is_no_manifest_does_not_keep_others_from_being_put_back(
    jobs: Jobs, text: str
) -> None:
    jobs.plant(text, "00000000000000000000000000000000")
    jobs.plant(jobs.manifest())
    jobs.coordinator.rebuild()
    assert jobs.listed() == [ID]


def test_a_manifest_of_ours_in_another_runs_folder_is_not_put_back(jobs: Jobs) -> None:
    jobs.plant(jobs.manifest(), "f" * 32)
    jobs.coordinator.rebuild()
    assert jobs.listed() == []


def test_a_run_behind_a_link_is_not_looked_at(jobs: Jobs, tmp_path: Path) -> None:
    path = jobs.plant(jobs.manifest())
    elsewhere = tmp_path / "elsewhere"
    shutil.move(path.parent, elsewhere)
    path.parent.symlink_to(elsewhere)
    jobs.coordinator.rebuild()
    assert jobs.listed() == []


def test_a_pipe_in_the_place_of_a_manifest_is_not_waited_for(jobs: Jobs) -> None:
    path = jobs.plant(jobs.manifest())
    path.unlink()
    os.mkfifo(path)
    jobs.coordinator.rebuild()
    assert jobs.listed() == []


def test_a_job_whose_id_is_a_path_removes_nothing(jobs: Jobs, tmp_path: Path) -> None:
    """As it went wrong: put back from a manifest, then expired."""
    victim = tmp_path / "victim"
    (victim / "job.json").parent.mkdir()
    (victim / "job.json").write_text("{}")
    manifest = jobs.manifest()
    manifest["job"]["id"] = str(victim)
    jobs.plant(manifest)
    jobs.coordinator.rebuild()
    jobs.coordinator.forget(str(victim))
    assert (victim / "job.json").is_file()


def test_what_is_forgotten_stays_so(jobs: Jobs) -> None:
    manifest = jobs.manifest()
    manifest["job"]["id"] = uuid.uuid4().hex
    jobs.plant(manifest)
    jobs.coordinator.rebuild()
    for job in jobs.listed():
        jobs.coordinator.forget(job)
    jobs.store.client.delete("gradcam:lock:rebuild")
    jobs.coordinator.rebuild()
    assert jobs.listed() == []


def test_a_link_in_the_place_of_the_output_folder_is_refused_in_words(
    jobs: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    jobs.plant(jobs.manifest())
    jobs.coordinator.rebuild()
    state = jobs.store.state(ID)
    assert state is not None
    shutil.rmtree(jobs.output)
    jobs.output.symlink_to(jobs.experiment / "crops_gt_crops")
    output = jobs.places.output(state.record)
    with pytest.raises(Exception, match="is a link, and links are not followed"):
        output.check_writable()
    with pytest.raises(Exception, match="is a link, and links are not followed"):
        output.write_job_file(ID, b"{}", finished=False)


def test_ids_that_stand_in_redis_already_are_left_alone(jobs: Jobs) -> None:
    """As an earlier version may have put them there."""
    jobs.store.client.zadd("gradcam:jobs", {"/x/victim": 1.0, ID: 2.0})
    jobs.store.client.zadd("gradcam:active", {"/x/victim": 1.0})
    expired = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    jobs.store.client.hset("gradcam:job:/x/victim", mapping={"record": "{}", "expires": expired})
    assert jobs.listed() == [ID]
    assert jobs.store.active() == []
    jobs.coordinator.round()


def test_a_part_of_a_job_is_no_job(jobs: Jobs) -> None:
    jobs.plant(jobs.manifest())
    jobs.coordinator.rebuild()
    for part in ("images", "pending", "events"):
        assert jobs.store.state(f"{ID}:{part}") is None


def test_a_file_says_how_its_job_stands(jobs: Jobs) -> None:
    jobs.plant(jobs.manifest())
    jobs.coordinator.rebuild()
    state = jobs.store.state(ID)
    assert state is not None
    output = jobs.places.output(state.record)
    images = jobs.store.images(ID)
    job_files.write_accepted(output, state.record, images)
    body = json.loads(output.read_job_file(ID))
    assert JobRecord.model_validate(body["job"]) == state.record
    assert body["status"] == "queued"
    assert body["images"] == [[image.path, image.name, image.true_class] for image in images]
    error = JobError(kind="input", code="no-models-found", detail="ä")
    ended = state.model_copy(update={"error": error, "started_at": datetime.now(UTC)})
    job_files.write_status(output, ID, ended, "failed")
    assert "ä" in output.read_job_file(ID).decode()
    written = json.loads(output.read_job_file(ID))
    assert {key: written[key] for key in body} == {**body, "status": "failed"}
    assert ended.started_at is not None
    assert written["started_at"] == ended.started_at.isoformat()
    assert written["error"] == error.model_dump()
    assert written["progress"] == state.progress.model_dump()
    job_files.write_status(output, ID, None, "queued")
    assert json.loads(output.read_job_file(ID)) == {**written, "status": "queued"}


@pytest.mark.parametrize("damaged", ["", "[]", "7", "[" * 200_000])
def test_a_damaged_file_is_not_written_over(jobs: Jobs, damaged: str) -> None:
    path = jobs.plant(damaged)
    output = jobs.places.storage.open(JobFolder(**jobs.manifest()["job"]["folder"]))
    with pytest.raises(OutputNotWritable, match=f"runs/{ID} is damaged; submit a new job"):
        job_files.write_status(output, ID, None, "failed")
    assert path.read_text() == damaged


@pytest.mark.parametrize(
    ("path", "is_its_place"),
    [
        ("{own}", True),
        ("{own}/sets/talk", True),
        ("{own}x", False),
        ("elsewhere", False),
    ],
)
def test_below_an_output_root_a_jobs_place_follows_from_its_request(
    jobs: Jobs, tmp_path: Path, path: str, is_its_place: bool
) -> None:
    places = Places(JobSettings(data=jobs.data, output_root=tmp_path / "outputs"))
    manifest = jobs.manifest()
    folder = {"below": "output", "path": path.format(own=manifest["job"]["folder"]["path"])}
    manifest["job"] |= {"folder": folder, "output": "told by somebody"}
    left_job = FoundJob(JobFolder(**folder), ID, json.dumps(manifest).encode())
    if not is_its_place:
        with pytest.raises(job_files.NotOurs, match="its pictures belong elsewhere"):
            job_files.unfinished(left_job, places)
        return
    unfinished = job_files.unfinished(left_job, places)
    assert unfinished is not None
    assert unfinished.record.folder == left_job.folder
    assert unfinished.record.output == folder["path"]


def test_a_job_that_named_its_output_left_nothing_beside_the_data(jobs: Jobs) -> None:
    manifest = jobs.manifest()
    manifest["job"]["request"]["output"] = "named"
    folder = JobFolder(**manifest["job"]["folder"])
    left_job = FoundJob(folder, ID, json.dumps(manifest).encode())
    with pytest.raises(job_files.NotOurs, match="its pictures belong elsewhere"):
        job_files.unfinished(left_job, jobs.places)


@pytest.mark.parametrize("status", FINISHED)
def test_a_job_that_has_ended_is_none_to_go_on_with(jobs: Jobs, status: str) -> None:
    manifest = {**jobs.manifest(), "status": status}
    folder = JobFolder(**manifest["job"]["folder"])
    left_job = FoundJob(folder, ID, json.dumps(manifest).encode())
    assert job_files.unfinished(left_job, jobs.places) is None

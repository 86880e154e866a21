"""A job's files where somebody has put links: nothing of the machine gets out through them."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cam_engine.decoding_pool import DecodingPool
from service.jobs import Jobs
from service.jobs_threads import JobsThreads
from service.problems import ServiceError
from tests.redis_server import RedisServer
from worker.contract import JobRequest, JobState
from worker.process import parts
from worker.running import ChunkRunner
from worker.settings import WorkerSettings
from worker.store.records import JobStore
from worker.store.webhooks import Webhooks

MODEL = "cls_mobilenet_v3_small_focal"
SECRET = b"root:x:0:0:"


@dataclass
class Setting:
    """Jobs on a data root with one experiment, worked off in this process."""

    jobs: Jobs
    runner: ChunkRunner
    experiment: Path

    @property
    def output(self) -> Path:
        return self.experiment / "gradcam_visualizations"

    def done(self, images: int = 2) -> JobState:
        name = self.experiment.relative_to(self.jobs.places.root.root).as_posix()
        request = JobRequest(experiment=name, models=("focal",), max_images=images)
        job = self.jobs.accept(request, None).state.record.id
        for given in self.jobs.store.out(job):
            self.runner.run(given.chunk)
        return self.jobs.get(job)

    def archive(self, job: JobState) -> dict[str, bytes]:
        data = b"".join(self.jobs.results.archive(job))
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            return {name: opened.read(name) for name in opened.namelist()}


@contextmanager
def setting_on(redis_server: RedisServer, sample_run: Path, tmp_path: Path) -> Iterator[Setting]:
    """One on a data root of its own."""
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    target = tmp_path / "data" / sample_run.name / "experiments" / source.name
    shutil.copytree(source, target)
    settings = WorkerSettings(data=tmp_path / "data", redis_url=redis_server.url, device="cpu")
    store, coordinator, places = parts(settings)
    decoding = DecodingPool()
    jobs = Jobs(store, coordinator, places, Webhooks(settings, store), decoding, JobsThreads(60.0))
    runner = ChunkRunner(settings, store, places, coordinator, "here", lambda: False)
    yield Setting(jobs, runner, target)
    jobs.threads.executor.shutdown()
    decoding.close()


@pytest.fixture
def setting(
    store: JobStore,
    redis_server: RedisServer,
    sample_run: Path,
    tmp_path: Path,
    one_thread: None,
) -> Iterator[Setting]:
    with setting_on(redis_server, sample_run, tmp_path) as made:
        yield made


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


def test_links_in_the_place_of_files_are_in_no_archive(setting: Setting, secret: Path) -> None:
    job = setting.done()
    assert job.status == "succeeded"
    whole = setting.archive(job)
    assert len(whole) == 2 * 7 + 6
    results = setting.output / "runs" / job.record.id / "results"
    figure = next((setting.output / MODEL).glob("*.png"))
    for path in (results / "summary.csv", results / MODEL / "summary.csv", figure):
        path.unlink()
        path.symlink_to(secret)
    (results / "more").symlink_to(secret.parent)
    files = setting.archive(job)
    assert not any(SECRET in content for content in files.values())
    left_out = {figure.relative_to(setting.output).as_posix(), "summary.csv"}
    assert set(files) - {"REPLACED.txt"} == set(whole) - left_out - {f"{MODEL}/summary.csv"}
    assert figure.name in files["REPLACED.txt"].decode()
    for path_ in left_out:
        with pytest.raises(ServiceError, match="file-not-found"):
            setting.jobs.results.file(job, path_)


def test_a_link_in_the_place_of_a_models_folder_fails_the_job(
    setting: Setting, secret: Path
) -> None:
    setting.output.mkdir()
    (secret.parent / "elsewhere").mkdir()
    (setting.output / MODEL).symlink_to(secret.parent / "elsewhere")
    with pytest.raises(Exception, match="is a link, and links are not followed"):
        setting.done()
    assert list((secret.parent / "elsewhere").iterdir()) == []


def test_a_link_that_appears_meanwhile_is_not_written_through(
    setting: Setting, secret: Path
) -> None:
    job = setting.done()
    (secret.parent / "elsewhere").mkdir()
    components = setting.output / MODEL / "components"
    shutil.rmtree(components)
    components.symlink_to(secret.parent / "elsewhere")
    state = setting.done(images=3)
    assert state.status == "failed"
    assert state.error is not None
    assert "components is a link" in state.error.detail
    assert list((secret.parent / "elsewhere").iterdir()) == []
    assert job.status == "succeeded"


def test_errors_of_jobs_say_paths_below_the_data_root(setting: Setting) -> None:
    crops = sorted(setting.experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))
    for crop in crops:
        crop.write_bytes(b"no image")
    state = setting.done()
    failures = setting.jobs.store.failures(state.record.id)
    assert len(failures) == 2
    summary = (setting.output / "summary.csv").read_text()
    (setting.experiment / MODEL / "best.pt").write_bytes(b"no checkpoint")
    broken = setting.done()
    failures |= setting.jobs.store.failures(broken.record.id)
    texts = [one.detail for one in failures.values()] + [summary, broken.model_dump_json()]
    root = str(setting.jobs.places.root.root)
    assert [text for text in texts if root in text] == []
    assert any(f"experiments/{setting.experiment.name}/" in text for text in texts)


def test_a_damaged_summary_beside_a_job_does_not_keep_it_from_ending(setting: Setting) -> None:
    other = setting.output / "cls_other"
    other.mkdir(parents=True)
    for name in ("summary.json", "manifest.json"):
        (other / name).write_text(json.dumps({"images": "x" * 10}))
    job = setting.done()
    assert job.status == "succeeded"
    assert len(setting.archive(job)) == 2 * 7 + 6


def test_a_pipe_in_the_place_of_a_lock_is_said(setting: Setting) -> None:
    (setting.output / MODEL).mkdir(parents=True)
    os.mkfifo(setting.output / MODEL / ".gradcam.lock")
    with pytest.raises(Exception, match="no regular file"):
        setting.done()

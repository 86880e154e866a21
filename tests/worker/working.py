"""Jobs on a data root with one experiment, worked off in this process."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_engine.images.decoding_pool import DecodingPool
from processes.redis_server import RedisServer
from service.jobs.accepting import Jobs
from service.jobs.threads import JobsThreads
from worker.chunks import ChunkRunner
from worker.jobs.contract import JobRequest, JobState
from worker.jobs.coordination.webhooks import Webhooks
from worker.process import parts
from worker.settings import WorkerSettings

MODEL = "cls_mobilenet_v3_small_focal"
IMAGES = 4


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
def setting_on(
    redis_server: RedisServer, sample_run: Path, tmp_path: Path, **more: Any
) -> Iterator[Setting]:
    """One on a data root of its own; more: settings of the worker."""
    source = sorted(sample_run.glob("experiments/experiment_*"))[0]
    target = tmp_path / "data" / sample_run.name / "experiments" / source.name
    shutil.copytree(source, target)
    settings = WorkerSettings(
        data=tmp_path / "data", redis_url=redis_server.url, device="cpu", **more
    )
    store, coordinator, places = parts(settings)
    decoding = DecodingPool()
    jobs = Jobs(store, coordinator, places, Webhooks(settings, store), decoding, JobsThreads(60.0))
    runner = ChunkRunner(settings, store, places, coordinator, "here", lambda: False)
    yield Setting(jobs, runner, target)
    jobs.threads.executor.shutdown()
    decoding.close()


def crops(setting: Setting) -> list[Path]:
    """The first few of the experiment's test crops; the others are removed."""
    images = sorted(setting.experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))
    for crop in images[IMAGES:]:
        crop.unlink()
    return images[:IMAGES]

"""One item's fault in a job: it fails by itself, with a code, and the rest is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cam_engine.test_commands import save_failing
from tests.redis_server import RedisServer
from tests.worker.test_links_in_outputs import Setting, setting_on
from worker.contract import JobRequest, JobState
from worker.store.records import JobStore

IMAGES = 4


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


def crops(setting: Setting) -> list[Path]:
    """Few of them."""
    found = sorted(setting.experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))
    for crop in found[IMAGES:]:
        crop.unlink()
    return found[:IMAGES]


def done(setting: Setting, *models: str) -> JobState:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    request = JobRequest(experiment=name, models=models, max_images=None)
    job = setting.jobs.accept(request, None).state.record.id
    while given := list(setting.jobs.store.out(job)):
        for one in given:
            setting.runner.run(one.chunk)
    return setting.jobs.get(job)


def test_a_model_that_fails_in_any_way_fails_alone(setting: Setting) -> None:
    crops(setting)
    save_failing(setting.experiment / "cls_failing_ce")
    job = done(setting, "failing", "focal")
    assert (job.status, job.progress.succeeded, job.progress.failed) == ("partial", IMAGES, IMAGES)
    whys = setting.jobs.store.failures(job.record.id).values()
    assert {why.code for why in whys} == {"internal-error"}
    assert not any(str(setting.experiment.parent.parent) in why.detail for why in whys)

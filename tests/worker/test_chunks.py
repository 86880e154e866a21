"""A chunk in a worker: what it is told in its middle is heeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cam_engine.images.decoded import DecodedImage
from cam_engine.images.decoding import ImageLimits
from cam_engine.options import DecodingOptions
from processes.redis_server import RedisServer
from tests.worker.working import MODEL, Setting, setting_on
from worker.jobs.contract import Chunk, JobRequest
from worker.jobs.redis.job_store import JobStore

IMAGES = 12


@pytest.fixture
def setting(
    store: JobStore,
    redis_server: RedisServer,
    sample_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Setting]:
    """A worker that does image by image and reports of each."""
    monkeypatch.setattr("worker.turns._REPORT_SECONDS", 0.0)
    with setting_on(redis_server, sample_run, tmp_path) as made:
        models = made.runner._models
        models._settings = models._settings.model_copy(update={"batch_size": 1})
        yield made


def submitted(setting: Setting) -> Chunk:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    request = JobRequest(experiment=name, models=("focal",), max_images=IMAGES)
    job = setting.jobs.accept(request, None).state.record.id
    (given,) = setting.jobs.store.out(job)
    return given.chunk


def when_the_third_image_is_decoded(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]
) -> None:
    decode, decoded = setting.runner._decoding.decode, []

    def counted(data: bytes, limits: ImageLimits, options: DecodingOptions) -> DecodedImage:
        decoded.append(len(data))
        if len(decoded) == 3:
            happens()
        return decode(data, limits, options)

    monkeypatch.setattr(setting.runner._decoding, "decode", counted)


def figures(setting: Setting) -> list[Path]:
    return sorted(setting.output.glob(f"{MODEL}/improved_gradcam_*.png"))


def test_a_job_that_is_canceled_is_left_after_the_image_at_hand(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = submitted(setting)
    store = setting.jobs.store
    when_the_third_image_is_decoded(setting, monkeypatch, lambda: store.cancel(chunk.job))
    setting.runner.run(chunk)
    state = setting.jobs.get(chunk.job)
    assert state.status == "canceled"
    assert 0 < state.progress.succeeded < IMAGES
    assert len(figures(setting)) < IMAGES


def test_a_chunk_that_has_become_anothers_is_left(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = submitted(setting)
    store = setting.jobs.store

    def another_takes_it() -> None:
        (lease,) = store.client.keys("*lease*")
        store.client.set(lease, "another", ex=600)

    when_the_third_image_is_decoded(setting, monkeypatch, another_takes_it)
    setting.runner.run(chunk)
    state = setting.jobs.get(chunk.job)
    assert (state.status, [taken.chunk for taken in store.out(chunk.job)]) == ("running", [chunk])
    assert state.progress.succeeded < IMAGES
    assert len(figures(setting)) < IMAGES


def test_processes_that_draw_stay_for_the_next_job(
    store: JobStore, redis_server: RedisServer, sample_run: Path, tmp_path: Path
) -> None:
    with setting_on(redis_server, sample_run, tmp_path, drawing_processes=2) as setting:
        pool = setting.runner._drawing
        assert pool is not None
        assert setting.done(8).status == "succeeded"
        first = set(pool.pids)
        assert len(first) == 2
        assert len(figures(setting)) == 8
        assert setting.done(IMAGES).status == "succeeded"
        assert set(pool.pids) == first
        pool.close()


def test_beside_a_cpu_threads_draw(
    store: JobStore, redis_server: RedisServer, sample_run: Path, tmp_path: Path
) -> None:
    with setting_on(redis_server, sample_run, tmp_path) as setting:
        assert setting.runner._drawing is None

"""A wall clock that is set forward or back by hours, as after a restart without network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from processes.eventually import eventually
from processes.redis_server import running_redis
from tests.fake_clock import SetClock, fake_clock
from worker.jobs.contract import JobImage, JobModel, JobRecord, JobRequest
from worker.jobs.redis.job_store import JobStore, connect
from worker.jobs.settings import JobSettings
from worker.process import parts

HOURS = 2 * 3600
LEASE_SECONDS = 2
WORKER = "w:1"


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """The clock of Redis."""
    return fake_clock(tmp_path, monkeypatch)


@pytest.fixture
def settings(set_clock: SetClock, tmp_path: Path) -> Iterator[JobSettings]:
    """An empty Redis with that clock."""
    for folder in ("redis", "data"):
        (tmp_path / folder).mkdir()
    with running_redis(tmp_path / "redis") as server:
        yield JobSettings(data=tmp_path / "data", redis_url=server.url, lease_seconds=LEASE_SECONDS)


def create(store: JobStore, number: int, images: int = 4) -> str:
    record = JobRecord(
        id=f"{number:032x}",
        created_at=datetime.now(UTC),
        request=JobRequest(experiment="e"),
        models=(JobModel(id="e/m", name="m", checkpoint_sha256="0" * 64),),
        image_count=images,
        output="e/gradcam_visualizations",
    )
    names = [JobImage(path=f"{i}.jpg", name=str(i), true_class=None) for i in range(images)]
    assert store.create(record, names)
    return record.id


def test_a_lost_chunk_is_put_back_though_the_clock_went_back(
    settings: JobSettings, set_clock: SetClock
) -> None:
    store, coordinator, _ = parts(settings)
    job = create(store, 1)
    chunk = store.cut(job, 4)
    assert chunk is not None
    assert store.take(chunk, WORKER, LEASE_SECONDS) == "go"
    set_clock(-HOURS)

    def given_again() -> bool:
        coordinator.round()
        return any(taken.chunk.attempt == 2 for taken in store.out(job))

    eventually("the chunk is given out again", given_again, seconds=60)


def test_a_worker_keeps_its_chunk_over_a_jump(settings: JobSettings, set_clock: SetClock) -> None:
    store, coordinator, _ = parts(settings)
    job = create(store, 1)
    chunk = store.cut(job, 4)
    assert chunk is not None
    assert store.take(chunk, WORKER, LEASE_SECONDS) == "go"
    for item, seconds in enumerate((-HOURS, 0, HOURS, 0)):
        set_clock(seconds)
        assert store.mark(chunk, WORKER, LEASE_SECONDS, [item], {}) == "go"
        coordinator.round()
    store.hand_in(chunk, WORKER)
    coordinator.round()
    state = store.state(job)
    assert state is not None
    assert (state.status, state.progress.succeeded) == ("succeeded", 4)


def test_progress_is_told_though_the_clock_went_back(
    settings: JobSettings, set_clock: SetClock
) -> None:
    store = JobStore(connect(str(settings.redis_url)))
    job = create(store, 1)
    chunk = store.cut(job, 4)
    assert chunk is not None
    store.take(chunk, WORKER, 600)
    store.mark(chunk, WORKER, 600, [0], {})
    set_clock(-HOURS)
    store.mark(chunk, WORKER, 600, [1], {})
    eventually("listeners may be told again", lambda: not store.client.keys("*:quiet"))
    store.mark(chunk, WORKER, 600, [2], {})
    assert store.events(job, "0")[-1].state.progress.succeeded == 3


def test_turns_that_are_not_given_back_end_though_the_clock_went_back(
    settings: JobSettings, set_clock: SetClock
) -> None:
    store = JobStore(connect(str(settings.redis_url)))
    with store.only_one("rebuild", 1, keep=True) as mine:
        assert mine
    set_clock(-HOURS)

    def mine_again() -> bool:
        with store.only_one("rebuild", 1, keep=True) as turn:
            return turn

    eventually("it is another's turn", mine_again, seconds=60)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets this process's clock to so many seconds from the real one."""
    real = time.time
    return lambda seconds: monkeypatch.setattr("time.time", lambda: real() + seconds)


def test_jobs_take_turns_though_the_clock_went_back(
    store: JobStore, at: Callable[[int], None]
) -> None:
    jobs = [create(store, number) for number in (1, 2)]
    for job in jobs:
        assert store.cut(job, 1)
    at(-HOURS)
    turns = []
    for _ in range(6):
        chunk = store.cut(store.active()[0], 1)
        assert chunk is not None
        turns.append(chunk.job)
    assert turns == [*jobs, *jobs, *jobs]


@pytest.mark.parametrize("seconds", [-HOURS, HOURS])
def test_a_worker_that_is_gone_is_not_counted(
    settings: JobSettings, set_clock: SetClock, seconds: int
) -> None:
    store, _, _ = parts(settings)
    store.beat("gone")
    set_clock(seconds)
    store.beat("here")
    assert store.workers() == ["here"]


def test_a_message_that_was_lost_is_sent_again_though_the_clock_went_back(
    settings: JobSettings, set_clock: SetClock
) -> None:
    store, coordinator, _ = parts(settings)
    job = create(store, 1)
    assert store.cut(job, 4)  # and the message of it never came
    set_clock(-HOURS)
    coordinator.round()
    assert store.client.llen("gradcam-chunks") == 1


def test_a_webhook_is_due_though_the_clock_went_back(
    settings: JobSettings, set_clock: SetClock
) -> None:
    store, _, _ = parts(settings)
    job = create(store, 1)
    store.plan_webhook(job, 600, 2)
    assert store.due_webhooks() == []
    set_clock(-HOURS)
    assert store.due_webhooks() == [(job, 2)]


@pytest.mark.parametrize("seconds", [-90, 90])
def test_a_machine_whose_clock_is_wrong_works_with_the_others(
    store: JobStore, at: Callable[[int], None], seconds: int
) -> None:
    job = create(store, 1)
    at(seconds)
    store.beat("there")
    chunk = store.cut(job, 4)
    store.plan_webhook(job, 60, 1)
    at(0)
    assert store.workers() == ["there"]
    (given,) = store.out(job)
    assert given.chunk == chunk
    assert abs(store.now() - given.since) < 30
    assert store.due_webhooks() == []
    at(2 * seconds)
    assert store.due_webhooks() == []

"""The coordinator by itself on a real Redis: gives out, recovers what was lost, ends, forgets."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Connection

from cam_engine.errors import OutputNotWritable
from processes.redis_server import RedisServer
from tests.worker.working import MODEL
from worker.jobs.contract import (
    Chunk,
    ItemFailure,
    JobImage,
    JobModel,
    JobRecord,
    JobRequest,
    JobState,
)
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.coordination.queue import CHUNKS
from worker.jobs.outputs import job_files
from worker.jobs.outputs.places import Places
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings
from worker.process import parts

WORKER = "here:1"
ATTEMPTS, LEASE_SECONDS, CHUNK_SECONDS = 3, 600, 10.0
UNREADABLE = ItemFailure(code="invalid-image", detail="not a whole image")
SHA = "0" * 64


@dataclass
class Jobs:
    """Jobs on a data root with one experiment, and the messages of their chunks."""

    settings: JobSettings
    store: JobStore
    coordinator: Coordinator
    places: Places
    experiment: str

    def accept(self, number: int = 1, images: int = 4, **options: Any) -> str:
        """A job of one model, its file written and its folder taken."""
        record = JobRecord(
            id=f"{number:032x}",
            created_at=datetime.now(UTC),
            request=JobRequest(experiment=self.experiment, name=f"set{number}", **options),
            models=(JobModel(id=f"{self.experiment}/{MODEL}", name=MODEL, checkpoint_sha256=SHA),),
            image_count=images,
            output=f"{self.experiment}/gradcam_visualizations",
        )
        place = self.places.storage.place(record.request).set_named(f"set{number}")
        record = record.model_copy(update={"folder": place})
        names = [JobImage(path=f"{i}.jpg", name=str(i), true_class=None) for i in range(images)]
        job_files.write_accepted(self.places.output(record), record, names)
        self.places.output(record).acquire(MODEL, record.id)
        assert self.store.create(record, names)
        return record.id

    def state(self, job: str) -> JobState:
        known = self.store.state(job)
        assert known is not None
        return known

    def out(self, job: str) -> list[Chunk]:
        return [given.chunk for given in self.store.out(job)]

    def messages(self) -> int:
        return int(self.store.client.llen(CHUNKS))

    def take(self, job: str) -> Chunk:
        """A worker takes the job's one chunk that is out."""
        (chunk,) = self.out(job)
        assert self.store.take(chunk, WORKER, LEASE_SECONDS) == "go"
        return chunk

    def run_leases_out(self) -> None:
        """As if no worker had been heard of for long."""
        assert self.store.client.delete(*self.store.client.keys("*:lease:*"))

    def output(self, job: str) -> Path:
        place = self.state(job).record.folder
        assert place is not None
        return self.settings.data / place.path

    def file_status(self, job: str) -> str:
        file = self.output(job) / "runs" / job / "job.json"
        return str(json.loads(file.read_text())["status"])


@pytest.fixture
def jobs(store: JobStore, redis_server: RedisServer, lifecycle: Path, tmp_path: Path) -> Jobs:
    data = tmp_path / "data"
    shutil.copytree(lifecycle, data / lifecycle.name)
    settings = JobSettings(
        data=data,
        redis_url=redis_server.url,
        attempts=ATTEMPTS,
        lease_seconds=LEASE_SECONDS,
        chunk_seconds=CHUNK_SECONDS,
    )
    store, coordinator, places = parts(settings)
    return Jobs(settings, store, coordinator, places, lifecycle.name)


def test_a_round_gives_out_what_is_to_be_done(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.coordinator.round()
    assert jobs.out(job) == [Chunk(job=job, model=0, start=0, end=4, attempt=1)]
    assert jobs.messages() == 1
    jobs.coordinator.round()
    assert jobs.messages() == 1  # nothing else is to be done


def test_each_worker_has_a_chunk_and_another_waits(jobs: Jobs) -> None:
    job = jobs.accept(images=1000)
    jobs.store.remember_rate(SHA, 1.0)
    jobs.coordinator.dispatch()
    assert len(jobs.out(job)) == 2  # as for one worker, who may be about to come
    for name in ("w1", "w2", "w3"):
        jobs.store.beat(name)
    jobs.coordinator.dispatch()
    assert len(jobs.out(job)) == 6
    assert jobs.messages() == 6


def test_jobs_take_turns(jobs: Jobs) -> None:
    first, second = jobs.accept(1, images=1000), jobs.accept(2, images=1000)
    jobs.store.beat("w1")
    jobs.store.beat("w2")
    jobs.coordinator.dispatch()
    assert (len(jobs.out(first)), len(jobs.out(second))) == (2, 2)


@pytest.mark.parametrize(
    ("rate", "images"), [(None, 64), (2.5, 25), (0.01, 1), (1e6, 20_000)], ids=str
)
def test_a_chunk_lasts_as_long_as_wanted_where_the_rate_is_known(
    jobs: Jobs, rate: float | None, images: int
) -> None:
    job = jobs.accept(images=50_000)
    if rate is not None:
        jobs.store.remember_rate(SHA, rate)
    jobs.coordinator.dispatch()
    assert min(jobs.out(job), key=lambda taken: taken.start).end == images


def test_a_chunk_whose_lease_ran_out_is_given_out_again(jobs: Jobs) -> None:
    job = jobs.accept()
    jobs.coordinator.round()
    chunk = jobs.take(job)
    jobs.coordinator.round()
    assert jobs.out(job) == [chunk]  # its worker has it
    jobs.run_leases_out()
    jobs.coordinator.round()
    assert jobs.out(job) == [chunk.model_copy(update={"attempt": 2})]
    assert jobs.messages() == 2
    assert jobs.state(job).status == "running"


def test_what_costs_so_many_workers_is_given_up_and_says_why(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.coordinator.round()
    for attempt in range(1, ATTEMPTS + 1):
        assert jobs.state(job).status in {"queued", "running"}
        assert jobs.take(job).attempt == attempt
        jobs.run_leases_out()
        jobs.coordinator.round()
    state = jobs.state(job)
    assert (state.status, state.progress.failed, jobs.out(job)) == ("failed", 4, [])
    assert state.error is not None
    assert (state.error.kind, state.error.code) == ("system", "worker-lost")
    assert state.error.detail == (
        f"the worker ended {ATTEMPTS} times in the middle of these images; see its log, and try "
        "them one by one"
    )
    assert {why.code for why in jobs.store.failures(job).values()} == {"worker-lost"}
    assert jobs.file_status(job) == "failed"


def test_what_was_done_before_stays_done_when_the_rest_is_given_up(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.coordinator.round()
    for _ in range(ATTEMPTS):
        chunk = jobs.take(job)
        assert jobs.store.mark(chunk, WORKER, LEASE_SECONDS, [0, 2], {}) == "go"
        jobs.run_leases_out()
        jobs.coordinator.round()
    state = jobs.state(job)
    assert (state.status, state.progress.succeeded, state.progress.failed) == ("partial", 2, 2)
    assert sorted(jobs.store.failures(job)) == [1, 3]
    assert state.error is None


def test_other_chunks_of_the_job_go_on_when_one_is_given_up(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.store.remember_rate(SHA, 2 / CHUNK_SECONDS)
    jobs.coordinator.round()
    assert len(jobs.out(job)) == 2
    for _ in range(ATTEMPTS):
        lost = next(taken for taken in jobs.out(job) if taken.start == 2)
        jobs.store.take(lost, WORKER, LEASE_SECONDS)
        jobs.run_leases_out()
        jobs.coordinator.round()
    assert jobs.state(job).status == "running"
    assert [taken.start for taken in jobs.out(job)] == [0]
    assert sorted(jobs.store.failures(job)) == [2, 3]


def finish(jobs: Jobs, job: str, succeeded: list[int], failed: dict[int, ItemFailure]) -> None:
    """A worker does the job's one chunk."""
    chunk = jobs.take(job)
    assert jobs.store.mark(chunk, WORKER, LEASE_SECONDS, succeeded, failed) == "go"
    jobs.store.hand_in(chunk, WORKER)


@pytest.mark.parametrize(("failed", "status"), [(0, "succeeded"), (1, "partial"), (4, "failed")])
def test_a_job_ends_by_how_its_images_went(jobs: Jobs, failed: int, status: str) -> None:
    job = jobs.accept(images=4)
    jobs.coordinator.round()
    whys = dict.fromkeys(range(4 - failed, 4), UNREADABLE)
    finish(jobs, job, list(range(4 - failed)), whys)
    assert jobs.state(job).status == "running"
    jobs.coordinator.advance(job)
    state = jobs.state(job)
    assert state.status == jobs.file_status(job) == status
    assert jobs.store.active() == []
    if status == "failed":
        assert state.error is not None
        assert (state.error.kind, state.error.code) == ("input", "invalid-image")
    else:
        assert state.error is None


def test_a_job_with_ranges_left_is_not_ended(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.store.remember_rate(SHA, 1 / CHUNK_SECONDS)
    jobs.coordinator.round()
    for chunk in jobs.out(job):  # one image each; two wait to be given out
        jobs.store.take(chunk, WORKER, LEASE_SECONDS)
        jobs.store.mark(chunk, WORKER, LEASE_SECONDS, [chunk.start], {})
        jobs.store.hand_in(chunk, WORKER)
    jobs.coordinator.finish_if_done(job)
    assert jobs.state(job).status == "running"
    jobs.coordinator.advance(job)
    assert sorted(taken.start for taken in jobs.out(job)) == [2, 3]


def test_a_canceled_job_that_nobody_works_on_ends(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.coordinator.round()
    assert jobs.store.cancel(job) == "canceling"
    jobs.coordinator.round()
    state = jobs.state(job)
    assert (state.status, state.progress.skipped) == ("canceled", 4)
    assert jobs.file_status(job) == "canceled"
    assert jobs.out(job) == []
    assert not (jobs.output(job) / MODEL / ".gradcam.lock").exists()


def test_only_who_asked_is_told_of_an_end(jobs: Jobs) -> None:
    asked = jobs.accept(1, webhook="https://portal.example/ended")
    silent = jobs.accept(2)
    for job in (asked, silent):
        jobs.store.cancel(job)
    jobs.coordinator.round()
    assert [jobs.state(job).status for job in (asked, silent)] == ["canceled", "canceled"]
    assert jobs.store.due_webhooks() == [(asked, 1)]


def test_a_canceled_job_ends_once_its_worker_has_let_go(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.coordinator.round()
    chunk = jobs.take(job)
    jobs.store.cancel(job)
    jobs.coordinator.round()
    assert jobs.state(job).status == "canceling"
    assert jobs.store.mark(chunk, WORKER, LEASE_SECONDS, [0], {}) == "cancel"
    jobs.store.hand_in(chunk, WORKER)
    jobs.coordinator.advance(job)
    state = jobs.state(job)
    assert (state.status, state.progress.succeeded, state.progress.skipped) == ("canceled", 1, 3)


def test_a_job_fails_as_a_whole_without_where_its_root_is(jobs: Jobs) -> None:
    job = jobs.accept()
    jobs.coordinator.round()
    why = OutputNotWritable(f"cannot write to {jobs.settings.data}/x: the disk is full")
    jobs.coordinator.fail(job, why)
    state = jobs.state(job)
    assert state.status == jobs.file_status(job) == "failed"
    assert state.error is not None
    assert (state.error.kind, state.error.code) == ("system", "output-not-writable")
    assert "the disk is full" in state.error.detail
    assert str(jobs.settings.data) not in state.error.detail
    jobs.coordinator.fail(job, OutputNotWritable("later"))  # it has ended
    assert jobs.state(job) == state


@pytest.mark.parametrize(("others", "sent"), [(0, 1), (1, 0)])
def test_a_message_that_was_lost_is_sent_again_once_none_waits(
    jobs: Jobs, others: int, sent: int
) -> None:
    job = jobs.accept()
    jobs.coordinator.round()
    (chunk,) = jobs.out(job)
    jobs.store.client.delete(CHUNKS)
    jobs.coordinator.round()
    assert jobs.messages() == 0  # it may still come
    (key,) = jobs.store.client.keys(f"*:{job}:out")
    jobs.store.client.hset(key, chunk.key, "1 0 sent")  # long ago
    if others:
        jobs.store.client.rpush(CHUNKS, "another's message")
    jobs.coordinator.round()
    assert jobs.messages() - others == sent
    assert jobs.out(job) == [chunk]


@pytest.mark.parametrize(("seconds", "sent"), [(60, 1), (5, 0)])
def test_a_message_that_was_overtaken_long_since_is_sent_again_once(
    jobs: Jobs, seconds: int, sent: int
) -> None:
    """Where others always wait, none would ever be sent again."""
    lost, other = jobs.accept(1), jobs.accept(2)
    jobs.store.beat("w1")
    jobs.coordinator.round()
    (chunk,) = jobs.out(lost)
    jobs.take(other)
    jobs.store.client.delete(CHUNKS)
    jobs.store.client.rpush(CHUNKS, "another's message")
    (key,) = jobs.store.client.keys(f"*:{lost}:out")
    now = jobs.store.now()
    jobs.store.client.hset(key, chunk.key, f"1 {now - seconds} sent")
    for _ in range(3):
        jobs.coordinator.round()
    assert jobs.messages() - 1 == sent
    assert jobs.out(lost) == [chunk]
    jobs.take(lost)
    assert not jobs.store.sent_again(chunk)  # a worker has it


@pytest.mark.parametrize("turn", ["round", "dispatch"])
def test_one_of_several_acts_at_a_time(jobs: Jobs, turn: str) -> None:
    job = jobs.accept(images=4)
    if turn == "round":
        jobs.coordinator.round()
        jobs.take(job)
        jobs.run_leases_out()
    before = jobs.store.out(job)
    with jobs.store.only_one(turn, 60) as mine:
        assert mine
        jobs.coordinator.round()
        assert jobs.store.out(job) == before
    jobs.coordinator.round()
    assert jobs.store.out(job) != before


def test_while_one_ends_a_job_another_does_not(jobs: Jobs) -> None:
    job = jobs.accept(images=4)
    jobs.coordinator.round()
    finish(jobs, job, [0, 1, 2, 3], {})
    with jobs.store.only_one(f"finish:{job}", 60) as mine:
        assert mine
        jobs.coordinator.round()
        assert jobs.state(job).status == "running"
    jobs.coordinator.round()
    assert jobs.state(job).status == "succeeded"


def test_many_at_once_give_out_no_more_than_one_would(jobs: Jobs) -> None:
    job = jobs.accept(images=1000)
    jobs.store.remember_rate(SHA, 1 / CHUNK_SECONDS)
    at_once = threading.Barrier(8)

    def round_of_another() -> None:
        _, coordinator, _ = parts(jobs.settings)
        at_once.wait()
        coordinator.round()

    threads = [threading.Thread(target=round_of_another) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs.coordinator.round()
    assert len(jobs.out(job)) == jobs.messages() == 2


def test_a_redis_that_was_emptied_is_filled_from_the_jobs_files(jobs: Jobs) -> None:
    """With what the files say that agrees with the experiment, which these images do not."""
    job = jobs.accept()
    file = jobs.output(job) / "runs" / job / "job.json"
    body = json.loads(file.read_text())
    crop = next((jobs.settings.data / jobs.experiment).rglob("test/ring/*.jpg"))
    path = crop.relative_to(jobs.settings.data / jobs.experiment).as_posix()
    body["images"], body["job"]["image_count"] = [[path, crop.stem, "ring"]], 1
    file.write_text(json.dumps(body))
    jobs.store.client.flushall()
    jobs.coordinator.round()
    state = jobs.state(job)
    assert (state.status, state.progress.total) == ("queued", 1)
    assert state.record.request.resume  # what was made before is not made again
    assert jobs.store.images(job) == [JobImage(path=path, name=crop.stem, true_class="ring")]


def test_an_ended_job_is_forgotten_when_its_time_is_over_and_its_pictures_stay(jobs: Jobs) -> None:
    job = jobs.accept()
    picture = jobs.output(job) / MODEL / "improved_gradcam_a.png"
    picture.write_bytes(b"a picture")
    jobs.store.end(job, "succeeded", None, datetime.now(UTC) + timedelta(days=1))
    jobs.coordinator.round()
    assert jobs.state(job).finished
    output = jobs.output(job)
    expires = (datetime.now(UTC) - timedelta(seconds=1)).timestamp()
    (key,) = [stored for stored in jobs.store.client.keys(f"*:{job}") if b":job:" in stored]
    jobs.store.client.hset(key, "expires", expires)
    jobs.store.client.delete("gradcam:lock:expire")  # its turn comes once a minute
    jobs.coordinator.round()
    assert jobs.store.state(job) is None
    assert not (output / "runs" / job).exists()
    assert picture.read_bytes() == b"a picture"


def test_of_many_that_take_turns_one_has_a_round_at_a_time(jobs: Jobs) -> None:
    jobs.coordinator.round_in_turn()
    job = jobs.accept()
    jobs.coordinator.round_in_turn()
    assert jobs.messages() == 0  # the last one was a moment ago
    assert jobs.store.client.delete("gradcam:lock:turn")
    jobs.coordinator.round_in_turn()
    assert len(jobs.out(job)) == 1
    assert 0 < jobs.store.client.ttl("gradcam:lock:turn") <= 2


@pytest.mark.parametrize("turn", ["round", "dispatch"])
def test_many_jobs_that_go_on_are_asked_for_as_often_as_one(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, turn: str
) -> None:
    """Else two hundred workers with three hundred jobs do nothing but ask."""
    sent: list[object] = []
    send: Callable[..., None] = Connection.send_packed_command

    def counted(self: Connection, command: object, check_health: bool = True) -> None:
        sent.append(command)
        send(self, command, check_health)

    asked = []
    for number in range(1, 6):
        jobs.store.beat(f"w{number}")
        job = jobs.accept(number)
        jobs.coordinator.round()
        jobs.take(job)
        with monkeypatch.context() as patched:
            patched.setattr(Connection, "send_packed_command", counted)
            sent.clear()
            getattr(jobs.coordinator, turn)()
            asked.append(len(sent))
    assert len(set(asked[1:])) == 1, asked
    assert asked[1] < 25

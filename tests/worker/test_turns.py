"""A worker's turn with a chunk: what the store is told, whatever becomes of the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from redis.exceptions import RedisError

from cam_engine.errors import CheckpointInvalid, OutputNotWritable
from cam_engine.pictures.recipes import Failed, Succeeded
from processes.redis_server import RedisServer
from tests.worker.jobs.redis.submitting import JOB, counts, submitted
from worker.jobs.contract import Chunk, JobState
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings
from worker.process import parts
from worker.turns import ChunkTurns, Report, Stopped

WORKER = "here:1"
MADE = Succeeded("", "", None, "", 0.0, "", (), (), None, clahe_changed_class=False)


class Turns(ChunkTurns):
    """What a test says is done with the images."""

    does: Callable[[Chunk, Report], object]

    def explain(self, chunk: Chunk, state: JobState, report: Report) -> None:
        assert state.record.id == chunk.job
        self.does(chunk, report)


@dataclass
class Bench:
    """A worker, and a job of one model over ten images."""

    store: JobStore
    turns: Turns

    def run(self, does: Callable[[Chunk, Report], object]) -> Chunk:
        chunk = self.store.cut(JOB, 10)
        assert chunk is not None
        self.turns.does = does
        self.turns.run(chunk)
        return chunk


@pytest.fixture
def bench(store: JobStore, redis_server: RedisServer) -> Bench:
    submitted(store, models=1)
    settings = JobSettings(redis_url=redis_server.url)
    store, coordinator, places = parts(settings)
    return Bench(store, Turns(store, places, coordinator, WORKER, settings.lease_seconds))


def rows(count: int) -> Callable[[Chunk, Report], None]:
    def does(chunk: Chunk, report: Report) -> None:
        for _ in range(count):
            report.row(MADE)
        report.flush()

    return does


def test_images_are_told_of_the_chunk_is_handed_in_and_the_job_ends(bench: Bench) -> None:
    def does(chunk: Chunk, report: Report) -> None:
        assert [given.leased for given in bench.store.out(JOB)] == [True]
        rows(9)(chunk, report)
        report.row(Failed("", "", None, "invalid-image", "not whole"))
        report.flush()

    bench.run(does)
    assert counts(bench.store) == ("partial", 9, 1, 0)
    assert bench.store.failures(JOB)[9].code == "invalid-image"
    assert bench.store.seconds(JOB, 0) > 0


def test_who_is_to_stop_hands_the_rest_back(bench: Bench) -> None:
    def does(chunk: Chunk, report: Report) -> None:
        rows(4)(chunk, report)
        raise Stopped("go")

    bench.run(does)
    assert counts(bench.store) == ("running", 4, 0, 0)
    assert [given.chunk.start for given in bench.store.out(JOB)] == [4]  # given out anew


def test_what_was_made_before_counts_without_a_row(bench: Bench) -> None:
    def does(chunk: Chunk, report: Report) -> None:
        report.skip({0: (), 3: ()})
        rows(8)(chunk, report)

    bench.run(does)
    assert counts(bench.store) == ("succeeded", 10, 0, 0)


def test_a_model_that_cannot_be_used_fails_what_is_left(bench: Bench) -> None:
    def does(chunk: Chunk, report: Report) -> None:
        rows(4)(chunk, report)
        raise CheckpointInvalid("not a checkpoint")

    bench.run(does)
    assert counts(bench.store) == ("partial", 4, 6, 0)
    assert {why.code for why in bench.store.failures(JOB).values()} == {"checkpoint-invalid"}


def test_storage_that_cannot_be_written_fails_the_job(bench: Bench) -> None:
    def does(chunk: Chunk, report: Report) -> None:
        report.row(MADE)
        raise OutputNotWritable("the disk is full")

    bench.run(does)
    assert counts(bench.store) == ("failed", 1, 0, 9)


def test_a_redis_that_is_gone_is_no_fault_of_the_model(bench: Bench) -> None:
    def does(chunk: Chunk, report: Report) -> None:
        raise RedisError("gone")

    with pytest.raises(RedisError):
        bench.run(does)
    assert counts(bench.store)[:3] == ("running", 0, 0)
    assert [given.leased for given in bench.store.out(JOB)] == [True]


def test_a_chunk_of_a_job_that_is_not_wanted_any_more_is_handed_in_undone(bench: Bench) -> None:
    chunk = bench.store.cut(JOB, 10)
    assert chunk is not None
    bench.store.cancel(JOB)
    bench.turns.run(chunk)
    assert counts(bench.store) == ("canceled", 0, 0, 10)


def test_a_chunk_that_another_has_is_left_alone(bench: Bench) -> None:
    chunk = bench.store.cut(JOB, 10)
    assert chunk is not None
    bench.store.take(chunk, "another", 30)
    bench.turns.run(chunk)
    assert [given.leased for given in bench.store.out(JOB)] == [True]
    assert counts(bench.store) == ("running", 0, 0, 0)

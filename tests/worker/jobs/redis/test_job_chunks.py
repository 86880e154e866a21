"""Chunks of jobs in a real Redis: one worker at a time, and each item counts once."""

from __future__ import annotations

from tests.worker.jobs.redis.submitting import (
    JOB,
    OTHER,
    UNREADABLE,
    counts,
    submitted,
)
from worker.jobs.contract import Chunk
from worker.jobs.redis.job_store import JobStore


def test_chunks_are_cut_model_by_model_until_nothing_is_left(store: JobStore) -> None:
    submitted(store)
    cut = []
    while (chunk := store.cut(JOB, 4)) is not None:
        cut.append((chunk.model, chunk.start, chunk.end))
    assert cut == [(0, 0, 4), (0, 4, 8), (0, 8, 10), (1, 0, 4), (1, 4, 8), (1, 8, 10)]
    assert len(store.out(JOB)) == 6


def test_a_chunk_done_twice_counts_once(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    for _ in range(2):
        store.take(chunk, "w1", 30)
        assert store.mark(chunk, "w1", 30, [0, 1, 2], {3: UNREADABLE}) == "go"
    assert counts(store) == ("running", 3, 1, 0)
    assert store.failures(JOB) == {3: UNREADABLE}


def test_success_outlasts_a_failure_of_the_same_item(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    store.mark(chunk, "w1", 30, [], {3: UNREADABLE})
    store.mark(chunk, "w1", 30, [3], {})
    store.mark(chunk, "w1", 30, [], {3: UNREADABLE})
    assert counts(store) == ("running", 1, 0, 0)
    assert store.failures(JOB) == {}


def test_a_chunk_has_one_worker_at_a_time(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    assert store.take(chunk, "w1", 30) == "go"
    assert store.take(chunk, "w2", 30) == "taken"
    assert store.mark(chunk, "w2", 30, [0], {}) == "lost"
    store.hand_in(chunk, "w2")
    assert [taken.chunk for taken in store.out(JOB)] == [chunk]
    store.hand_in(chunk, "w1")
    assert store.take(chunk, "w1", 30) == "gone"


def test_a_message_that_comes_again_after_its_worker_was_lost_is_left_to_the_next_round(
    store: JobStore,
) -> None:
    """Else an attempt that ended a worker would not be counted."""
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    assert store.take(chunk, "w1", 30) == "go"
    store.client.delete(*store.client.keys("*lease*"))
    assert store.take(chunk, "w2", 30) == "taken"
    store.put_back(chunk, 2)
    again = store.cut(JOB, 5)
    assert again is not None
    assert (again.attempt, store.take(again, "w2", 30)) == (2, "go")


def test_what_is_handed_back_is_given_out_again(store: JobStore) -> None:
    submitted(store, models=1)
    chunk = store.cut(JOB, 10)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    store.hand_in(chunk, "w1", rest_from=6)
    again = store.cut(JOB, 10)
    assert again == Chunk(job=JOB, model=0, start=6, end=10, attempt=1)


def test_a_lease_ends_by_itself(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    (lease,) = store.client.keys("*lease*")
    assert 0 < store.client.ttl(lease) <= 30
    store.mark(chunk, "w1", 20, [0], {})
    assert 0 < store.client.ttl(lease) <= 20


def test_a_lease_that_lasts_longer_than_it_is_given_for_is_cut_short(store: JobStore) -> None:
    """As after the clock of Redis was set back."""
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 1000)
    (lease,) = store.client.keys("*lease*")
    store.bound_leases([chunk], 30)
    left = store.client.pttl(lease)
    assert 0 < left <= 30_000
    store.bound_leases([chunk], 1000)
    assert store.client.pttl(lease) <= left


def test_how_all_unfinished_jobs_stand_is_asked_at_once(store: JobStore) -> None:
    submitted(store, models=1)
    submitted(store, OTHER)
    taken, sent = store.cut(JOB, 10), store.cut(OTHER, 5)
    assert taken is not None
    assert sent is not None
    store.take(taken, "w1", 30)
    first, second = store.standing()
    assert [first.job, second.job] == store.active() == [JOB, OTHER]
    assert (first.status, first.pending, first.may_end) == ("running", 0, False)
    assert (second.status, second.pending, second.may_end) == ("queued", 2, False)
    assert (list(first.given), list(second.given)) == (store.out(JOB), store.out(OTHER))
    assert [(given.taken, given.leased) for given in (*first.given, *second.given)] == [
        (True, True),
        (False, False),
    ]
    assert store.backlog() == (2, [OTHER])
    store.hand_in(taken, "w1")
    store.cancel(OTHER)
    assert [standing.may_end for standing in store.standing()] == [True, True]
    assert store.backlog() == (1, [OTHER])


def test_without_jobs_none_stands_anywhere(store: JobStore) -> None:
    assert store.standing() == []
    assert store.backlog() == (0, [])

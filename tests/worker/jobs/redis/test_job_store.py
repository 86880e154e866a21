"""Jobs in a real Redis: begun, asked to stop, ended once, run again, forgotten."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from processes.eventually import eventually
from tests.worker.jobs.redis.submitting import (
    JOB,
    OTHER,
    SOON,
    UNREADABLE,
    counts,
    pictures,
    record,
    submitted,
)
from worker.jobs.redis.job_store import JobStore
from worker.jobs.redis.shared_state import CLAIM_SECONDS, Claim, ClaimLost


def test_canceling_is_seen_by_the_worker_and_ends_once(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    assert store.cancel(JOB) == "canceling"
    assert store.mark(chunk, "w1", 30, [0], {}) == "cancel"
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(store.end(JOB, "canceled", None, SOON)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]
    assert counts(store) == ("canceled", 1, 0, 19)
    assert store.mark(chunk, "w1", 30, [1], {}) == "lost"
    assert store.cancel(JOB) == "canceled"


def test_a_retry_gives_out_what_did_not_succeed(store: JobStore) -> None:
    submitted(store, models=1)
    chunk = store.cut(JOB, 10)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    store.mark(chunk, "w1", 30, [0, 1, 2, 5], {3: UNREADABLE, 4: UNREADABLE})
    store.hand_in(chunk, "w1")
    assert not store.retry(JOB)
    store.end(JOB, "partial", None, SOON)
    assert store.active() == []
    assert store.retry(JOB)
    assert store.active() == [JOB]
    assert store.failures(JOB) == {}
    state = store.state(JOB)
    assert state is not None
    assert (state.error, state.finished_at, state.expires_at) == (None, None, None)
    cut = [store.cut(JOB, 100) for _ in range(3)]
    assert [(piece.start, piece.end) for piece in cut if piece is not None] == [(3, 5), (6, 10)]
    assert counts(store) == ("queued", 4, 0, 0)


def test_a_claim_lasts_only_once_its_job_is_there(store: JobStore) -> None:
    store.claim_key("k", "d", JOB)
    name = store.key_name("k")
    store.client.expire(name, 3)
    store.renew_claim("k", "d", "another")
    assert store.client.ttl(name) <= 3
    store.renew_claim("k", "d", JOB)
    assert 3 < store.client.ttl(name) <= CLAIM_SECONDS
    store.create(record(), pictures(10), "k", "d")
    assert store.client.ttl(name) > CLAIM_SECONDS
    assert store.claim_key("k", "d", "another") == Claim("d", JOB, accepting=False)


def test_a_claim_that_ended_comes_back_with_its_job(store: JobStore) -> None:
    store.claim_key("k", "d", JOB)
    store.client.delete(store.key_name("k"))
    assert store.create(record(), pictures(10), "k", "d")
    assert store.claim_key("k", "d", "another") == Claim("d", JOB, accepting=False)


def test_no_job_is_made_whose_key_is_anothers_by_now(store: JobStore) -> None:
    store.claim_key("k", "d", "another")
    before = set(store.client.keys())
    with pytest.raises(ClaimLost):
        store.create(record(), pictures(10), "k", "d")
    assert set(store.client.keys()) == before
    assert store.state(JOB) is None


@pytest.mark.parametrize("ended", [True, False])
def test_what_is_forgotten_leaves_nothing(store: JobStore, ended: bool) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 1)
    store.mark(chunk, "w1", 1, [0], {1: UNREADABLE}, {0: ["16 bits"]})
    store.remember_facts(JOB, 1, "{}", "r", ["class order"])
    store.remember_choice(JOB, 1, [0])
    store.remember_depth(JOB, 12)
    store.add_seconds(JOB, 1, 2.0)
    store.tell_activity(JOB, "loading cls_0")
    if ended:
        store.end(JOB, "partial", None, SOON)
    store.forget(JOB)
    assert store.active() == []
    eventually("the lease runs out by itself", lambda: store.client.keys("*job*") == [])


def test_what_is_not_there_is_forgotten_without_an_error(store: JobStore) -> None:
    store.forget(OTHER)
    store.forget("no id")
    assert store.client.keys("*") == []


def test_jobs_that_are_over_expire(store: JobStore) -> None:
    for job in (JOB, OTHER):
        submitted(store, job)
    store.end(JOB, "failed", None, datetime.now(UTC) - timedelta(seconds=1))
    assert store.expired() == [JOB]


@pytest.mark.parametrize("images", [100_000])
def test_large_jobs_are_small(store: JobStore, images: int) -> None:
    before = store.client.info("memory")["used_memory"]
    submitted(store, models=1, images=images)
    chunk = store.cut(JOB, images)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    for start in range(0, images, 5000):
        failed = dict.fromkeys(range(start, start + 50), UNREADABLE)
        store.mark(chunk, "w1", 30, list(range(start + 50, start + 5000)), failed)
    used = store.client.info("memory")["used_memory"] - before
    assert counts(store) == ("running", 99_000, 1000, 0)
    assert used < 50e6
    # The state of a job is told without its images, failures or chunks: a few hundred bytes.
    before = store.client.info("stats")["total_net_output_bytes"]
    store.state(JOB)
    told = store.client.info("stats")["total_net_output_bytes"] - before
    assert told < 20_000

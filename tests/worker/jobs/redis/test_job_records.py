"""What a job's record says, read from a real Redis."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from tests.worker.jobs.redis.submitting import (
    JOB,
    OTHER,
    SOON,
    UNREADABLE,
    pictures,
    record,
    submitted,
)
from worker.jobs.redis.job_store import JobStore


def test_what_was_submitted_is_there(store: JobStore) -> None:
    submitted(store)
    state = store.state(JOB)
    assert state is not None
    assert state.record.models[1].name == "cls_1"
    assert (state.status, state.progress.total) == ("queued", 20)
    assert store.images(JOB) == pictures(10)
    assert store.state("other") is None
    assert not store.create(record(), pictures(10))


def test_a_record_keeps_nothing_that_is_not_read_and_older_ones_are_read(store: JobStore) -> None:
    submitted(store)
    key = f"gradcam:job:{JOB}"
    assert set(store.client.hkeys(key)) == {b"record", b"status", b"expires", b"owner"}
    state = store.state(JOB)
    store.client.hset(key, "images", "10")  # as earlier versions wrote it
    assert store.state(JOB) == state
    assert store.job_ids(0, 10) == ([JOB], 1)


def test_jobs_of_a_caller_are_listed_with_those_of_nobody(store: JobStore) -> None:
    for number, owner in enumerate(("a", "b", None, "a")):
        made = record(f"{number:032x}")
        at = made.created_at + timedelta(seconds=number)
        store.create(made.model_copy(update={"owner": owner, "created_at": at}), pictures(10))
    ids = [f"{number:032x}" for number in range(4)]
    assert store.job_ids(0, 10) == (ids[::-1], 4)
    assert store.job_ids(0, 2, "a") == ([ids[3], ids[2]], 3)
    assert store.job_ids(2, 2, "a") == ([ids[0]], 3)
    assert store.job_ids(0, 9, "c") == ([ids[2]], 1)


def test_events_can_be_followed_from_any_of_them(store: JobStore) -> None:
    submitted(store)
    first = store.events(JOB, "0")
    store.cancel(JOB)
    store.end(JOB, "canceled", None, SOON)
    later = store.events(JOB, first[-1].id)
    assert [job.state.status for job in first] == ["queued"]
    assert [job.state.status for job in later] == ["canceling", "canceled"]


def test_a_job_runs_for_those_who_listen_from_when_a_worker_has_taken_it(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    store.tell_activity(JOB, "loading cls_0")
    told = [(event.state.status, event.state.activity) for event in store.events(JOB, "0")]
    assert told == [("queued", None), ("running", None), ("running", "loading cls_0")]
    store.end(JOB, "failed", None, SOON)
    state = store.state(JOB)
    assert state is not None
    assert state.activity is None


def test_what_was_worked_on_does_not_count_what_was_skipped(store: JobStore) -> None:
    submitted(store, models=1)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    store.mark(chunk, "w1", 30, [0, 1], {2: UNREADABLE})
    store.end(JOB, "canceled", None, SOON)
    state = store.state(JOB)
    assert state is not None
    assert (state.progress.done, state.progress.skipped) == (3, 7)


def test_a_chunk_that_is_taken_is_told_at_once_however_often_there_is_news(store: JobStore) -> None:
    submitted(store)
    chunk, other = store.cut(JOB, 5), store.cut(JOB, 5)
    assert chunk is not None
    assert other is not None
    store.take(chunk, "w1", 30)
    store.mark(chunk, "w1", 30, [0], {})  # told, and not again for a moment
    before = len(store.events(JOB, "0"))
    store.take(other, "w2", 30)
    assert len(store.events(JOB, "0")) == before + 1


def test_an_event_is_short_and_comes_with_the_jobs_record(store: JobStore) -> None:
    submitted(store)
    store.cancel(JOB)
    (key,) = store.client.keys("*:events")
    events = cast("list[tuple[bytes, dict[bytes, bytes]]]", store.client.xrange(key))
    kept = [fields[b"state"] for _, fields in events]
    assert len(kept) == 2
    assert max(len(state) for state in kept) < 400
    state = store.state(JOB)
    assert state is not None
    assert [event.state.record for event in store.events(JOB, "0")] == [state.record] * 2
    assert store.events(JOB, "0")[-1].state == state


def test_an_event_of_an_older_version_has_its_own_record_and_is_read(store: JobStore) -> None:
    submitted(store)
    state = store.state(JOB)
    assert state is not None
    (key,) = store.client.keys("*:events")
    store.client.delete(key)
    store.client.xadd(key, {"state": state.model_dump_json(exclude={"notices"})})
    assert [event.state for event in store.events(JOB, "0")] == [state]


def test_a_job_whose_record_is_gone_has_no_events(store: JobStore) -> None:
    submitted(store)
    (key,) = store.client.keys(f"*:{JOB}")
    store.client.delete(key)
    assert store.events(JOB, "0") == []


def test_many_jobs_are_asked_for_at_once_each_in_its_place(store: JobStore) -> None:
    submitted(store)
    submitted(store, OTHER, models=1)
    store.cancel(OTHER)
    asked = [OTHER, "3" * 32, "no id", JOB, OTHER]
    assert store.states(asked) == [store.state(job) for job in asked]
    assert [state and state.status for state in store.states(asked)] == [
        "canceling",
        None,
        None,
        "queued",
        "canceling",
    ]
    assert store.states([]) == []

"""Job records in a real Redis: counted by membership, ended once."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import pytest

from processes.eventually import eventually
from worker.jobs.contract import Chunk, ItemFailure, JobImage, JobModel, JobRecord, JobRequest
from worker.jobs.redis.job_store import JobStore
from worker.jobs.redis.shared_state import CLAIM_SECONDS, Claim

JOB, OTHER = "1" * 32, "2" * 32
SOON = datetime.now(UTC) + timedelta(days=1)
UNREADABLE = ItemFailure(code="invalid-image", detail="not a whole image")


def record(job: str = JOB, *, models: int = 2, images: int = 10) -> JobRecord:
    return JobRecord(
        id=job,
        created_at=datetime.now(UTC),
        request=JobRequest(experiment="experiment_x"),
        models=tuple(
            JobModel(id=f"experiment_x/cls_{m}", name=f"cls_{m}", checkpoint_sha256=f"{m:064x}")
            for m in range(models)
        ),
        image_count=images,
        output="experiment_x/gradcam_visualizations",
    )


def pictures(count: int) -> list[JobImage]:
    return [
        JobImage(
            path=f"crops_gt_crops/crops/test/ring/PA1718_{i:06d}.jpg",
            name=f"i{i}",
            true_class="ring",
        )
        for i in range(count)
    ]


def submitted(store: JobStore, job: str = JOB, *, models: int = 2, images: int = 10) -> None:
    assert store.create(record(job, models=models, images=images), pictures(images))


def counts(store: JobStore, job: str = JOB) -> tuple[str, int, int, int]:
    state = store.state(job)
    assert state is not None
    progress = state.progress
    return state.status, progress.succeeded, progress.failed, progress.skipped


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
    assert [one.chunk for one in store.out(JOB)] == [chunk]
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
    assert [(one.start, one.end) for one in cut if one is not None] == [(3, 5), (6, 10)]
    assert counts(store) == ("queued", 4, 0, 0)


def test_a_claim_lasts_only_once_its_job_is_there(store: JobStore) -> None:
    store.claim_key("k", "d", JOB)
    name = store.key_name("k")
    store.client.expire(name, 3)
    store.renew_claim("k", "d", "another")
    assert store.client.ttl(name) <= 3
    store.renew_claim("k", "d", JOB)
    assert 3 < store.client.ttl(name) <= CLAIM_SECONDS
    store.create(record(), pictures(10), "k")
    assert store.client.ttl(name) > CLAIM_SECONDS
    assert store.claim_key("k", "d", "another") == Claim("d", JOB, accepting=False)


def test_jobs_of_a_caller_are_listed_with_those_of_nobody(store: JobStore) -> None:
    for number, owner in enumerate(("a", "b", None, "a")):
        one = record(f"{number:032x}")
        at = one.created_at + timedelta(seconds=number)
        store.create(one.model_copy(update={"owner": owner, "created_at": at}), pictures(10))
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
    assert [one.state.status for one in first] == ["queued"]
    assert [one.state.status for one in later] == ["canceling", "canceled"]


def test_a_job_runs_for_those_who_listen_from_when_a_worker_has_taken_it(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    store.tell_activity(JOB, "loading cls_0")
    told = [(one.state.status, one.state.activity) for one in store.events(JOB, "0")]
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


def test_the_recipes_of_a_models_pictures_are_remembered(store: JobStore) -> None:
    submitted(store)
    assert store.run_digests(JOB, 0) == frozenset()
    store.remember_facts(JOB, 0, '{"device": "cpu"}', "r1")
    store.remember_facts(JOB, 0, '{"device": "cuda"}', "r2")
    store.remember_facts(JOB, 1, "{}", "r3")
    assert store.run_digests(JOB, 0) == {"r1", "r2"}
    assert store.run_digests(JOB, 1) == {"r3"}
    # As an older version left it: the facts alone.
    store.client.delete(f"gradcam:job:{JOB}:runs:1")
    assert store.run_digests(JOB, 1) == {hashlib.sha256(b"{}").hexdigest()}


def test_each_model_may_have_images_of_its_own(store: JobStore) -> None:
    request = JobRequest(experiment="experiment_x", pick="errors", max_images=3)
    job = record(images=3).model_copy(update={"request": request})
    assert store.create(job, pictures(10))
    state = store.state(JOB)
    assert state is not None
    assert store.chosen_images(state, 1) is None
    store.remember_choice(JOB, 1, [7, 2, 5])
    chosen = store.chosen_images(state, 1)
    assert chosen is not None
    assert [one.name for one in chosen] == ["i7", "i2", "i5"]
    assert store.chosen_images(state, 0) is None


@pytest.mark.parametrize("ended", [True, False])
def test_what_is_forgotten_leaves_nothing(store: JobStore, ended: bool) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 1)
    store.mark(chunk, "w1", 1, [0], {1: UNREADABLE})
    store.remember_facts(JOB, 1, "{}", "r")
    store.remember_choice(JOB, 1, [0])
    if ended:
        store.end(JOB, "partial", None, SOON)
    store.forget(JOB)
    assert store.active() == []
    eventually("the lease runs out by itself", lambda: store.client.keys("*job*") == [])


def test_what_is_not_there_is_forgotten_without_an_error(store: JobStore) -> None:
    store.forget(OTHER)
    store.forget("no id")
    assert store.client.keys("*") == []


def test_seconds_of_chunks_are_added_up_for_each_model(store: JobStore) -> None:
    submitted(store)
    assert store.seconds(JOB, 0) == 0
    store.add_seconds(JOB, 0, 1.5)
    store.add_seconds(JOB, 1, 10.0)
    store.add_seconds(JOB, 0, 0.25)
    assert (store.seconds(JOB, 0), store.seconds(JOB, 1)) == (1.75, 10.0)


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


def test_a_lease_ends_by_itself(store: JobStore) -> None:
    submitted(store)
    chunk = store.cut(JOB, 5)
    assert chunk is not None
    store.take(chunk, "w1", 30)
    (lease,) = store.client.keys("*lease*")
    assert 0 < store.client.ttl(lease) <= 30
    store.mark(chunk, "w1", 20, [0], {})
    assert 0 < store.client.ttl(lease) <= 20

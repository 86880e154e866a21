"""What processes share in a real Redis beside job records."""

from __future__ import annotations

import threading

from worker.jobs.redis.job_store import JobStore
from worker.jobs.redis.shared_state import CLAIM_SECONDS, Claim, claim_text

JOB, OTHER = "1" * 32, "2" * 32


def test_a_key_belongs_to_whoever_came_first(store: JobStore) -> None:
    first = Claim("d1", JOB, accepting=True)
    assert store.claim_key("k", "d1", JOB) == first
    assert store.claim_key("k", "d2", OTHER) == first
    store.release_key("k", "d2", OTHER)  # not theirs
    assert store.claim_key("k", "d2", OTHER) == first
    store.release_key("k", "d1", JOB)
    assert store.claim_key("k", "d2", OTHER) == Claim("d2", OTHER, accepting=True)


def test_a_claim_that_is_ones_own_is_there(store: JobStore) -> None:
    name, done = store.key_name("k"), threading.Event()
    client = JobStore(store.client).client

    def claims_that_end() -> None:
        while not done.is_set():
            client.set(name, claim_text("d", OTHER), nx=True, px=1)

    thread = threading.Thread(target=claims_that_end)
    thread.start()
    try:
        for _ in range(1000):
            if store.claim_key("k", "d", JOB).job == JOB:
                assert store.client.getdel(name) == claim_text("d", JOB).encode()
    finally:
        done.set()
        thread.join()


def test_a_claim_is_renewed_by_its_job_alone(store: JobStore) -> None:
    store.claim_key("k", "d", JOB)
    name = store.key_name("k")
    store.client.expire(name, 3)
    store.renew_claim("k", "d", OTHER)
    assert store.client.ttl(name) <= 3
    store.renew_claim("k", "d", JOB)
    assert 3 < store.client.ttl(name) <= CLAIM_SECONDS


def test_attempts_of_a_webhook_are_counted_for_all_processes(store: JobStore) -> None:
    other = JobStore(store.client)
    store.plan_webhook(JOB, 0.0, 1)
    assert other.due_webhooks() == [(JOB, 1)]
    other.plan_webhook(JOB, 0.0, 2)
    other.plan_webhook(OTHER, 0.0, 7)
    assert store.due_webhooks() == [(JOB, 2), (OTHER, 7)]
    store.drop_webhook(OTHER)
    assert other.due_webhooks() == [(JOB, 2)]
    other.drop_webhook(JOB)
    assert store.due_webhooks() == []
    assert store.client.keys("*") == []


def test_a_webhook_is_not_due_before_its_pause_is_over(store: JobStore) -> None:
    store.plan_webhook(JOB, 600.0, 2)
    assert store.due_webhooks() == []
    store.client.zadd("gradcam:webhooks", {JOB: store.now() - 1})
    assert store.due_webhooks() == [(JOB, 2)]


def test_workers_are_those_that_were_alive_lately(store: JobStore) -> None:
    for name in ("b", "a", "gone"):
        store.beat(name)
    assert store.workers() == ["a", "b", "gone"]
    store.client.zadd("gradcam:workers", {"gone": store.now() - 31})
    assert store.workers() == ["a", "b"]
    store.client.zadd("gradcam:workers", {"b": store.now() - 25})
    assert store.workers() == ["a", "b"]
    store.leave("a")
    assert store.workers() == ["b"]


def test_rates_are_known_by_model(store: JobStore) -> None:
    assert store.rate("a") is None
    store.remember_rate("a", 12.3456)
    store.remember_rate("b", 0.001)
    assert (store.rate("a"), store.rate("b")) == (12.346, 0.001)


def test_a_turn_is_one_process_at_a_time(store: JobStore) -> None:
    with store.only_one("x", 60) as first, store.only_one("x", 60) as second:
        assert (first, second) == (True, False)
        with store.only_one("y", 60) as other:
            assert other
    with store.only_one("x", 60) as again:
        assert again


def test_a_turn_that_is_kept_comes_again_after_so_many_seconds(store: JobStore) -> None:
    with store.only_one("x", 60, keep=True) as first:
        assert first
    with store.only_one("x", 60, keep=True) as second:
        assert not second
    assert 0 < store.client.ttl("gradcam:lock:x") <= 60


def test_a_turn_that_ran_out_is_not_taken_from_the_next(store: JobStore) -> None:
    with store.only_one("x", 60) as first:
        assert first
        store.client.delete("gradcam:lock:x")  # it took too long
        with store.only_one("x", 60) as second:
            assert second
            held = store.client.get("gradcam:lock:x")
            assert held
    with store.only_one("x", 60) as first:
        store.client.set("gradcam:lock:x", "another's", ex=60)
    assert store.client.get("gradcam:lock:x") == b"another's"


def test_of_many_who_want_a_turn_one_has_it(store: JobStore) -> None:
    at_once, ended, mine = threading.Barrier(8), threading.Barrier(8), []

    def want() -> None:
        at_once.wait()
        with store.only_one("x", 60) as got_it:
            mine.append(got_it)
            ended.wait()

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mine) == [False] * 7 + [True]


def test_stores_of_other_prefixes_share_nothing(store: JobStore) -> None:
    other = JobStore(store.client, "elsewhere")
    store.beat("w")
    store.remember_rate("a", 1.0)
    assert (other.workers(), other.rate("a")) == ([], None)
    with store.only_one("x", 60), other.only_one("x", 60) as mine:
        assert mine

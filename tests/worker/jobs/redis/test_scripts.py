"""Steps in Redis: a step that a client does again, its answer having been lost, changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import redis

from worker.jobs.redis import scripts
from worker.jobs.redis.job_store import JobStore

Given = dict[str, Any]  # what is there before, by key

JOB = {"job": {"status": "running"}}
ENDED = {"job": {"status": "partial"}}
CHUNK = "0:0:4"

# Name, keys, arguments, and what was there before.
STEPS: dict[str, tuple[str, list[str], list[Any], Given]] = {
    "a job is created": (
        "CREATE",
        ["job", "active", "jobs", "claim"],
        ["{}", "id", 5.0, "", "owner", 100, "digest"],
        {"claim": "digest"},
    ),
    "a chunk is taken": (
        "TAKE",
        ["job", "out", "lease"],
        [CHUNK, "w1", 30, 7.0],
        {"job": {"status": "queued"}, "out": {CHUNK: "1 5.0 sent"}},
    ),
    "items are marked": (
        "MARK",
        ["job", "succeeded", "failed", "failures", "lease", "notices"],
        ["w1", 30, 2, 0, 1, 1, 2, "{}", 5, 0, "0:images:a", 1, "0:images:a"],
        {**JOB, "lease": "w1"},
    ),
    "fields are remembered": ("NOTICE", ["notices"], [2, "a", "b", "c"], {}),
    "a chunk is handed in with a rest": (
        "HAND_IN",
        ["out", "lease", "pending"],
        [CHUNK, "w1", "0:2:4:1"],
        {"out": {CHUNK: "1 5.0 taken"}, "lease": "w1"},
    ),
    "a message is sent again": (
        "SEND_AGAIN",
        ["out"],
        [CHUNK, 7.0],
        {"out": {CHUNK: "1 5.0 sent"}},
    ),
    "a job is asked to stop": ("CANCEL", ["job"], [], JOB),
    "a job is ended": (
        "END",
        ["job", "active", "pending", "out", "webhooks", "attempts"],
        ["failed", 9.0, "{}", 99.0, "id", "1"],
        {**JOB, "active": {"id": 0}, "out": {CHUNK: "1 5.0 sent"}},
    ),
    "a job is run again": (
        "RETRY",
        ["job", "active", "pending", "failed", "failures"],
        ["id", "0:0:4:1", "1:0:4:1"],
        {**ENDED, "failures": {"1": "{}"}},
    ),
    "a lock is let go": ("UNLOCK", ["lock"], ["token"], {"lock": "token"}),
    "a key is bounded": ("BOUND", ["lock"], [60_000], {"lock": "token"}),
    "a key is claimed": ("CLAIM", ["claim"], ["digest", 100], {}),
    "a claim is kept": ("RENEW", ["claim"], ["digest", 100], {"claim": "digest"}),
}


@pytest.fixture
def client(store: JobStore) -> redis.Redis:
    return store.client


def put(client: redis.Redis, given: Given) -> None:
    for key, value in given.items():
        if isinstance(value, str):
            client.set(key, value, ex=1000)
        elif key == "active":
            client.zadd(key, value)
        else:
            client.hset(key, mapping=value)


def everything(client: redis.Redis) -> dict[str, object]:
    read: dict[str, Callable[[str], object]] = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    there: dict[str, object] = {}
    for key in sorted(cast("list[bytes]", client.keys("*"))):
        kind, name = str(cast("bytes", client.type(key)), "ascii"), key.decode()
        # Seconds that are left are rounded: a step and the same again are not at the same time.
        there[name] = (read[kind](name), round(client.ttl(name), -1))
    return there


def run(client: redis.Redis, name: str, keys: list[str], arguments: list[Any]) -> object:
    return client.register_script(getattr(scripts, name))(keys=keys, args=arguments)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_done_again_changes_nothing(client: redis.Redis, step: str) -> None:
    name, keys, arguments, given = STEPS[step]
    put(client, given)
    before = everything(client)
    run(client, name, keys, arguments)
    after = everything(client)
    assert after != before
    run(client, name, keys, arguments)
    assert everything(client) == after
    client.script_flush()  # as by a Redis that was started anew: the client sends it again
    run(client, name, keys, arguments)
    assert everything(client) == after


def test_the_table_above_has_all_but_the_one_that_gives_out() -> None:
    """A chunk that was cut and whose name was lost is found among those out, and put back."""
    every = {name for name in vars(scripts) if name.isupper() and not name.startswith("_")}
    named = {name for name, *_ in STEPS.values()}
    assert every - named == {"CUT", "FINISHED", "UNFINISHED"}


def test_a_chunk_that_is_cut_is_out_and_no_longer_pending(client: redis.Redis) -> None:
    client.hset("job", "status", "queued")
    client.rpush("pending", "1:0:10:3")
    cut = [run(client, "CUT", ["job", "pending", "out"], [5.0, 6]) for _ in range(3)]
    assert cut == [b"1:0:6:3", b"1:6:10:3", b""]
    assert client.hgetall("out") == {b"1:0:6": b"3 5.0 sent", b"1:6:10": b"3 5.0 sent"}
    assert client.llen("pending") == 0


@pytest.mark.parametrize("status", ["queued", "running", "canceling", "succeeded", None])
def test_what_is_unfinished_or_whole_is_not_run_again(
    client: redis.Redis, status: str | None
) -> None:
    if status is not None:
        client.hset("job", "status", status)
    before = everything(client)
    keys = ["job", "active", "pending", "failed", "failures"]
    assert run(client, "RETRY", keys, ["id", "0:0:4:1"]) == 0
    assert everything(client) == before


@pytest.mark.parametrize("status", ["failed", "partial", "canceled"])
def test_what_ended_with_something_left_is_run_again(client: redis.Redis, status: str) -> None:
    client.hset("job", mapping={"status": status, "error": "{}", "expires": "5", "finished": "4"})
    keys = ["job", "active", "pending", "failed", "failures"]
    assert run(client, "RETRY", keys, ["id", "0:0:4:1"]) == 1
    assert client.hgetall("job") == {
        b"status": b"queued",
        b"error": b"",
        b"finished": b"",
        b"expires": b"",
        b"activity": b"",
    }


@pytest.mark.parametrize(
    ("name", "keys", "arguments"),
    [
        ("UNLOCK", ["lock"], ["other"]),
        ("RENEW", ["lock"], ["other", 100]),
        ("HAND_IN", ["out", "lock", "pending"], [CHUNK, "other", ""]),
        ("TAKE", ["job", "out", "lock"], [CHUNK, "other", 30, 7.0]),
        ("MARK", ["job", "s", "f", "failures", "lock", "notices"], ["other", 30, 1, 0, 0, 5]),
    ],
)
def test_what_is_anothers_is_left_alone(
    client: redis.Redis, name: str, keys: list[str], arguments: list[Any]
) -> None:
    put(client, {**JOB, "lock": "token", "out": {CHUNK: "1 5.0 taken"}})
    before = everything(client)
    assert run(client, name, keys, arguments) in (0, b"taken", b"lost")
    assert everything(client) == before


def test_a_key_that_ends_sooner_is_not_made_to_last(client: redis.Redis) -> None:
    client.set("lock", "token", px=50_000)
    assert run(client, "BOUND", ["lock"], [60_000]) == 0
    assert client.pttl("lock") <= 50_000

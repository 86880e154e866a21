"""Entries in a real Redis: within their bytes, the least used go first, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
import redis

from processes.eventually import eventually
from processes.redis_server import RedisServer
from service.sharing.entries import SharedEntries
from service.sharing.link import connect

ROOM = 10_000
KIB = b"x" * 1024


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with connect(redis_server.url) as opened:
        opened.flushdb()
        yield opened


def entries(client: redis.Redis, most_bytes: int = ROOM, seconds: int = 60) -> SharedEntries:
    return SharedEntries(client, "t", most_bytes, seconds)


def names(client: redis.Redis) -> set[str]:
    return {key.decode() for key in cast("list[bytes]", client.keys("t:shared:entry:*"))}


def kept(client: redis.Redis) -> set[str]:
    return {name.removeprefix("t:shared:entry:") for name in names(client)}


def counted(client: redis.Redis) -> int:
    """Bytes as they are counted an entry, which must be those of all."""
    sizes = cast("dict[bytes, bytes]", client.hgetall("t:shared:bytes"))
    assert {name.decode() for name in sizes} == kept(client)
    total = sum(map(int, sizes.values()))
    assert entries(client).bytes_used == total
    assert client.zcard("t:shared:used") == len(sizes)
    return total


def test_what_was_put_is_read_by_another(client: redis.Redis) -> None:
    assert entries(client).put("a", {"one": b"1", "two": b"\0\xff"})
    other = entries(client)
    assert other.read("a", ["two", "none", "one"]) == [b"\0\xff", None, b"1"]
    assert other.read("b", ["one", "two"]) == [None, None]
    assert SharedEntries(client, "other", ROOM, 60).read("a", ["one"]) == [None]


def test_asking_for_what_is_not_there_leaves_nothing(client: redis.Redis) -> None:
    entries(client).read("a", ["f"])
    assert client.keys("*") == []


def test_fields_come_to_those_that_are_there(client: redis.Redis) -> None:
    entries(client).put("a", {"one": b"1"})
    entries(client).put("a", {"two": b"2"})
    assert entries(client).read("a", ["one", "two"]) == [b"1", b"2"]


def test_the_least_recently_used_makes_room(client: redis.Redis) -> None:
    store = entries(client)
    for name in "abcde":
        store.put(name, {"f": KIB})
    assert kept(client) == set("abcde")
    store.read("a", ["f"])
    for name in "fg":
        store.put(name, {"f": KIB})
    assert "a" in kept(client)
    assert "b" not in kept(client)
    assert counted(client) <= ROOM


def test_bytes_are_counted_as_they_change(client: redis.Redis) -> None:
    store = entries(client)
    store.put("a", {"f": b"1" * 100})
    once = counted(client)
    for _ in range(5):
        store.put("a", {"f": b"2" * 100})
    assert counted(client) == once
    store.put("a", {"f": b"3" * 40})
    assert counted(client) == once - 60
    store.put("a", {"g": b"4" * 10})
    assert counted(client) > once - 60 + 10


def test_what_is_counted_is_what_redis_takes(client: redis.Redis) -> None:
    """Within a half: names, lists and the broker's own bookkeeping are estimated."""
    store = entries(client, most_bytes=10**7)
    for number in range(200):
        store.put(f"{number:064}", {"answer": b"x" * 3000, "scope:" + "0" * 32: b"1"})
    parts = ["used", "bytes", "total"]
    keys = [*names(client), *(f"t:shared:{part}" for part in parts)]
    taken = sum(cast("int", client.memory_usage(key, samples=0)) for key in keys)
    assert taken == pytest.approx(counted(client), rel=0.5)


def test_what_never_fits_is_refused_and_pushes_nothing_out(client: redis.Redis) -> None:
    store = entries(client)
    store.put("a", {"f": KIB})
    assert not store.put("huge", {"f": b"x" * ROOM})
    assert kept(client) == {"a"}
    assert not store.put("a", {"g": b"x" * ROOM})
    assert store.read("a", ["f", "g"]) == [KIB, None]
    assert counted(client) < ROOM


def test_an_entry_that_grows_makes_room_and_never_for_itself(client: redis.Redis) -> None:
    store = entries(client)
    for name in "abc":
        store.put(name, {"f": KIB})
    for number in range(6):
        assert store.put("a", {f"g{number}": KIB})
    assert "a" in kept(client)
    assert counted(client) <= ROOM


def test_time_passes_from_the_last_use_and_then_nothing_is_left(client: redis.Redis) -> None:
    store = entries(client, seconds=2)
    store.put("a", {"f": KIB})
    store.put("b", {"f": KIB})
    first = client.pttl("t:shared:entry:a")
    assert 0 < first <= 2000

    def b_is_gone() -> bool:
        store.read("a", ["f"])
        return not client.exists("t:shared:entry:b")

    eventually("b is gone, a is used", b_is_gone)
    assert store.read("a", ["f"]) == [KIB]
    store.put("c", {"f": b""})
    assert counted(client) < 2 * 1024 + 1024
    eventually("nothing is left", lambda: not client.keys("t:*"))


def test_what_redis_lost_is_counted_no_more(client: redis.Redis) -> None:
    store = entries(client)
    for name in "ab":
        store.put(name, {"f": KIB})
    client.delete("t:shared:entry:a", "t:shared:entry:b")
    assert store.read("a", ["f"]) == [None]
    store.put("b", {"f": KIB})
    assert 1024 < counted(client) < 2 * 1024


def test_many_at_once_never_pass_the_limit(client: redis.Redis) -> None:
    def work(worker: int) -> None:
        store = entries(client)
        for number in range(60):
            store.put(f"{worker}-{number % 7}", {f"f{number % 3}": b"x" * (number * 37 % 900)})
            assert store.bytes_used <= ROOM
            store.read(f"{(worker + 1) % 4}-{number % 5}", ["f0"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert 0 < counted(client) <= ROOM


def test_the_broker_may_be_full(redis_server: RedisServer, client: redis.Redis) -> None:
    """It evicts nothing: what is refused is an error, and nothing of it is counted."""
    store = entries(client, most_bytes=10**9)
    store.put("a", {"f": KIB})
    before = counted(client)
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.RedisError):
            store.put("b", {"f": KIB})
        assert store.read("a", ["f"]) == [KIB]
        assert store.read("b", ["f"]) == [None]
    finally:
        client.config_set("maxmemory", "0")
    assert counted(client) == before

"""The way to Redis: what fails, how soon, how often it is said, and when it is tried again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import redis
from structlog.testing import capture_logs

from processes.redis_server import RedisServer, running_redis
from service.sharing import link as link_module
from service.sharing.link import Link, StoreAway, connect
from service.watching.metrics import Metrics

Result = TypeVar("Result")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path) as started:
        yield started


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def link(server: RedisServer, metrics: Metrics) -> Iterator[Link]:
    client = connect(server.url)
    made = Link(client, metrics)
    yield made
    made.executor.shutdown()
    client.close()


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    async def within() -> Result:
        return await work()

    return asyncio.run(within())


def up(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("gradcam_shared_store_up")


def test_calls_are_made_in_threads_of_its_own(link: Link) -> None:
    def work(word: str, *, more: str) -> str:
        assert threading.current_thread().name.startswith("sharing")
        return word + more

    assert run(lambda: link.call(work, "a", more="b")) == "ab"


def test_other_errors_are_the_callers(link: Link) -> None:
    def work() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        run(lambda: link.call(work))
    assert not link.away


def test_a_redis_that_went_is_found_out_once_and_asked_no_more(
    link: Link, server: RedisServer, metrics: Metrics
) -> None:
    assert run(link.look)
    assert up(metrics) == 1
    server.kill()
    with capture_logs() as logs:
        for _ in range(5):
            with pytest.raises(StoreAway):
                run(lambda: link.call(link.client.ping))
        assert not run(link.look)
        assert not run(link.look)
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert link.away
    assert up(metrics) == 0
    server.start()
    with pytest.raises(StoreAway):  # until somebody has looked
        run(lambda: link.call(link.client.ping))
    with capture_logs() as logs:
        assert run(link.look)
        assert run(link.look)
    assert [entry["event"] for entry in logs] == ["sharing with other processes again"]
    assert run(lambda: link.call(link.client.ping))
    assert up(metrics) == 1


def test_a_redis_that_was_started_anew_is_not_away(link: Link, server: RedisServer) -> None:
    assert run(lambda: link.call(link.client.ping))
    server.kill()
    server.start()
    assert run(lambda: link.call(link.client.ping))


def test_a_redis_that_hangs_holds_up_those_who_asked_together_and_nobody_after(
    link: Link, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def ping() -> None:
        asked.append(1)
        link.client.ping()

    async def many(count: int) -> list[object]:
        calls = [link.call(ping) for _ in range(count)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    server.pause()
    try:
        results = run(lambda: many(40))
        assert all(isinstance(result, StoreAway) for result in results)
        assert len(asked) <= link_module._THREADS  # those that waited for a thread never asked
        begun = time.process_time()
        with pytest.raises(StoreAway):
            run(lambda: link.call(ping))
        assert len(asked) <= link_module._THREADS
        assert time.process_time() - begun < link_module._ANSWER_SECONDS
    finally:
        server.resume()


def test_a_refusal_is_said_once_and_does_not_make_it_away(link: Link) -> None:
    def work() -> None:
        raise redis.ResponseError("OOM command not allowed")

    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(StoreAway):
                run(lambda: link.call(work))
    assert [entry["reason"] for entry in logs] == ["OOM command not allowed"]
    assert not link.away

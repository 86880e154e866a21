"""A real Redis, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer, running_redis
from worker.store.records import JobStore, connect


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests of jobs."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[JobStore]:
    """An empty store."""
    client = connect(redis_server.url)
    client.flushall()
    yield JobStore(client)
    client.close()

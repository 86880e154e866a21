"""A real Redis, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from processes.redis_server import RedisServer, running_redis
from tests.worker.working import Setting, setting_on
from worker.jobs.redis.job_store import JobStore, connect


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


@pytest.fixture
def setting(
    store: JobStore,
    redis_server: RedisServer,
    sample_run: Path,
    tmp_path: Path,
    one_thread: None,
) -> Iterator[Setting]:
    """Jobs of a bundled experiment, worked off in this process."""
    with setting_on(redis_server, sample_run, tmp_path) as made:
        yield made

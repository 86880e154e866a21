"""Messages that name a chunk, through Celery to a real Redis."""

from __future__ import annotations

import base64
import json

import pytest

from processes.redis_server import RedisServer, free_port
from worker.jobs.contract import Chunk
from worker.jobs.coordination.queue import (
    CHUNK_TASK,
    CHUNKS,
    ChunkQueue,
    broker_url,
    make_celery,
)
from worker.jobs.redis.job_store import JobStore

CHUNK = Chunk(job="1" * 32, model=2, start=10, end=20, attempt=3)


@pytest.fixture
def queue(store: JobStore, redis_server: RedisServer) -> ChunkQueue:
    """An empty one."""
    return ChunkQueue(make_celery(redis_server.url))


def test_a_message_names_the_chunk_in_json(queue: ChunkQueue, store: JobStore) -> None:
    assert queue.send(CHUNK)
    [message] = store.client.lrange(CHUNKS, 0, -1)
    body = json.loads(message)
    assert body["headers"]["task"] == CHUNK_TASK
    assert body["content-type"] == "application/json"
    (argument,), _, _ = json.loads(base64.b64decode(body["body"]))
    assert Chunk.model_validate(argument) == CHUNK


def test_it_is_empty_without_messages_that_wait(queue: ChunkQueue, store: JobStore) -> None:
    assert queue.is_empty()
    queue.send(CHUNK)
    assert not queue.is_empty()
    store.client.delete(CHUNKS)
    assert queue.is_empty()


def test_a_broker_that_does_not_answer_is_no_error() -> None:
    gone = ChunkQueue(make_celery(f"redis://127.0.0.1:{free_port()}/0"))
    assert not gone.send(CHUNK)
    assert not gone.is_empty()  # nobody knows


@pytest.mark.parametrize(
    ("redis_url", "broker"),
    [
        ("redis://host:6379/3", "redis://host:6379/3"),
        ("rediss://user:secret@host/0", "rediss://user:secret@host/0"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("unix:///run/redis.sock?db=2", "redis+socket:///run/redis.sock?db=2"),
    ],
)
def test_an_address_is_written_as_celery_writes_it(redis_url: str, broker: str) -> None:
    assert broker_url(redis_url) == broker

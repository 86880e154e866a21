"""What a worker's child does for a message of the queue."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from celery import shared_task

from worker.jobs.contract import Chunk
from worker.jobs.coordination.queue import CHUNK_TASK

if TYPE_CHECKING:
    from worker.chunks import ChunkRunner


def run_chunk(chunk: dict[str, Any]) -> None:
    """Do the chunk that the message names."""
    _runner().run(Chunk.model_validate(chunk))


@cache
def _runner() -> ChunkRunner:
    """One a process, with its models; torch is imported in the child only, at its first chunk."""
    from worker.process import make_runner  # noqa: PLC0415 (configures the process)

    return make_runner()


shared_task(run_chunk, name=CHUNK_TASK)

"""A worker's turn with a chunk, as the store sees it: taken, told of, handed in.

What is done with its images is up to `chunks`; nothing here computes.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import RedisError

from cam_engine.errors import (
    CamError,
    DataUnavailable,
    OutOfMemory,
    OutputNotWritable,
    error_of_item,
)
from cam_engine.pictures.recipes import Failed, Row
from worker.jobs.contract import Chunk, ItemFailure, JobRecord, JobState
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.outputs.places import Places
from worker.jobs.redis.job_chunks import LeaseAnswer
from worker.jobs.redis.job_store import JobStore

_log = structlog.get_logger(__name__)

_REPORT_SECONDS = 1.0
SYSTEM_ERRORS = (DataUnavailable, OutputNotWritable, OutOfMemory)
NO_FAULT_OF_THE_MODEL = (RedisError, SoftTimeLimitExceeded)  # the chunk is tried again


class ChunkTurns(ABC):
    """Works chunks off, one at a time, and tells the store of each image."""

    def __init__(
        self,
        store: JobStore,
        places: Places,
        coordinator: Coordinator,
        worker: str,
        lease_seconds: int,
    ) -> None:
        self._store = store
        self._places = places
        self._coordinator = coordinator
        self._worker = worker
        self._lease_seconds = lease_seconds

    @abstractmethod
    def explain(self, chunk: Chunk, state: JobState, report: Report) -> None:
        """Do the chunk's images, and tell the report of each row.

        Raises Stopped where it is to end before; what is the model's fault.
        """

    def handed_in(self) -> dict[str, float]:
        """The chunk is handed in: what the log says of it, beside how long it took."""
        return {}

    def run(self, chunk: Chunk) -> None:
        """Do the chunk, as far as nobody says stop; then see to it that the job goes on."""
        start = time.perf_counter()
        answer = self._store.take(chunk, self._worker, self._lease_seconds)
        if answer == "go":
            rest_from = self._work(chunk)
            seconds = time.perf_counter() - start
            self._store.add_seconds(chunk.job, chunk.model, seconds)
            self._store.hand_in(chunk, self._worker, rest_from)
            _log.info(
                "chunk done" if rest_from is None else "chunk handed back",
                job=chunk.job,
                chunk=chunk.key,
                attempt=chunk.attempt,
                seconds=round(seconds, 3),
                **self.handed_in(),
            )
        elif answer == "cancel":
            self._store.hand_in(chunk, self._worker)
        else:
            _log.info("chunk left alone", job=chunk.job, chunk=chunk.key, why=answer)
        self._coordinator.advance(chunk.job)

    def _work(self, chunk: Chunk) -> int | None:
        """The image index from which on another has to do it; None where it is done with."""
        state = self._store.state(chunk.job)
        if state is None:
            return None
        record = state.record
        lease = self._lease_seconds
        report = Report(self._store, self._places, chunk, record, self._worker, lease)
        with report:
            try:
                self.explain(chunk, state, report)
            except Stopped as stopped:
                return None if stopped.answer != "go" else report.rest_from
            except SYSTEM_ERRORS as error:
                report.flush()
                self._coordinator.fail(chunk.job, error)
            except NO_FAULT_OF_THE_MODEL:
                raise
            except Exception as error:  # the model's fault: its items fail, other models go on
                report.fail_rest(error_of_item(error, record.models[chunk.model].name))
        return None


class Stopped(Exception):
    """Work on a chunk is to end: handed back ("go"), or not wanted any more."""

    def __init__(self, answer: LeaseAnswer) -> None:
        super().__init__(answer)
        self.answer = answer


class Report:
    """Tells the store of rows about once a second, and keeps the lease while nothing comes."""

    def __init__(
        self,
        store: JobStore,
        places: Places,
        chunk: Chunk,
        record: JobRecord,
        worker: str,
        lease_seconds: int,
    ) -> None:
        self._store = store
        self._places = places
        self._chunk = chunk
        self._first = chunk.model * record.image_count
        self._to_do = deque(range(chunk.start, chunk.end))
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._succeeded: list[int] = []
        self._failed: dict[int, ItemFailure] = {}
        self._assumed: dict[int, Sequence[str]] = {}
        self._told = time.monotonic()
        self._answer: LeaseAnswer = "go"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_lease, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def row(self, row: Row) -> None:
        """An image is done. Raises Stopped where the job is not wanted any more."""
        with self._lock:
            index = self._first + self._to_do.popleft()
            if isinstance(row, Failed):
                detail = self._places.without_roots(row.detail)
                self._failed[index] = ItemFailure(code=row.code, detail=detail)
            else:
                self._succeeded.append(index)
                self._assumed[index] = row.decoding.notices
        if time.monotonic() - self._told >= _REPORT_SECONDS:
            self.flush()
        if self._answer != "go":
            raise Stopped(self._answer)

    @property
    def rest_from(self) -> int | None:
        """The first image of the job that no row came for; None where all came."""
        return self._to_do[0] if self._to_do else None

    def skip(self, made_before: Mapping[int, Sequence[str]]) -> None:
        """Images, by position in the chunk, that were made before: no rows will come for them.

        With what was assumed of each.
        """
        with self._lock:
            first = self._first + self._chunk.start
            made = {self._chunk.start + position for position in made_before}
            self._succeeded += [self._first + image for image in sorted(made)]
            self._assumed |= {first + position: said for position, said in made_before.items()}
            self._to_do = deque(image for image in self._to_do if image not in made)
        self.flush()

    def fail_rest(self, error: CamError) -> None:
        """What of the chunk is not done fails for one reason."""
        why = ItemFailure(code=error.code, detail=self._places.without_roots(str(error)))
        with self._lock:
            self._failed |= {self._first + image: why for image in self._to_do}
            self._to_do.clear()
        self.flush()

    def flush(self) -> None:
        """Tell the store what has gathered."""
        with self._lock:
            succeeded, failed, assumed = self._succeeded, self._failed, self._assumed
            self._succeeded, self._failed, self._assumed = [], {}, {}
        self._told = time.monotonic()
        self._answer = self._store.mark(
            self._chunk, self._worker, self._lease_seconds, succeeded, failed, assumed
        )

    def _keep_lease(self) -> None:
        """Also tell what has gathered: the next row may be long in coming."""
        longest = self._lease_seconds / 4
        while not self._ended.wait(min(_REPORT_SECONDS, longest)):
            silent = time.monotonic() - self._told
            if silent >= longest or (self._gathered and silent >= _REPORT_SECONDS):
                self.flush()

    @property
    def _gathered(self) -> bool:
        return bool(self._succeeded or self._failed)

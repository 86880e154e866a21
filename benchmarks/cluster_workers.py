"""Workers that only pretend to compute: all else towards Redis is what real ones do."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import structlog
from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import KombuError
from kombu.message import Message
from kombu.messaging import Consumer
from numpy.typing import NDArray
from redis.exceptions import RedisError

from cam_engine.pictures.recipes import Succeeded
from worker.jobs import logs
from worker.jobs.contract import Chunk, JobState
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.coordination.queue import CHUNKS, make_celery
from worker.jobs.outputs.places import Places
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings
from worker.process import coordinate, parts
from worker.turns import ChunkTurns, Report, Stopped

_log = structlog.get_logger(__name__)

_LEAST_MEASURED = 16
_PASS_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_LEFT_BY_REDIS = (RedisError, KombuError, OSError)
_MADE = Succeeded("", "", None, "", 0.0, "", (), (), None, clahe_changed_class=False)


class Ledger:
    """What stands for pictures: an entry for each item that was made, by whichever worker.

    A file a process, only ever appended to, so that what a killed one made is known.
    """

    _ENTRY = struct.Struct("<II")
    _TYPE = np.dtype([("job", "<u4"), ("item", "<u4")])

    def __init__(self, folder: Path, process: int) -> None:
        self._folder = folder
        self._file = os.open(
            folder / f"{process:04d}.ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND
        )

    def write(self, job: str, items: Sequence[int]) -> None:
        """These items of a job are made."""
        os.write(self._file, b"".join(self._ENTRY.pack(int(job, 16), item) for item in items))

    @classmethod
    def entries(cls, folder: Path) -> NDArray[np.uint64]:
        """All of them, each as (job << 32) + item."""
        kept = [np.fromfile(file, cls._TYPE) for file in sorted(folder.glob("*.ledger"))]
        every = np.concatenate([np.empty(0, cls._TYPE), *kept])
        jobs: NDArray[np.uint64] = every["job"].astype(np.uint64)
        return (jobs << np.uint64(32)) + every["item"].astype(np.uint64)

    def made(self, job: str, first: int, count: int) -> set[int]:
        """Which of `count` items of a job from `first` on are made, from 0."""
        start = (int(job, 16) << 32) + first
        every = self.entries(self._folder)
        return {int(key) - start for key in every if start <= int(key) < start + count}


@dataclass(slots=True)
class Spent:
    """Seconds of a worker: by the clock from its first chunk to its last, and what of it went
    where; of processors for giving chunks out and looking after jobs.
    """

    chunks: int = 0
    first: float = 0.0
    last: float = 0.0
    in_chunks: float = 0.0
    computing: float = 0.0
    advancing_cpu: float = 0.0
    coordinating_cpu: float = 0.0


class TimedCoordinator:
    """A coordinator, and what its work after each chunk costs a processor."""

    def __init__(self, coordinator: Coordinator, spent: Spent) -> None:
        self._coordinator = coordinator
        self._spent = spent
        self.fail = coordinator.fail

    def advance(self, job: str) -> None:
        before = time.thread_time()
        self._coordinator.advance(job)
        self._spent.advancing_cpu += time.thread_time() - before


class Pretending(ChunkTurns):
    """Waits as long as its images would take, and enters them into the ledger."""

    def pretend(self, ledger: Ledger, seconds_per_item: float, ended: threading.Event) -> None:
        self._ledger = ledger
        self._seconds = seconds_per_item
        self._ended = ended
        self.computing = 0.0

    def explain(self, chunk: Chunk, state: JobState, report: Report) -> None:
        record = state.record
        model = record.models[chunk.model]
        self._store.tell_activity(chunk.job, f"loading {model.name}")
        images = self._store.chosen_images(state, chunk.model) or []
        self._store.tell_activity(chunk.job, f"explaining with {model.name}")
        first = chunk.model * record.image_count + chunk.start
        wanted = list(range(first, first + len(images[chunk.start : chunk.end])))
        if chunk.attempt > 1:
            made = self._ledger.made(chunk.job, first, len(wanted))
            report.skip(dict.fromkeys(sorted(made), ()))
            wanted = [item for position, item in enumerate(wanted) if position not in made]
        start = time.monotonic()
        self._make(chunk.job, wanted, report)
        if len(wanted) >= _LEAST_MEASURED:
            rate = len(wanted) / (time.monotonic() - start)
            self._store.remember_rate(model.checkpoint_sha256, rate)

    def _make(self, job: str, items: Sequence[int], report: Report) -> None:
        """Pass by pass, each as long as a network would take for it; then its pictures."""
        size = max(1, round(_PASS_SECONDS / self._seconds))
        for at in range(0, len(items), size):
            made = items[at : at + size]
            time.sleep(self._seconds * len(made))
            self.computing += self._seconds * len(made)
            self._ledger.write(job, made)
            for _ in made:
                report.row(_MADE)
            if self._ended.is_set():
                report.flush()
                raise Stopped("go")
        report.flush()


class Worker:
    """One worker: takes messages of the queue as Celery does, one at a time, until it is ended."""

    def __init__(
        self,
        settings: JobSettings,
        shared: tuple[JobStore, Coordinator, Places],
        app: Celery,
        name: str,
        ledger: Ledger,
        seconds_per_item: float,
        ended: threading.Event,
    ) -> None:
        self._settings = settings
        self._app = app
        self._name = name
        self._ended = ended
        self.spent = Spent()
        store, coordinator, places = shared
        timed = TimedCoordinator(coordinator, self.spent)
        self._turns = Pretending(store, places, timed, name, settings.lease_seconds)  # type: ignore[arg-type]
        self._turns.pretend(ledger, seconds_per_item, ended)

    def threads(self) -> list[threading.Thread]:
        """What it consists of: one takes chunks, one coordinates."""
        return [
            threading.Thread(target=self._take_chunks, daemon=True),
            threading.Thread(target=self._coordinate, daemon=True),
        ]

    def _coordinate(self) -> None:
        before = time.thread_time()
        coordinate(self._settings, self._name, self._ended)
        self.spent.coordinating_cpu = time.thread_time() - before

    def _take_chunks(self) -> None:
        while not self._ended.is_set():
            try:
                with self._app.connection_for_read() as connection:
                    self._consume(connection)
            except _LEFT_BY_REDIS as error:
                _log.warning("begins anew", worker=self._name, reason=str(error))
                self._ended.wait(_PAUSE_SECONDS)

    def _consume(self, connection: Connection) -> None:
        channel = connection.channel()
        queue = Queue(CHUNKS, routing_key=CHUNKS)
        with Consumer(channel, [queue], callbacks=[self._run], accept=["json"], prefetch_count=1):
            while not self._ended.is_set():
                try:
                    connection.drain_events(timeout=_LOOK_SECONDS)
                except TimeoutError:
                    continue

    def _run(self, body: Sequence[Sequence[object]], message: Message) -> None:
        spent, start = self.spent, time.monotonic()
        spent.first = spent.first or start
        (chunk,), *_ = body
        self._turns.run(Chunk.model_validate(chunk))
        message.ack()
        spent.last = time.monotonic()
        spent.in_chunks += spent.last - start
        spent.chunks += 1
        spent.computing = self._turns.computing


def run_process(
    settings: JobSettings,
    folder: Path,
    number: int,
    workers: int,
    seconds_per_item: float,
    is_over: Callable[[], bool],
) -> None:
    """So many workers in this process, until it is over; then what they spent goes into a file."""
    logs.configure(settings)
    ended = threading.Event()
    ledger = Ledger(folder, number)
    shared, app = parts(settings), make_celery(str(settings.redis_url))
    mine = [
        Worker(settings, shared, app, f"w{number}-{at}@simulated", ledger, seconds_per_item, ended)
        for at in range(workers)
    ]
    threads = [thread for worker in mine for thread in worker.threads()]
    for thread in threads:
        thread.start()
    while not is_over():
        time.sleep(_LOOK_SECONDS)
    ended.set()
    for thread in threads:
        thread.join()
    told = {"cpu": time.process_time(), "workers": [asdict(worker.spent) for worker in mine]}
    (folder / f"{number:04d}.spent").write_text(json.dumps(told))

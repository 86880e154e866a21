"""Gives chunks out, job by job in turns; finds what was lost; ends what is done.

Every process of the service and every worker runs it now and then; a lock in Redis lets one do
so at a time. Nothing depends on it being the same one twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from cam_engine.errors import CamError
from cam_engine.outputs.folder_lock import FinalStatus
from worker.jobs.contract import Chunk, ItemFailure, JobError, JobState
from worker.jobs.coordination.finishing import Finisher
from worker.jobs.coordination.queue import ChunkQueue
from worker.jobs.outputs import job_files
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.storage import FoundJob
from worker.jobs.redis.job_chunks import GivenOut, Standing
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings

_log = structlog.get_logger(__name__)

_FIRST_CHUNK_IMAGES = 64  # where no rate is known yet: a short chunk that measures one
_LARGEST_CHUNK_IMAGES = 20_000
_ROUND_SECONDS = 30
_TURN_SECONDS = 2
_FINISH_SECONDS = 600
_STALE_MESSAGE_SECONDS = 20.0
_EXPIRY_ROUND_SECONDS = 60
WORKER_LOST = "worker-lost"


class Coordinator:
    """Keeps jobs moving; safe in several threads and processes."""

    def __init__(
        self, settings: JobSettings, store: JobStore, queue: ChunkQueue, places: Places
    ) -> None:
        self._settings = settings
        self._store = store
        self._queue = queue
        self._places = places
        self._finisher = Finisher(store, places)

    def round(self) -> None:
        """One look at everything: rebuild, recover, end, expire, give out."""
        with self._store.only_one("round", _ROUND_SECONDS) as mine:
            if mine:
                self.rebuild()
                every = self._store.standing()
                changed = self._recover(every)
                for standing in every:
                    if standing.may_end or standing.job in changed:
                        self.finish_if_done(standing.job)
                self._expire()
        self.dispatch()

    def round_in_turn(self) -> None:
        """A round, unless another process of many that do so has had its own a moment ago."""
        with self._store.only_one("turn", _TURN_SECONDS, keep=True) as mine:
            if mine:
                self.round()

    def dispatch(self) -> None:
        """Give chunks out until each worker has one and another waits, jobs taking turns."""
        with self._store.only_one("dispatch", _ROUND_SECONDS) as mine:
            if not mine:
                return
            given, listed = self._store.backlog()
            jobs = deque(listed)
            wanted = 2 * max(1, len(self._store.workers()))
            while given < wanted and jobs:
                job = jobs.popleft()
                if (chunk := self._next(job)) is not None:
                    self._queue.send(chunk)
                    given += 1
                    jobs.append(job)

    def advance(self, job: str) -> None:
        """After a chunk of the job: end the job, or give out more."""
        self.finish_if_done(job)
        self.dispatch()

    def finish_if_done(self, job: str) -> None:
        """End the job where nothing of it is left to do, or where it is to stop."""
        state = self._store.state(job)
        if state is None or state.finished:
            return
        out = self._store.out(job)
        if state.status == "canceling":
            done = not any(piece.leased for piece in out)
        else:
            done = not out and not self._store.pending(job)
        if done:
            self._end(state, _end_status(state), self._first_failure(state))

    def fail(self, job: str, error: CamError) -> None:
        """End the job for a reason that concerns all of it."""
        state = self._store.state(job)
        if state is not None and not state.finished:
            detail = self._places.without_roots(str(error))
            why = JobError(kind="system", code=error.code, detail=detail)
            self._end(state, "failed", why)

    def rebuild(self) -> None:
        """Put jobs back into a Redis that was emptied, from their files."""
        with self._store.only_one("rebuild", _EXPIRY_ROUND_SECONDS, keep=True) as mine:
            if not mine:
                return
            for left_job in self._places.storage.unfinished_jobs():
                if self._store.state(left_job.job) is None:
                    self._rebuild(left_job)

    def _rebuild(self, left_job: FoundJob) -> None:
        try:
            unfinished = job_files.unfinished(left_job, self._places)
        except job_files.NotOurs as error:
            where, reason = left_job.folder.path, str(error)
            _log.warning("job not rebuilt", job=left_job.job, output=where, reason=reason)
            return
        if unfinished is not None:
            request = unfinished.record.request.model_copy(update={"resume": True})
            record = unfinished.record.model_copy(update={"request": request})
            self._store.create(record, unfinished.images)
            _log.warning("job rebuilt from its file", job=record.id)

    def _next(self, job: str) -> Chunk | None:
        state = self._store.state(job)
        return None if state is None else self._store.cut(job, self._chunk_images(state))

    def _chunk_images(self, state: JobState) -> int:
        rates = [self._store.rate(model.checkpoint_sha256) for model in state.record.models]
        known = [rate for rate in rates if rate]
        if not known:
            return _FIRST_CHUNK_IMAGES
        wanted = round(min(known) * self._settings.chunk_seconds)
        return max(1, min(wanted, _LARGEST_CHUNK_IMAGES))

    def _recover(self, every: Sequence[Standing]) -> set[str]:
        """Chunks whose worker is gone, or whose message is. Answers the jobs of the former."""
        out = [given for standing in every for given in standing.given]
        leased = [given.chunk for given in out if given.leased]
        self._store.bound_leases(leased, self._settings.lease_seconds)
        lost = [given for given in out if given.taken and not given.leased]
        for given in lost:
            self._lost(given)
        now = self._store.now()
        # Messages come in the order in which they were sent.
        latest = max((given.since for given in out if given.taken), default=0.0)
        for given in out:
            waits = not (given.taken or given.leased)
            stale = waits and not 0 <= now - given.since <= _STALE_MESSAGE_SECONDS
            overtaken = latest - given.since > _STALE_MESSAGE_SECONDS
            gone = stale and (overtaken or self._queue.is_empty())
            if gone and self._store.sent_again(given.chunk):
                self._queue.send(given.chunk)
        return {given.chunk.job for given in lost}

    def _lost(self, given: GivenOut) -> None:
        chunk = given.chunk
        if chunk.attempt < self._settings.attempts:
            self._store.put_back(chunk, chunk.attempt + 1)
            _log.warning("chunk put back", job=chunk.job, chunk=chunk.key, attempt=chunk.attempt)
            return
        state = self._store.state(chunk.job)
        if state is None:
            return
        why = ItemFailure(
            code=WORKER_LOST,
            detail=f"the worker ended {chunk.attempt} times in the middle of these images; "
            "see its log, and try them one by one",
        )
        self._store.give_up(chunk, state.record.image_count, why)
        _log.error("chunk given up", job=chunk.job, chunk=chunk.key, attempts=chunk.attempt)

    def _end(self, state: JobState, status: FinalStatus, error: JobError | None) -> None:
        """Summaries first, then the end state: who sees it finds everything there."""
        job = state.record.id
        with self._store.only_one(f"finish:{job}", _FINISH_SECONDS) as mine:
            if not mine:
                return
            self._finisher.remove_half_written(state)
            self._finisher.write_summaries(state)
            expires = datetime.now(UTC) + timedelta(days=self._settings.job_days)
            self._finisher.write_job_file(state, status)
            webhook = state.record.request.webhook is not None
            if self._store.end(job, status, error, expires, webhook=webhook):
                self._finisher.let_go(state)
                _log.info("job ended", job=job, status=status)

    def _first_failure(self, state: JobState) -> JobError | None:
        if state.progress.succeeded or not state.progress.failed:
            return None
        _, why = min(self._store.failures(state.record.id).items())
        kind = "system" if why.code == WORKER_LOST else "input"
        return JobError(kind=kind, code=why.code, detail=why.detail)

    def _expire(self) -> None:
        with self._store.only_one("expire", _EXPIRY_ROUND_SECONDS, keep=True) as mine:
            for job in self._store.expired() if mine else []:
                self.forget(job)

    def forget(self, job: str) -> None:
        """Remove a job's record and file, never its pictures."""
        state = self._store.state(job)
        if state is not None:
            self._finisher.remove_job(state)
        self._store.forget(job)


def _end_status(state: JobState) -> FinalStatus:
    progress = state.progress
    if state.status == "canceling":
        return "canceled"
    if progress.succeeded == progress.total:
        return "succeeded"
    return "partial" if progress.succeeded else "failed"

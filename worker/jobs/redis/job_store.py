"""Jobs in Redis, counted by membership: what is done twice counts once.

A job of 100,000 items takes some hundred kilobytes: two bitmaps, its images compressed, a few
ranges of what is left to do, and the failures.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from cam_engine.outputs.folder_lock import is_job_id
from worker.jobs.contract import JobError, JobImage, JobRecord, JobStatus
from worker.jobs.redis.job_chunks import JobChunks
from worker.jobs.redis.job_findings import JobFindings
from worker.jobs.redis.shared_state import KEY_SECONDS, ClaimLost, claim_text

_RETRIES = 40  # with pauses of up to two seconds: longer than Redis may be away for a restart

# Keys of a job beside its record; "runs" are a key a model.
_PARTS = (
    "pending",
    "out",
    "images",
    "succeeded",
    "failed",
    "failures",
    "events",
    "facts",
    "choices",
    "seconds",
    "notices",
)


def connect(url: str, *, patient: bool = True) -> redis.Redis:
    """A client; a patient one bears a Redis that is away for a while, another says so soon."""
    return redis.Redis.from_url(
        url,
        socket_timeout=10 if patient else 3,
        socket_connect_timeout=5 if patient else 2,
        health_check_interval=5,
        retry=Retry(ExponentialBackoff(cap=2, base=0.05), retries=_RETRIES if patient else 1),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )


class JobStore(JobChunks, JobFindings):
    """All of it: begins and ends jobs; safe in several threads and processes."""

    def create(
        self,
        record: JobRecord,
        images: Sequence[JobImage],
        key: str | None = None,
        digest: str = "",
    ) -> bool:
        """Accept a job, all of it to be done. False where there is one of that id.

        key, digest: the idempotency key that was claimed for it, and of which body. Raises
        ClaimLost, and leaves nothing, where the key is another job's by now.
        """
        packed = zlib.compress(
            json.dumps([[image.path, image.name, image.true_class] for image in images]).encode()
        )
        with self.client.pipeline(transaction=True) as pipe:
            pipe.delete(self._key(record.id, "pending"))
            ranges = [f"{m}:0:{record.image_count}:1" for m in range(len(record.models))]
            pipe.rpush(self._key(record.id, "pending"), *ranges)
            pipe.set(self._key(record.id, "images"), packed)
            pipe.execute()
        created = self._call(
            "CREATE",
            [
                self._key(record.id),
                self._name("active"),
                self._name("jobs"),
                self.key_name(key or ""),
            ],
            [
                record.model_dump_json(),
                record.id,
                record.created_at.timestamp(),
                "",
                record.owner or "",
                KEY_SECONDS if key is not None else 0,
                claim_text(digest, record.id),
            ],
        )
        if created == -1:
            self.client.delete(self._key(record.id, "pending"), self._key(record.id, "images"))
            raise ClaimLost(record.id)
        self._announce(record.id, now=True)
        return bool(created)

    def cancel(self, job: str) -> str:
        """Ask the job to stop; its status afterwards, "" where there is none."""
        status = self._call_for_text("CANCEL", [self._key(job)], [])
        self._announce(job, now=True)
        return status

    def retry(self, job: str) -> bool:
        """Queue again what failed or was skipped. False for a job that is not ended, or whole."""
        state = self.state(job)
        if state is None:
            return False
        count = state.record.image_count
        states = self.item_states(job, state.record.total, ended=True)
        pending = [
            f"{model}:{start}:{end}:1"
            for model in range(len(state.record.models))
            for start, end in _stretches(
                [outcome != "succeeded" for outcome in states[model * count : (model + 1) * count]]
            )
        ]
        keys = [
            self._key(job),
            self._name("active"),
            *(self._key(job, part) for part in ("pending", "failed", "failures")),
        ]
        done = bool(pending) and bool(self._call("RETRY", keys, [job, *pending]))
        if done:
            self._announce(job, now=True)
        return done

    def end(
        self,
        job: str,
        status: JobStatus,
        error: JobError | None,
        expires: datetime,
        *,
        webhook: bool = False,
    ) -> bool:
        """End the job, its webhook being due at once; True for the one call that did."""
        keys = [
            self._key(job),
            self._name("active"),
            self._key(job, "pending"),
            self._key(job, "out"),
            self._name("webhooks"),
            self._name("webhook-attempts"),
        ]
        words = error.model_dump_json() if error else ""
        now = self.now()
        arguments = [status, now, words, expires.timestamp(), job, "1" if webhook else ""]
        ended = bool(self._call("END", keys, arguments))
        self._announce(job, now=True)
        return ended

    def forget(self, job: str) -> None:
        """Remove the record and all that belongs to it."""
        if not is_job_id(job):
            return
        state = self.state(job)
        models = len(state.record.models) if state is not None else 0
        parts = [*_PARTS, *(f"runs:{model}" for model in range(models))]
        with self.client.pipeline(transaction=True) as pipe:
            pipe.delete(self._key(job), *(self._key(job, part) for part in parts))
            pipe.zrem(self._name("jobs"), job)
            pipe.zrem(self._name("active"), job)
            pipe.execute()

    def expired(self) -> list[str]:
        """Ended jobs whose time is over."""
        ids, _ = self.job_ids(0, 1_000_000)
        with self.client.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.hget(self._key(job), "expires")
            times = pipe.execute()
        now = self.now()
        return [job for job, ends in zip(ids, times, strict=True) if ends and float(ends) < now]


def _stretches(wanted: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """[start, end) of each stretch of True."""
    start: int | None = None
    for index, is_wanted in enumerate([*wanted, False]):
        if is_wanted and start is None:
            start = index
        elif not is_wanted and start is not None:
            yield start, index
            start = None

"""What processes share in Redis beside job records: keys, webhooks, workers, rates, locks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import redis

from worker.jobs.redis import scripts

KEY_SECONDS = 24 * 3600  # an idempotency key is known so long, once its job is there
CLAIM_SECONDS = 10  # and until then, unless it is renewed
_WORKER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose an idempotency key is: the digest of the body it came with, and the job.

    accepting: the job may not be there yet.
    """

    digest: str
    job: str
    accepting: bool


class ClaimLost(Exception):
    """A job was accepted for longer than its claim lasted, and its key is another job's."""


class SharedState:
    """Reads and writes it; safe in several threads and processes."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client = client
        self._prefix = prefix
        self._claim = client.register_script(scripts.CLAIM)
        self._unlock = client.register_script(scripts.UNLOCK)
        self._shorten = client.register_script(scripts.BOUND)
        self._renew = client.register_script(scripts.RENEW)

    def now(self) -> float:
        """Seconds since 1970 by the clock of Redis: machines' own may differ by minutes."""
        seconds, microseconds = self.client.time()
        return seconds + microseconds / 1e6

    def claim_key(self, key: str, digest: str, job: str) -> Claim:
        """Tie an idempotency key to a job, unless another did: whose it is now.

        A claim ends after CLAIM_SECONDS unless it is renewed, or its job created, which makes it
        last for KEY_SECONDS: a process that dies while it accepts a job leaves no key behind.
        """
        # In one step: a claim that ends between two would be taken for one's own, and not be there.
        claimed, left = cast(
            "tuple[bytes, int]",
            self._claim(keys=[self.key_name(key)], args=[claim_text(digest, job), CLAIM_SECONDS]),
        )
        first = json.loads(claimed)
        return Claim(str(first[0]), str(first[1]), accepting=left <= CLAIM_SECONDS)

    def renew_claim(self, key: str, digest: str, job: str) -> None:
        """The job is still being accepted."""
        self._renew(keys=[self.key_name(key)], args=[claim_text(digest, job), CLAIM_SECONDS])

    def release_key(self, key: str, digest: str, job: str) -> None:
        """Forget an idempotency key that is this job's, which was refused."""
        self._unlock(keys=[self.key_name(key)], args=[claim_text(digest, job)])

    def key_name(self, key: str) -> str:
        """Where an idempotency key is kept."""
        return self._name("idempotency", key)

    def plan_webhook(self, job: str, pause_seconds: float, attempt: int) -> None:
        """The job's webhook is due after a pause, as the n-th attempt."""
        due = self.now() + pause_seconds
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zadd(self._name("webhooks"), {job: due})
            pipe.hset(self._name("webhook-attempts"), job, str(attempt))
            pipe.hset(self._name("webhook-pauses"), job, str(pause_seconds))
            pipe.execute()

    def drop_webhook(self, job: str) -> None:
        """The job's webhook is delivered, or given up."""
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zrem(self._name("webhooks"), job)
            pipe.hdel(self._name("webhook-attempts"), job)
            pipe.hdel(self._name("webhook-pauses"), job)
            pipe.execute()

    def due_webhooks(self) -> list[tuple[str, int]]:
        """Jobs whose webhook is due, and which attempt it is.

        One further away than its pause was planned before the clock was set back: it is due.
        """
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zrange(self._name("webhooks"), 0, -1, withscores=True)
            pipe.hgetall(self._name("webhook-attempts"))
            pipe.hgetall(self._name("webhook-pauses"))
            planned, attempts, pauses = pipe.execute()
        now = self.now()
        return [
            (job.decode(), int(attempts.get(job, b"1")))
            for job, due in planned
            if not now < due <= now + float(pauses.get(job, b"inf"))
        ]

    def beat(self, worker: str) -> None:
        """A worker is alive."""
        self.client.zadd(self._name("workers"), {worker: self.now()})

    def leave(self, worker: str) -> None:
        """A worker ends."""
        self.client.zrem(self._name("workers"), worker)

    def workers(self) -> list[str]:
        """Workers that were alive half a minute ago."""
        name, now = self._name("workers"), self.now()
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(name, "-inf", now - _WORKER_SECONDS)
            pipe.zremrangebyscore(name, now + _WORKER_SECONDS, "+inf")  # the clock was set back
            pipe.zrange(name, 0, -1)
            listed = pipe.execute()[-1]
        return sorted(worker.decode() for worker in listed)

    def rate(self, model: str) -> float | None:
        """Images a second that workers have had with the model, as far as is known."""
        told = self._field(self._name("rates"), model)
        return None if told is None else float(told)

    def remember_rate(self, model: str, images_per_second: float) -> None:
        """What a worker had with the model."""
        self.client.hset(self._name("rates"), model, f"{images_per_second:.3f}")

    @contextmanager
    def only_one(self, what: str, seconds: int, *, keep: bool = False) -> Iterator[bool]:
        """True for one process at a time, for so long at most.

        keep: the turn is not given back at the end, so that it comes every so many seconds only.
        """
        name, token = self._name("lock", what), uuid.uuid4().hex
        mine = bool(self.client.set(name, token, nx=True, ex=seconds))
        if not mine:
            self._bound(name, seconds * 1000)
        try:
            yield mine
        finally:
            if mine and not keep:
                self._unlock(keys=[name], args=[token])

    def _bound(self, name: str, milliseconds: int) -> None:
        """Let a key last so long at most: it would last longer once Redis's clock was set back."""
        self._shorten(keys=[name], args=[milliseconds])

    def _bound_all(self, names: Sequence[str], milliseconds: int) -> None:
        """The same for many, with one question."""
        with self.client.pipeline(transaction=False) as pipe:
            for name in names:
                self._shorten(keys=[name], args=[milliseconds], client=pipe)
            pipe.execute()

    # The client's own types say that each answer may also be one to wait for.

    def _field(self, name: str, field: str) -> bytes | None:
        return cast("bytes | None", self.client.hget(name, field))

    def _fields(self, name: str) -> dict[bytes, bytes]:
        return cast("dict[bytes, bytes]", self.client.hgetall(name))

    def _name(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


def claim_text(digest: str, job: str) -> str:
    """What is kept under an idempotency key."""
    return json.dumps([digest, job])

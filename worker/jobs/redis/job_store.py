"""Job records in Redis, counted by membership: what is done twice counts once.

A job of 100,000 items takes some hundred kilobytes: two bitmaps, its images compressed, a few
ranges of what is left to do, and the failures.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from cam_engine.outputs.folder_lock import is_job_id
from worker.jobs.contract import (
    Chunk,
    ItemFailure,
    ItemState,
    JobError,
    JobImage,
    JobRecord,
    JobState,
    JobStatus,
    Progress,
)
from worker.jobs.redis import scripts
from worker.jobs.redis.shared_state import KEY_SECONDS, SharedState

_MOST_EVENTS = 1000
_EVENT_PAUSE_MS = 300
_DEPTH = "depth"  # beside the models' choices, which are by number
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
)

LeaseAnswer = Literal["go", "cancel", "lost", "gone", "taken"]


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


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job: its place in the stream, and the job's state then."""

    id: str
    state: JobState


@dataclass(frozen=True, slots=True)
class Depth:
    """Bits by which a job's deep images are read that name none; None where there are none."""

    bits: int | None


@dataclass(frozen=True, slots=True)
class GivenOut:
    """A chunk on its way: since when (epoch seconds), whether a worker took it, and has it."""

    chunk: Chunk
    since: float
    taken: bool
    leased: bool


class JobStore(SharedState):
    """Reads and writes job records; safe in several threads and processes."""

    def __init__(self, client: redis.Redis, prefix: str = "gradcam") -> None:
        super().__init__(client, prefix)
        self._scripts = {
            name: client.register_script(getattr(scripts, name))
            for name in (
                "CREATE",
                "TAKE",
                "MARK",
                "HAND_IN",
                "CUT",
                "CANCEL",
                "END",
                "RETRY",
            )
        }

    # What the service does.

    def create(self, record: JobRecord, images: Sequence[JobImage], key: str | None = None) -> bool:
        """Accept a job, all of it to be done. False where there is one of that id.

        key: the idempotency key that was claimed for it.
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
            ],
        )
        self._announce(record.id, now=True)
        return bool(created)

    def state(self, job: str) -> JobState | None:
        """The job as it stands; None where there is none, or none can have such an id."""
        if not is_job_id(job):
            return None
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hgetall(self._key(job))
            pipe.bitcount(self._key(job, "succeeded"))
            pipe.bitcount(self._key(job, "failed"))
            fields, succeeded, failed = pipe.execute()
        if b"record" not in fields:
            return None
        record = JobRecord.model_validate_json(fields[b"record"])
        status = cast("JobStatus", fields[b"status"].decode())
        finished = _time(fields.get(b"finished"))
        # Once a job has ended, whatever it did not do was skipped.
        skipped = record.total - succeeded - failed if finished else 0
        error = fields.get(b"error")
        return JobState(
            record=record,
            status=status,
            started_at=_time(fields.get(b"started")),
            finished_at=finished,
            expires_at=_time(fields.get(b"expires")),
            progress=Progress(
                total=record.total, succeeded=succeeded, failed=failed, skipped=skipped
            ),
            error=JobError.model_validate_json(error) if error else None,
            activity=_activity(fields, status),
        )

    def job_ids(self, offset: int, limit: int, owner: str | None = None) -> tuple[list[str], int]:
        """Ids, the newest first, and how many there are in all.

        owner: only jobs of this caller, and those of nobody.
        """
        name = self._name("jobs")
        if owner is not None:
            listed = cast("list[bytes]", self.client.zrevrange(name, 0, -1))
            every = [one.decode() for one in listed]
            with self.client.pipeline(transaction=False) as pipe:
                for job in every:
                    pipe.hget(self._key(job), "owner")
                owners = [one.decode() if one else "" for one in pipe.execute()]
            seen = [job for job, of in zip(every, owners, strict=True) if of in {"", owner}]
            return seen[offset : offset + limit], len(seen)
        found = cast("list[bytes]", self.client.zrevrange(name, offset, offset + limit - 1))
        return _job_ids(found), int(self.client.zcard(name))

    def images(self, job: str) -> list[JobImage]:
        """The job's images in order; [] where there is no such job."""
        packed = cast("bytes | None", self.client.get(self._key(job, "images")))
        rows = json.loads(zlib.decompress(packed)) if packed else []
        return [JobImage(path=path, name=name, true_class=true) for path, name, true in rows]

    def item_states(self, job: str, total: int, *, ended: bool) -> list[ItemState]:
        """Every item's state; item = model index * images + image index."""
        with self.client.pipeline(transaction=True) as pipe:
            pipe.get(self._key(job, "succeeded"))
            pipe.get(self._key(job, "failed"))
            succeeded, failed = pipe.execute()
        rest: ItemState = "skipped" if ended else "pending"
        return [
            "succeeded" if _bit(succeeded, i) else "failed" if _bit(failed, i) else rest
            for i in range(total)
        ]

    def failures(self, job: str) -> dict[int, ItemFailure]:
        """Why items failed, by item."""
        found = cast("dict[bytes, bytes]", self.client.hgetall(self._key(job, "failures")))
        return {int(k): ItemFailure.model_validate_json(v) for k, v in found.items()}

    def cancel(self, job: str) -> str:
        """Ask the job to stop; its status afterwards, "" where there is none."""
        status = cast("bytes", self._call("CANCEL", [self._key(job)], [])).decode()
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
                [one != "succeeded" for one in states[model * count : (model + 1) * count]]
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

    def events(self, job: str, after: str) -> list[Event]:
        """What happened after an event ("0": all that is remembered); [] where nothing did."""
        found = cast("list[Any]", self.client.xread({self._key(job, "events"): after}, count=100))
        return [
            Event(id_.decode(), JobState.model_validate_json(fields[b"state"]))
            for _, entries in found or []
            for id_, fields in entries
        ]

    # What workers do.

    def take(self, chunk: Chunk, worker: str, lease_seconds: int) -> LeaseAnswer:
        """Begin a chunk: "go", or why not."""
        keys = [self._key(chunk.job), self._key(chunk.job, "out"), self._lease(chunk)]
        now = self.now()
        answer = self._answer("TAKE", keys, [chunk.key, worker, lease_seconds, now])
        if answer == "go":
            self._announce(chunk.job, now=True)
        return answer

    def tell_activity(self, job: str, activity: str) -> None:
        """What a worker does for the job at the moment, in words; the last one told is shown."""
        self.client.hset(self._key(job), "activity", activity)
        self._announce(job, now=True)

    def mark(
        self,
        chunk: Chunk,
        worker: str,
        lease_seconds: int,
        succeeded: Sequence[int],
        failed: Mapping[int, ItemFailure],
    ) -> LeaseAnswer:
        """Record items (by item index) and keep the lease: "go", "cancel" or "lost"."""
        keys = [
            self._key(chunk.job),
            *(self._key(chunk.job, part) for part in ("succeeded", "failed", "failures")),
            self._lease(chunk),
        ]
        pairs = [part for i, why in failed.items() for part in (i, why.model_dump_json())]
        arguments = [worker, lease_seconds, len(succeeded), *succeeded, len(failed), *pairs]
        answer = self._answer("MARK", keys, arguments)
        if succeeded or failed:
            self._announce(chunk.job)
        return answer

    def hand_in(self, chunk: Chunk, worker: str, rest_from: int | None = None) -> None:
        """The chunk is done, or done up to image `rest_from`, the rest to be done by another."""
        keys = [self._key(chunk.job, "out"), self._lease(chunk), self._key(chunk.job, "pending")]
        rest = "" if rest_from is None else _entry(chunk, rest_from, chunk.attempt)
        self._call("HAND_IN", keys, [chunk.key, worker, rest])

    def remember_facts(self, job: str, model: int, facts: str, run_digest: str) -> None:
        """What is known of a model once it is loaded, for its summary; run_digest: theirs.

        Workers with other devices have other facts: all of their digests are remembered.
        """
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset(self._key(job, "facts"), str(model), facts)
            pipe.sadd(self._key(job, f"runs:{model}"), run_digest)
            pipe.execute()

    def run_digests(self, job: str, model: int) -> frozenset[str]:
        """Digests that the recipes of the job's pictures of a model have."""
        found = cast("set[bytes]", self.client.smembers(self._key(job, f"runs:{model}")))
        facts = self.facts(job, model)
        if not found and facts is not None:  # of a job that an older version did
            return frozenset({hashlib.sha256(facts.encode()).hexdigest()})
        return frozenset(one.decode() for one in found)

    def add_seconds(self, job: str, model: int, seconds: float) -> None:
        """How long a worker was busy with a chunk of the model: loading, explaining, writing."""
        self.client.hincrbyfloat(self._key(job, "seconds"), str(model), seconds)

    def seconds(self, job: str, model: int) -> float:
        """The sum of what `add_seconds` was told; workers side by side are counted each."""
        found = cast("bytes | None", self.client.hget(self._key(job, "seconds"), str(model)))
        return 0.0 if found is None else float(found)

    def remember_choice(self, job: str, model: int, images: Sequence[int]) -> None:
        """Which of the job's images a model explains, where each model has its own (errors)."""
        packed = zlib.compress(json.dumps(list(images)).encode())
        self.client.hset(self._key(job, "choices"), str(model), packed)

    def remember_depth(self, job: str, bits: int | None) -> Depth:
        """By which depth a job's deep images are read; whoever says it first is right."""
        key = self._key(job, "choices")
        self.client.hsetnx(key, _DEPTH, bits or 0)
        return self.depth(job) or Depth(bits)

    def depth(self, job: str) -> Depth | None:
        """What `remember_depth` was told; None before."""
        found = cast("bytes | None", self.client.hget(self._key(job, "choices"), _DEPTH))
        return None if found is None else Depth(int(found) or None)

    def chosen_images(self, state: JobState, model: int) -> list[JobImage] | None:
        """The images that a model explains, in order; None until they have been chosen."""
        images = self.images(state.record.id)
        if state.record.request.pick != "errors":
            return images
        packed = cast(
            "bytes | None", self.client.hget(self._key(state.record.id, "choices"), str(model))
        )
        return None if packed is None else [images[i] for i in json.loads(zlib.decompress(packed))]

    def facts(self, job: str, model: int) -> str | None:
        """What `remember_facts` was told."""
        found = cast("bytes | None", self.client.hget(self._key(job, "facts"), str(model)))
        return None if found is None else found.decode()

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

    # What whoever dispatches does.

    def active(self) -> list[str]:
        """Unfinished jobs, the one whose turn it is first."""
        found = cast("list[bytes]", self.client.zrange(self._name("active"), 0, -1))
        return _job_ids(found)

    def cut(self, job: str, images: int) -> Chunk | None:
        """The job's next chunk, of so many images at most; its turn then goes to the back."""
        keys = [self._key(job), self._key(job, "pending"), self._key(job, "out")]
        entry = cast("bytes", self._call("CUT", keys, [self.now(), images])).decode()
        self._to_the_back(job)
        if not entry:
            return None
        model, start, end, attempt = map(int, entry.split(":"))
        return Chunk(job=job, model=model, start=start, end=end, attempt=attempt)

    def _to_the_back(self, job: str) -> None:
        """By numbers of its own, not by a clock, which may be set back."""
        name = self._name("active")
        last = cast("list[tuple[bytes, float]]", self.client.zrange(name, -1, -1, withscores=True))
        if last:
            self.client.zadd(name, {job: last[0][1] + 1}, xx=True)

    def out(self, job: str) -> list[GivenOut]:
        """Chunks given out and not handed in yet."""
        found = cast("dict[bytes, bytes]", self.client.hgetall(self._key(job, "out")))
        given = []
        for key, value in found.items():
            model, start, end = map(int, key.decode().split(":"))
            attempt, when, how = value.decode().split(" ")
            chunk = Chunk(job=job, model=model, start=start, end=end, attempt=int(attempt))
            leased = bool(self.client.exists(self._lease(chunk)))
            given.append(GivenOut(chunk, float(when), taken=how == "taken", leased=leased))
        return given

    def bound_lease(self, chunk: Chunk, lease_seconds: int) -> None:
        """Let a lease last no longer than it is given for, if Redis's clock was set back."""
        self._bound(self._lease(chunk), lease_seconds * 1000)

    def pending(self, job: str) -> int:
        """Ranges that no chunk was cut of yet."""
        return int(self.client.llen(self._key(job, "pending")))

    def put_back(self, chunk: Chunk, attempt: int) -> None:
        """A chunk that was lost: to be given out again."""
        keys = [self._key(chunk.job, "out"), self._lease(chunk), self._key(chunk.job, "pending")]
        self._call("HAND_IN", keys, [chunk.key, "", _entry(chunk, chunk.start, attempt)])

    def give_up(self, chunk: Chunk, image_count: int, why: ItemFailure) -> None:
        """A chunk that is not tried again: what of it is not done has failed."""
        first = chunk.model * image_count
        words = why.model_dump_json()
        pairs = [part for i in range(chunk.start, chunk.end) for part in (first + i, words)]
        keys = [
            self._key(chunk.job),
            *(self._key(chunk.job, part) for part in ("succeeded", "failed", "failures")),
            self._lease(chunk),
        ]
        self._call("MARK", keys, ["", 1, 0, chunk.end - chunk.start, *pairs])
        self._call(
            "HAND_IN",
            [self._key(chunk.job, "out"), self._lease(chunk), self._key(chunk.job, "pending")],
            [chunk.key, "", ""],
        )
        self._announce(chunk.job)

    def expired(self) -> list[str]:
        """Ended jobs whose time is over."""
        ids, _ = self.job_ids(0, 1_000_000)
        with self.client.pipeline(transaction=False) as pipe:
            for job in ids:
                pipe.hget(self._key(job), "expires")
            times = pipe.execute()
        now = self.now()
        return [job for job, one in zip(ids, times, strict=True) if one and float(one) < now]

    def _announce(self, job: str, *, now: bool = False) -> None:
        """Tell listeners the job's state, a few times a second at most."""
        quiet = self._key(job, "quiet")
        if not now and not self.client.set(quiet, 1, nx=True, px=_EVENT_PAUSE_MS):
            self._bound(quiet, _EVENT_PAUSE_MS)
            return
        state = self.state(job)
        if state is not None:
            fields = {"state": state.model_dump_json()}
            self.client.xadd(
                self._key(job, "events"), cast("Any", fields), maxlen=_MOST_EVENTS, approximate=True
            )

    def _answer(self, name: str, keys: list[str], arguments: list[Any]) -> LeaseAnswer:
        return cast("LeaseAnswer", cast("bytes", self._call(name, keys, arguments)).decode())

    def _call(self, name: str, keys: list[str], arguments: list[Any]) -> object:
        return self._scripts[name](keys=keys, args=arguments)

    def _lease(self, chunk: Chunk) -> str:
        return self._key(chunk.job, f"lease:{chunk.key}")

    def _key(self, job: str, part: str = "") -> str:
        """Raises ValueError for what is no job's id, which could be another key of a job."""
        if not is_job_id(job):
            raise ValueError(f"{job!r} is no id of a job")
        return self._name("job", job, *([part] if part else []))


def _job_ids(found: Sequence[bytes]) -> list[str]:
    """Those that have the form of one, whatever else somebody put there."""
    return [text for one in found if is_job_id(text := one.decode(errors="replace"))]


def _entry(chunk: Chunk, start: int, attempt: int) -> str:
    return f"{chunk.model}:{start}:{chunk.end}:{attempt}"


def _bit(bitmap: bytes | None, index: int) -> bool:
    if bitmap is None or index // 8 >= len(bitmap):
        return False
    return bool(bitmap[index // 8] >> (7 - index % 8) & 1)


def _stretches(wanted: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """[start, end) of each stretch of True."""
    start: int | None = None
    for index, one in enumerate([*wanted, False]):
        if one and start is None:
            start = index
        elif not one and start is not None:
            yield start, index
            start = None


def _activity(fields: Mapping[bytes, bytes], status: JobStatus) -> str | None:
    told = fields.get(b"activity")
    return told.decode() if told and status == "running" else None


def _time(value: bytes | None) -> datetime | None:
    return datetime.fromtimestamp(float(value), UTC) if value else None

"""What stands in Redis of a job: its record, how far it is, and what happened to it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import redis

from cam_engine.outputs.folder_lock import is_job_id
from worker.jobs.contract import (
    ItemFailure,
    ItemState,
    JobError,
    JobImage,
    JobRecord,
    JobState,
    JobStatus,
    Progress,
)
from worker.jobs.redis import notices, scripts
from worker.jobs.redis.shared_state import SharedState

_MOST_EVENTS = 1000
_EVENT_PAUSE_MS = 300
_NOT_IN_EVENTS = {"record", "notices"}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job: its place in the stream, and the job's state then."""

    id: str
    state: JobState


class JobRecords(SharedState):
    """Reads them, and tells those who listen that a job has changed."""

    def __init__(self, client: redis.Redis, prefix: str = "gradcam") -> None:
        super().__init__(client, prefix)
        self._scripts = {
            name: client.register_script(getattr(scripts, name))
            for name in (
                "CREATE",
                "TAKE",
                "MARK",
                "NOTICE",
                "HAND_IN",
                "CUT",
                "SEND_AGAIN",
                "CANCEL",
                "END",
                "RETRY",
            )
        }

    def state(self, job: str) -> JobState | None:
        """The job as it stands; None where there is none, or none can have such an id."""
        return self.states([job])[0]

    def states(self, jobs: Sequence[str]) -> list[JobState | None]:
        """The same for many, with one question to Redis."""
        known = [job for job in jobs if is_job_id(job)]
        with self.client.pipeline(transaction=True) as pipe:
            for job in known:
                pipe.hgetall(self._key(job))
                pipe.bitcount(self._key(job, "succeeded"))
                pipe.bitcount(self._key(job, "failed"))
                pipe.hgetall(self._key(job, "notices"))
            told = pipe.execute()
        states = {job: _state(*told[4 * at : 4 * at + 4]) for at, job in enumerate(known)}
        return [states.get(job) for job in jobs]

    def job_ids(self, offset: int, limit: int, owner: str | None = None) -> tuple[list[str], int]:
        """Ids, the newest first, and how many there are in all.

        owner: only jobs of this caller, and those of nobody.
        """
        name = self._name("jobs")
        if owner is not None:
            listed = cast("list[bytes]", self.client.zrevrange(name, 0, -1))
            every = [id_.decode() for id_ in listed]
            with self.client.pipeline(transaction=False) as pipe:
                for job in every:
                    pipe.hget(self._key(job), "owner")
                owners = [stated.decode() if stated else "" for stated in pipe.execute()]
            seen = [job for job, of in zip(every, owners, strict=True) if of in {"", owner}]
            return seen[offset : offset + limit], len(seen)
        newest = cast("list[bytes]", self.client.zrevrange(name, offset, offset + limit - 1))
        return ids_of_jobs(newest), int(self.client.zcard(name))

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
        by_item = self._fields(self._key(job, "failures"))
        return {int(k): ItemFailure.model_validate_json(v) for k, v in by_item.items()}

    def events(self, job: str, after: str) -> list[Event]:
        """What happened after an event ("0": all that is remembered); [] where nothing did.

        Each with the job's record, and the notices that there are by now, which would be long to
        keep with each.
        """
        streams = cast("list[Any]", self.client.xread({self._key(job, "events"): after}, count=100))
        entries = [entry for _, of_stream in streams or [] for entry in of_stream]
        now = self.state(job) if entries else None
        if now is None:  # removed meanwhile
            return []
        return [Event(id_.decode(), _at(fields[b"state"], now)) for id_, fields in entries]

    def _announce(self, job: str, *, now: bool = False) -> None:
        """Tell listeners the job's state, a few times a second at most."""
        quiet = self._key(job, "quiet")
        if not now and not self.client.set(quiet, 1, nx=True, px=_EVENT_PAUSE_MS):
            self._bound(quiet, _EVENT_PAUSE_MS)
            return
        state = self.state(job)
        if state is not None:
            fields = {"state": state.model_dump_json(exclude=_NOT_IN_EVENTS)}
            self.client.xadd(
                self._key(job, "events"), cast("Any", fields), maxlen=_MOST_EVENTS, approximate=True
            )

    def _call(self, name: str, keys: list[str], arguments: list[Any]) -> object:
        return self._scripts[name](keys=keys, args=arguments)

    def _call_for_text(self, name: str, keys: list[str], arguments: list[Any]) -> str:
        return cast("bytes", self._call(name, keys, arguments)).decode()

    def _key(self, job: str, part: str = "") -> str:
        """Raises ValueError for what is no job's id, which could be another key of a job."""
        if not is_job_id(job):
            raise ValueError(f"{job!r} is no id of a job")
        return self._name("job", job, *([part] if part else []))


def ids_of_jobs(listed: Sequence[bytes]) -> list[str]:
    """Those that have the form of one, whatever else somebody put there."""
    return [text for id_ in listed if is_job_id(text := id_.decode(errors="replace"))]


def _state(
    fields: Mapping[bytes, bytes], succeeded: int, failed: int, said: Mapping[bytes, bytes]
) -> JobState | None:
    """What is kept of a job, and how many of its items succeeded and failed."""
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
        progress=Progress(total=record.total, succeeded=succeeded, failed=failed, skipped=skipped),
        error=JobError.model_validate_json(error) if error else None,
        activity=_activity(fields, status),
        notices=notices.listed(record, said),
    )


def _at(told: bytes, now: JobState) -> JobState:
    """The state that an event tells, with what does not change and what is not kept with it."""
    same = {"record": now.record, "notices": now.notices}
    return JobState.model_validate({**json.loads(told), **same})


def _bit(bitmap: bytes | None, index: int) -> bool:
    if bitmap is None or index // 8 >= len(bitmap):
        return False
    return bool(bitmap[index // 8] >> (7 - index % 8) & 1)


def _activity(fields: Mapping[bytes, bytes], status: JobStatus) -> str | None:
    told = fields.get(b"activity")
    return told.decode() if told and status == "running" else None


def _time(value: bytes | None) -> datetime | None:
    return datetime.fromtimestamp(float(value), UTC) if value else None

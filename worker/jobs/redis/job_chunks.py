"""A job's chunks in Redis: cut off what is pending, taken by a worker's lease, handed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

from worker.jobs.contract import Chunk, ItemFailure
from worker.jobs.redis import notices
from worker.jobs.redis.job_records import JobRecords, ids_of_jobs

LeaseAnswer = Literal["go", "cancel", "lost", "gone", "taken"]


@dataclass(frozen=True, slots=True)
class GivenOut:
    """A chunk on its way: since when (epoch seconds), whether a worker took it, and has it."""

    chunk: Chunk
    since: float
    taken: bool
    leased: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How an unfinished job stands: its chunks on their way, and ranges that none was cut of."""

    job: str
    status: str
    given: tuple[GivenOut, ...]
    pending: int

    @property
    def may_end(self) -> bool:
        """Whether there may be nothing left to do or to wait for."""
        return self.status == "canceling" or not (self.given or self.pending)


class JobChunks(JobRecords):
    """Gives them out, and counts what is done: each item once, however often it is told."""

    def active(self) -> list[str]:
        """Unfinished jobs, the one whose turn it is first."""
        listed = cast("list[bytes]", self.client.zrange(self._name("active"), 0, -1))
        return ids_of_jobs(listed)

    def standing(self) -> list[Standing]:
        """All unfinished jobs in turn, with two questions to Redis however many there are."""
        jobs = self.active()
        with self.client.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.hget(self._key(job), "status")
                pipe.hgetall(self._key(job, "out"))
                pipe.llen(self._key(job, "pending"))
            told = pipe.execute()
        chunks = [list(_out(job, told[3 * at + 1])) for at, job in enumerate(jobs)]
        leased = iter(self._leased([chunk for of_job in chunks for chunk, _, _ in of_job]))
        return [
            Standing(
                job,
                (told[3 * at] or b"").decode(),
                tuple(
                    GivenOut(chunk, since, taken, next(leased)) for chunk, since, taken in of_job
                ),
                int(told[3 * at + 2]),
            )
            for at, (job, of_job) in enumerate(zip(jobs, chunks, strict=True))
        ]

    def backlog(self) -> tuple[int, list[str]]:
        """How many chunks are on their way, and which jobs have ranges left, in turn."""
        jobs = self.active()
        with self.client.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.hlen(self._key(job, "out"))
                pipe.llen(self._key(job, "pending"))
            told = pipe.execute()
        return sum(told[::2]), [job for job, left in zip(jobs, told[1::2], strict=True) if left]

    def cut(self, job: str, images: int) -> Chunk | None:
        """The job's next chunk, of so many images at most; its turn then goes to the back."""
        keys = [self._key(job), self._key(job, "pending"), self._key(job, "out")]
        entry = self._call_for_text("CUT", keys, [self.now(), images])
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

    def pending(self, job: str) -> int:
        """Ranges that no chunk was cut of yet."""
        return int(self.client.llen(self._key(job, "pending")))

    def out(self, job: str) -> list[GivenOut]:
        """Chunks given out and not handed in yet."""
        out = list(_out(job, self._fields(self._key(job, "out"))))
        leased = self._leased([chunk for chunk, _, _ in out])
        return [
            GivenOut(chunk, since, taken, of_chunk)
            for (chunk, since, taken), of_chunk in zip(out, leased, strict=True)
        ]

    def _leased(self, chunks: Sequence[Chunk]) -> list[bool]:
        """Whether a worker has them."""
        with self.client.pipeline(transaction=False) as pipe:
            for chunk in chunks:
                pipe.exists(self._lease(chunk))
            return [bool(there) for there in pipe.execute()]

    def bound_leases(self, chunks: Sequence[Chunk], lease_seconds: int) -> None:
        """Let leases last no longer than they are given for, if Redis's clock was set back."""
        self._bound_all([self._lease(chunk) for chunk in chunks], lease_seconds * 1000)

    def sent_again(self, chunk: Chunk) -> bool:
        """Its message is about to be sent anew; False where that is not needed any more."""
        out = self._key(chunk.job, "out")
        return bool(self._call("SEND_AGAIN", [out], [chunk.key, self.now()]))

    def take(self, chunk: Chunk, worker: str, lease_seconds: int) -> LeaseAnswer:
        """Begin a chunk: "go", or why not."""
        keys = [self._key(chunk.job), self._key(chunk.job, "out"), self._lease(chunk)]
        now = self.now()
        answer = self._answer("TAKE", keys, [chunk.key, worker, lease_seconds, now])
        if answer == "go":
            self._announce(chunk.job, now=True)
        return answer

    def mark(
        self,
        chunk: Chunk,
        worker: str,
        lease_seconds: int,
        succeeded: Sequence[int],
        failed: Mapping[int, ItemFailure],
        assumed: Mapping[int, Sequence[str]] = MappingProxyType({}),
    ) -> LeaseAnswer:
        """Record items (by item index) and keep the lease: "go", "cancel" or "lost".

        assumed: what was assumed of images that succeeded, as sentences.
        """
        pairs = [part for i, why in failed.items() for part in (i, why.model_dump_json())]
        said = [
            part
            for i, texts in assumed.items()
            for text in texts
            for part in (i, notices.of_image(chunk.model, text))
        ]
        arguments = [
            *(worker, lease_seconds, len(succeeded), *succeeded, len(failed), *pairs),
            *(notices.MOST_COUNTED, *said),
        ]
        answer = self._answer("MARK", self._mark_keys(chunk), arguments)
        if succeeded or failed:
            self._announce(chunk.job)
        return answer

    def _mark_keys(self, chunk: Chunk) -> list[str]:
        parts = ("succeeded", "failed", "failures")
        return [
            self._key(chunk.job),
            *(self._key(chunk.job, part) for part in parts),
            self._lease(chunk),
            self._key(chunk.job, "notices"),
        ]

    def hand_in(self, chunk: Chunk, worker: str, rest_from: int | None = None) -> None:
        """The chunk is done, or done up to image `rest_from`, the rest to be done by another."""
        keys = [self._key(chunk.job, "out"), self._lease(chunk), self._key(chunk.job, "pending")]
        rest = "" if rest_from is None else _entry(chunk, rest_from, chunk.attempt)
        self._call("HAND_IN", keys, [chunk.key, worker, rest])

    def put_back(self, chunk: Chunk, attempt: int) -> None:
        """A chunk that was lost: to be given out again."""
        keys = [self._key(chunk.job, "out"), self._lease(chunk), self._key(chunk.job, "pending")]
        self._call("HAND_IN", keys, [chunk.key, "", _entry(chunk, chunk.start, attempt)])

    def give_up(self, chunk: Chunk, image_count: int, why: ItemFailure) -> None:
        """A chunk that is not tried again: what of it is not done has failed."""
        first = chunk.model * image_count
        words = why.model_dump_json()
        pairs = [part for i in range(chunk.start, chunk.end) for part in (first + i, words)]
        arguments = ["", 1, 0, chunk.end - chunk.start, *pairs, notices.MOST_COUNTED]
        self._call("MARK", self._mark_keys(chunk), arguments)
        self._call(
            "HAND_IN",
            [self._key(chunk.job, "out"), self._lease(chunk), self._key(chunk.job, "pending")],
            [chunk.key, "", ""],
        )
        self._announce(chunk.job)

    def _answer(self, name: str, keys: list[str], arguments: list[Any]) -> LeaseAnswer:
        return cast("LeaseAnswer", self._call_for_text(name, keys, arguments))

    def _lease(self, chunk: Chunk) -> str:
        return self._key(chunk.job, f"lease:{chunk.key}")


def _out(job: str, fields: Mapping[bytes, bytes]) -> Iterator[tuple[Chunk, float, bool]]:
    """Chunks on their way: since when, and whether a worker took them."""
    for key, value in fields.items():
        model, start, end = map(int, key.decode().split(":"))
        attempt, when, how = value.decode().split(" ")
        chunk = Chunk(job=job, model=model, start=start, end=end, attempt=int(attempt))
        yield chunk, float(when), how == "taken"


def _entry(chunk: Chunk, start: int, attempt: int) -> str:
    return f"{chunk.model}:{start}:{chunk.end}:{attempt}"

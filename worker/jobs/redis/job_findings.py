"""What workers found out of a job's models and images, for its summaries and for each other."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from worker.jobs.contract import JobImage, JobState
from worker.jobs.redis import notices
from worker.jobs.redis.job_records import JobRecords

_DEPTH = "depth"  # beside the models' choices, which are by number


@dataclass(frozen=True, slots=True)
class Depth:
    """Bits by which a job's deep images are read that name none; None where there are none."""

    bits: int | None


class JobFindings(JobRecords):
    """Remembers it, beside the job's record."""

    def tell_activity(self, job: str, activity: str) -> None:
        """What a worker does for the job at the moment, in words; the last one told is shown."""
        self.client.hset(self._key(job), "activity", activity)
        self._announce(job, now=True)

    def remember_facts(
        self, job: str, model: int, facts: str, run_digest: str, assumed: Sequence[str] = ()
    ) -> None:
        """What is known of a model once it is loaded, for its summary; run_digest: theirs.

        Workers with other devices have other facts: all of their digests are remembered.
        assumed: what was assumed of the model, as sentences.
        """
        if assumed:
            fields = [notices.of_model(model, text) for text in assumed]
            self._call("NOTICE", [self._key(job, "notices")], [notices.MOST_COUNTED, *fields])
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset(self._key(job, "facts"), str(model), facts)
            pipe.sadd(self._key(job, f"runs:{model}"), run_digest)
            pipe.execute()

    def facts(self, job: str, model: int) -> str | None:
        """What `remember_facts` was told."""
        told = self._field(self._key(job, "facts"), str(model))
        return None if told is None else told.decode()

    def run_digests(self, job: str, model: int) -> frozenset[str]:
        """Digests that the recipes of the job's pictures of a model have."""
        digests = cast("set[bytes]", self.client.smembers(self._key(job, f"runs:{model}")))
        facts = self.facts(job, model)
        if not digests and facts is not None:  # of a job that an older version did
            return frozenset({hashlib.sha256(facts.encode()).hexdigest()})
        return frozenset(digest.decode() for digest in digests)

    def add_seconds(self, job: str, model: int, seconds: float) -> None:
        """How long a worker was busy with a chunk of the model: loading, explaining, writing."""
        self.client.hincrbyfloat(self._key(job, "seconds"), str(model), seconds)

    def seconds(self, job: str, model: int) -> float:
        """The sum of what `add_seconds` was told; workers side by side are counted each."""
        total = self._field(self._key(job, "seconds"), str(model))
        return 0.0 if total is None else float(total)

    def remember_choice(self, job: str, model: int, images: Sequence[int]) -> None:
        """Which of the job's images a model explains, where each model has its own (errors)."""
        packed = zlib.compress(json.dumps(list(images)).encode())
        self.client.hset(self._key(job, "choices"), str(model), packed)

    def chosen_images(self, state: JobState, model: int) -> list[JobImage] | None:
        """The images that a model explains, in order; None until they have been chosen."""
        images = self.images(state.record.id)
        if state.record.request.pick != "errors":
            return images
        packed = self._field(self._key(state.record.id, "choices"), str(model))
        return None if packed is None else [images[i] for i in json.loads(zlib.decompress(packed))]

    def remember_depth(self, job: str, bits: int | None) -> Depth:
        """By which depth a job's deep images are read; whoever says it first is right."""
        key = self._key(job, "choices")
        self.client.hsetnx(key, _DEPTH, bits or 0)
        return self.depth(job) or Depth(bits)

    def depth(self, job: str) -> Depth | None:
        """What `remember_depth` was told; None before."""
        bits = self._field(self._key(job, "choices"), _DEPTH)
        return None if bits is None else Depth(int(bits) or None)

"""`<output>/runs/<job id>/manifest.json`: a job for good, beside its pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from cam_engine.output_lock import FINISHED
from worker.contract import JobImage, JobRecord, JobState
from worker.store.storage import OutputFolder


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that its manifest says was not ended."""

    record: JobRecord
    images: tuple[JobImage, ...]


def write_accepted(output: OutputFolder, record: JobRecord, images: Sequence[JobImage]) -> None:
    """Write the manifest of a job that is accepted. Raises OutputNotWritable."""
    body: dict[str, object] = {
        "status": "queued",
        "job": record.model_dump(mode="json"),
        "images": [[one.path, one.name, one.true_class] for one in images],
    }
    output.write_run(record.id, _encoded(body), finished=False)


def write_status(output: OutputFolder, job: str, state: JobState | None, status: str) -> None:
    """Record how the job stands; what the manifest says of its images stays."""
    body = json.loads(output.read_run(job))
    body["status"] = status
    if state is not None:
        body["progress"] = state.progress.model_dump()
        body["started_at"] = state.started_at.isoformat() if state.started_at else None
        body["error"] = state.error.model_dump() if state.error else None
    output.write_run(job, _encoded(body), finished=status in FINISHED)


def unfinished(manifests: Iterable[bytes]) -> list[Unfinished]:
    """Jobs that by these manifests have not ended; manifests not of ours are left out."""
    found = []
    for manifest in manifests:
        try:
            body = json.loads(manifest)
            if body["status"] in FINISHED:
                continue
            record = JobRecord.model_validate(body["job"])
            images = tuple(
                JobImage(path=where, name=name, true_class=true)
                for where, name, true in body["images"]
            )
        except (ValueError, KeyError, TypeError, ValidationError):
            continue
        found.append(Unfinished(record, images))
    return found


def _encoded(body: dict[str, object]) -> bytes:
    return (json.dumps(body, ensure_ascii=False) + "\n").encode()

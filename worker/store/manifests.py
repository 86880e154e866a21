"""`<output>/runs/<job id>/manifest.json`: a job for good, beside its pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cam_engine.output_lock import FINISHED, RUN_MANIFEST, RUNS
from cam_engine.outputs import write_atomically
from worker.contract import JobImage, JobRecord, JobState


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that its manifest says was not ended."""

    record: JobRecord
    images: tuple[JobImage, ...]


def write_accepted(output: Path, record: JobRecord, images: Sequence[JobImage]) -> None:
    """Write the manifest of a job that is accepted. Raises OutputNotWritable."""
    body: dict[str, object] = {
        "status": "queued",
        "job": record.model_dump(mode="json"),
        "images": [[one.path, one.name, one.true_class] for one in images],
    }
    _write(output, record.id, body)


def write_status(output: Path, job: str, state: JobState | None, status: str) -> None:
    """Record how the job stands; what the manifest says of its images stays."""
    path = _path(output, job)
    body = json.loads(path.read_bytes())
    body["status"] = status
    if state is not None:
        body["progress"] = state.progress.model_dump()
        body["started_at"] = state.started_at.isoformat() if state.started_at else None
        body["error"] = state.error.model_dump() if state.error else None
    _write(output, job, body)


def remove(output: Path, job: str) -> None:
    """Remove the manifest and its folder, never a picture."""
    shutil.rmtree(output / RUNS / job, ignore_errors=True)


def unfinished(outputs: Iterable[Path]) -> list[Unfinished]:
    """Jobs below these output folders that have not ended; manifests not of ours are left out."""
    found = []
    for output in outputs:
        for path in sorted((output / RUNS).glob(f"*/{RUN_MANIFEST}")):
            try:
                body = json.loads(path.read_bytes())
                if body["status"] in FINISHED:
                    continue
                record = JobRecord.model_validate(body["job"])
                images = tuple(
                    JobImage(path=where, name=name, true_class=true)
                    for where, name, true in body["images"]
                )
            except (OSError, ValueError, KeyError, TypeError, ValidationError):
                continue
            found.append(Unfinished(record, images))
    return found


def _write(output: Path, job: str, body: dict[str, object]) -> None:
    path = _path(output, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(body, ensure_ascii=False) + "\n").encode())


def _path(output: Path, job: str) -> Path:
    return output / RUNS / job / RUN_MANIFEST

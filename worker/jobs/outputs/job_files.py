"""`<output>/runs/<job id>/job.json`: a job for good, beside its pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from cam_engine.confined import parts_of
from cam_engine.errors import CamError, OutputNotWritable
from cam_engine.experiments.finding import DEFAULT_OUTPUT, Experiment, ImageItem
from cam_engine.images.png import MAIN_PREFIX
from cam_engine.outputs.folder_lock import FINISHED, RUNS
from worker.jobs.contract import SETS, JobImage, JobRecord, JobRequest, JobState, JobStatus
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.storage import FoundJob, OutputFolder


class NotOurs(Exception):
    """A job's file that this service did not write, or that does not fit what is there any more."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that its file says was not ended."""

    record: JobRecord
    images: tuple[JobImage, ...]


def write_accepted(output: OutputFolder, record: JobRecord, images: Sequence[JobImage]) -> None:
    """Write the file of a job that is accepted. Raises OutputNotWritable."""
    body: dict[str, object] = {
        "status": "queued",
        "job": record.model_dump(mode="json"),
        "images": [[image.path, image.name, image.true_class] for image in images],
    }
    output.write_job_file(record.id, _encoded(body), finished=False)


def write_status(output: OutputFolder, job: str, state: JobState | None, status: str) -> None:
    """Record how the job stands; what the file says of its images stays.

    Raises OutputNotWritable, also where the file is damaged, or OSError.
    """
    try:
        body = json.loads(output.read_job_file(job))
        body["status"] = status
    except (ValueError, TypeError, RecursionError) as error:
        where = f"{output.shown}/{RUNS}/{job}"
        raise OutputNotWritable(f"job.json in {where} is damaged; submit a new job") from error
    if state is not None:
        body["progress"] = state.progress.model_dump()
        body["started_at"] = state.started_at.isoformat() if state.started_at else None
        body["error"] = state.error.model_dump() if state.error else None
        body["notices"] = [notice.model_dump() for notice in state.notices]
    output.write_job_file(job, _encoded(body), finished=status in FINISHED)


def unfinished(left_job: FoundJob, places: Places) -> Unfinished | None:
    """The job of a file that says it has not ended; None where it has.

    Whoever can put files there can write such a file. So nothing in it is taken that does not agree
    with where it lies and with the experiment as it is now. Raises NotOurs, which says what.
    """
    try:
        body = json.loads(left_job.content)
        if str(body["status"]) in FINISHED:
            return None
        if body["status"] not in get_args(JobStatus):
            raise NotOurs("its status is none")
        record = JobRecord.model_validate(body["job"])
        rows = [(str(path), str(name)) for path, name, _ in body["images"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotOurs("it is not as this service writes it") from error
    if record.id != left_job.job:
        raise NotOurs("its id is not its folder's name")
    if record.folder not in {None, left_job.folder} or not _is_place_of(
        record.request, left_job, places
    ):
        raise NotOurs("its pictures belong elsewhere")
    try:
        experiment = places.experiment(record.request)
        _check_models(record, experiment, places)
        images_there = places.root.look_for_images(experiment)
        images = _known_images(rows, experiment, images_there.items)
    except CamError as error:
        raise NotOurs(str(error)) from error
    if not 1 <= record.image_count <= len(images):
        raise NotOurs("its number of images is not that of its images")
    shown = places.storage.open(left_job.folder).shown
    left_out = images_there.skipped + places.root.look_for_models(experiment).skipped
    fresh = {"folder": left_job.folder, "output": shown, "left_out": left_out}
    return Unfinished(record.model_copy(update=fresh), images)


def _is_place_of(request: JobRequest, left_job: FoundJob, places: Places) -> bool:
    """Whether such a request's pictures may be where its file was found."""
    try:
        if left_job.folder.below == "data" and request.output is not None:
            return False
        if left_job.folder.below == "data":
            experiment = places.experiment(request)
            own = f"{places.root.id_of(experiment.folder)}/{DEFAULT_OUTPUT}"
        else:
            own = places.storage.place(request).path
    except CamError:
        return False
    path = left_job.folder.path
    return path == own or path.startswith(f"{own}/{SETS}/")


def _check_models(record: JobRecord, experiment: Experiment, places: Places) -> None:
    there = {
        (model.name, places.root.id_of(model.checkpoint.parent))
        for model in places.root.models(experiment)
    }
    named = [(model.name, model.id) for model in record.models]
    if not named or len(set(named)) < len(named) or not there.issuperset(named):
        raise NotOurs("its models are not the experiment's")


def _known_images(
    rows: Sequence[tuple[str, str]], experiment: Experiment, items: Sequence[ImageItem]
) -> tuple[JobImage, ...]:
    """The images with the experiment's word for their classes; their names are free, but names."""
    known = {item.path.relative_to(experiment.folder).as_posix(): item for item in items}
    images = []
    for path, name in rows:
        if path not in known or len(parts_of(f"{MAIN_PREFIX}{name}")) != 1 or not name:
            raise NotOurs(f"{path!r} is no image of the experiment")
        images.append(JobImage(path=path, name=name, true_class=known[path].true_class))
    if len({image.path for image in images}) < len(images):
        raise NotOurs("an image is in it twice")
    if len({image.name.casefold() for image in images}) < len(images):
        raise NotOurs("two images have one name")
    return tuple(images)


def _encoded(body: dict[str, object]) -> bytes:
    return (json.dumps(body, ensure_ascii=False) + "\n").encode()

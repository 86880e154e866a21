"""Jobs as the service sees them: accepted, watched, stopped, forgotten. All of it may block."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cam_engine.experiments import Experiment, ImageItem, ModelFolder, pick_images
from service.catalog import FileStamp, stamp_of
from service.problems import ServiceError
from worker.contract import JobImage, JobModel, JobRecord, JobRequest, JobState
from worker.store import manifests
from worker.store.coordination import Coordinator
from worker.store.places import Places
from worker.store.records import JobStore
from worker.store.storage import OutputFolder
from worker.store.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job, and whether this request made it or only found it again by its key."""

    state: JobState
    new: bool


class Jobs:
    """What the job routes do."""

    def __init__(
        self, store: JobStore, coordinator: Coordinator, places: Places, webhooks: Webhooks
    ) -> None:
        self.store = store
        self.coordinator = coordinator
        self.places = places
        self.webhooks = webhooks

    def accept(self, request: JobRequest, idempotency_key: str | None) -> Accepted:
        """Check the request, write the job down, take its folders, and give out first chunks.

        Raises CamError or ServiceError; nothing is left behind then.
        """
        job = uuid.uuid4().hex
        if idempotency_key is None:
            return Accepted(self._create(job, request), new=True)
        digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        first_digest, first_job = self.store.claim_key(idempotency_key, digest, job)
        if first_digest != digest:
            raise ServiceError(
                "idempotency-conflict",
                "this Idempotency-Key came with another body before; use a new key",
            )
        if first_job != job:
            return Accepted(self._found_again(first_job), new=False)
        try:
            return Accepted(self._create(job, request), new=True)
        except BaseException:
            self.store.release_key(idempotency_key)
            raise

    def get(self, job: str) -> JobState:
        """The job. Raises ServiceError "job-not-found"."""
        state = self.store.state(job)
        if state is None:
            raise ServiceError("job-not-found", f"there is no job {job!r}; GET /v1/jobs lists them")
        return state

    def counts(self) -> tuple[int, int]:
        """Workers that are up, and jobs that have not ended."""
        return len(self.store.workers()), len(self.store.active())

    def cancel(self, job: str) -> JobState:
        """Ask it to stop; at once where no worker is on it."""
        self.get(job)
        self.store.cancel(job)
        self.coordinator.finish_if_done(job)
        return self.get(job)

    def retry(self, job: str) -> JobState:
        """Run failed and skipped items again. Raises "job-unfinished", "nothing-to-retry" or
        OutputBusy.
        """
        state = self.get(job)
        if not state.finished:
            raise ServiceError("job-unfinished", "the job has not ended yet; cancel it first")
        if state.progress.succeeded == state.progress.total:
            raise ServiceError("nothing-to-retry", "every item of the job has succeeded")
        output = self.places.output(state.record.request)
        manifests.write_status(output, job, state, "queued")
        with ExitStack() as undo:
            undo.callback(manifests.write_status, output, job, state, state.status)
            self._take_folders(output, state.record, undo)
            if self.store.retry(job):
                undo.pop_all()
        self.coordinator.dispatch()
        return self.get(job)

    def forget(self, job: str) -> None:
        """Remove the record and the manifest, no picture. Raises "job-unfinished"."""
        if not self.get(job).finished:
            raise ServiceError("job-unfinished", "the job has not ended yet; cancel it first")
        self.coordinator.forget(job)

    def _found_again(self, job: str) -> JobState:
        state = self.store.state(job)
        if state is None:
            raise ServiceError(
                "idempotency-conflict",
                "a request with this Idempotency-Key is being accepted, or its job was removed; "
                "ask again in a second, or use a new key",
                {"Retry-After": "1"},
            )
        return state

    def _create(self, job: str, request: JobRequest) -> JobState:
        request.cam_options()
        if request.webhook is not None and (why := self.webhooks.refusal(request.webhook)):
            raise ServiceError("webhook-not-allowed", why)
        experiment = self.places.experiment(request)
        output = self.places.output(request)
        models = experiment.models(request.models)
        images = _picked(experiment, request)
        record = JobRecord(
            id=job,
            created_at=datetime.now(UTC),
            request=request,
            models=tuple(_job_model(self.places, one) for one in models),
            image_count=len(images),
            output=output.shown,
        )
        with ExitStack() as undo:
            undo.callback(output.remove_run, job)
            manifests.write_accepted(output, record, images)
            self._take_folders(output, record, undo)
            self.store.create(record, images)
            undo.pop_all()
        self.coordinator.dispatch()
        return self.get(job)

    def _take_folders(self, output: OutputFolder, record: JobRecord, undo: ExitStack) -> None:
        for model in record.models:
            output.acquire(model.name, record.id)
            undo.callback(output.release, model.name, record.id)


def _picked(experiment: Experiment, request: JobRequest) -> list[JobImage]:
    items: list[ImageItem] = experiment.images()
    if request.max_images is not None:
        items = pick_images(items, request.max_images, request.pick, request.seed)
    return [
        JobImage(
            path=item.path.relative_to(experiment.folder).as_posix(),
            name=item.name,
            true_class=item.true_class,
        )
        for item in items
    ]


def _job_model(places: Places, model: ModelFolder) -> JobModel:
    try:
        sha256 = _digest(stamp_of(model.checkpoint))
    except OSError as error:
        raise ServiceError("model-not-found", f"cannot read the file of {model.name}") from error
    folder = model.checkpoint.parent
    return JobModel(id=places.root.id_of(folder), name=model.name, checkpoint_sha256=sha256)


@lru_cache(maxsize=1024)
def _digest(stamp: FileStamp) -> str:
    with stamp.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

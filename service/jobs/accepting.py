"""Jobs as the service sees them: accepted, watched, stopped, forgotten. All of it may block."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import structlog
from redis.exceptions import RedisError

from cam_engine.errors import CheckpointInvalid, OutputBusy
from cam_engine.experiments.finding import Experiment, ImageItem, ModelFolder
from cam_engine.experiments.picking import pick_images
from cam_engine.experiments.skipped import Skipped
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.models.files.companions import digest_with
from cam_engine.stores import access
from service.http.problems import ServiceError
from service.jobs.results import JobResults
from service.jobs.threads import JobsThreads
from service.models.catalog import FileStamp, stamp_of
from worker.jobs.contract import JobFolder, JobImage, JobModel, JobRecord, JobRequest, JobState
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.coordination.webhooks import Webhooks
from worker.jobs.outputs import job_files
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.placing import FolderContents, JobRecipe, look, places, recipe_of
from worker.jobs.outputs.storage import OutputFolder
from worker.jobs.redis.job_store import JobStore
from worker.jobs.redis.shared_state import CLAIM_SECONDS, Claim, ClaimLost

_log = structlog.get_logger(__name__)

_NO_JOB = "0" * 32
_CLAIM_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job, and whether this request made it or only found it again by its key."""

    state: JobState
    new: bool


@dataclass(frozen=True, slots=True)
class PlannedFolder:
    """A folder that pictures may go to, and what is there."""

    folder: JobFolder
    shown: str
    contents: FolderContents


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What would become of a request.

    image_count: images a model, of `available` ones. chosen: where its pictures would go.
    usual: where they would go if nothing were there. left_out: of the experiment's images and
    models.
    """

    models: tuple[JobModel, ...]
    left_out: Skipped
    available: int
    image_count: int
    chosen: PlannedFolder
    usual: PlannedFolder


class Jobs:
    """What the job routes do."""

    def __init__(
        self,
        store: JobStore,
        coordinator: Coordinator,
        places: Places,
        webhooks: Webhooks,
        decoding: DecodingPool,
        threads: JobsThreads,
        *,
        own_only: bool = False,
    ) -> None:
        self.store = store
        self.coordinator = coordinator
        self.places = places
        self.webhooks = webhooks
        self.threads = threads
        self.results = JobResults(store, places, decoding)
        self._own_only = own_only
        self._caller: str | None = None

    def of(self, caller: str | None) -> Jobs:
        """The same for a caller: jobs are submitted as theirs, and where each sees their own only,
        others' jobs are not there. caller: the label of an API key; None without keys.
        """
        mine = copy(self)
        mine._caller = caller
        return mine

    def accept(self, request: JobRequest, idempotency_key: str | None) -> Accepted:
        """Check the request, write the job down, take its folders, and give out first chunks.

        Raises CamError or ServiceError; nothing is left behind then.
        """
        job = uuid.uuid4().hex
        if idempotency_key is None:
            return Accepted(self._create(job, request), new=True)
        # Callers do not know of each other: the same key of two of them is two keys.
        words = f"{self._caller or ''}:{idempotency_key}"
        key = hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()
        digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        first = self._claim(key, digest, job)
        if first.digest != digest:
            raise ServiceError(
                "idempotency-conflict",
                "this Idempotency-Key came with another body before; use a new key",
            )
        if first.job != job:
            return Accepted(self._found_again(first.job), new=False)
        with self._renewed(key, digest, job):
            try:
                return Accepted(self._create(job, request, key, digest), new=True)
            except ClaimLost:
                raise _being_accepted() from None
            except BaseException:
                self.store.release_key(key, digest, job)
                raise

    def get(self, job: str) -> JobState:
        """The job. Raises ServiceError "job-not-found", also for others' where those are hidden."""
        state = self.store.state(job)
        if state is None or not self._sees(state.record):
            raise ServiceError("job-not-found", f"there is no job {job!r}; GET /v1/jobs lists them")
        return state

    def page(self, offset: int, limit: int) -> tuple[list[JobState], int]:
        """Jobs that the caller sees, the newest first, and how many there are in all."""
        ids, total = self.store.job_ids(offset, limit, self._caller if self._own_only else None)
        return [state for state in self.store.states(ids) if state is not None], total

    def _sees(self, record: JobRecord) -> bool:
        hidden = self._own_only and self._caller is not None
        return not hidden or record.owner in {None, self._caller}

    def _claim(self, key: str, digest: str, job: str) -> Claim:
        """Whose the key is; waits while a job may be being accepted for the same body.

        A process that died over it leaves a claim that soon ends: then the job becomes this one.
        """
        end = time.monotonic() + 2 * CLAIM_SECONDS
        while True:
            claim = self.store.claim_key(key, digest, job)
            mine = claim.job == job or claim.digest != digest
            if mine or not claim.accepting or time.monotonic() > end:
                return claim
            if self.store.state(claim.job) is not None:
                return claim
            time.sleep(_CLAIM_PAUSE_SECONDS)

    @contextmanager
    def _renewed(self, key: str, digest: str, job: str) -> Iterator[None]:
        """Keep the claim while the job is accepted, however long its files take to be read."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(CLAIM_SECONDS / 3):
                try:
                    self.store.renew_claim(key, digest, job)
                except RedisError:
                    _log.warning("the claim of a job was not renewed", job=job)

        thread = threading.Thread(target=renew, name="claim", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

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
        output = self.places.output(state.record)
        self._refuse_others(output, state)
        job_files.write_status(output, job, state, "queued")
        with ExitStack() as undo:
            undo.callback(job_files.write_status, output, job, state, state.status)
            self._take_folders(output, state.record, undo)
            if self.store.retry(job):
                undo.pop_all()
        self.coordinator.dispatch()
        return self.get(job)

    def forget(self, job: str) -> None:
        """Remove the record and the job's file, no picture. Raises "job-unfinished"."""
        if not self.get(job).finished:
            raise ServiceError("job-unfinished", "the job has not ended yet; cancel it first")
        self.coordinator.forget(job)

    def _found_again(self, job: str) -> JobState:
        state = self.store.state(job)
        if state is None:
            raise _being_accepted()
        return state

    def plan(self, request: JobRequest) -> JobPlan:
        """What would become of the request. Raises what `accept` raises, and leaves nothing."""
        asked = self._asked(request)
        plans = [
            PlannedFolder(folder, output.shown, look(output, asked.models, asked.recipe))
            for folder in places(request, self.places.storage.place(request), _NO_JOB)
            for output in (self.places.storage.open(folder),)
        ]
        chosen = next(
            (candidate for candidate in plans if _may_go_to(request, candidate.contents)), None
        )
        if chosen is None:
            raise _holds_others(plans[-1].shown)
        self.places.storage.open(chosen.folder).check_writable()
        return JobPlan(asked.models, asked.left_out, asked.available, asked.count, chosen, plans[0])

    def _create(
        self, job: str, request: JobRequest, key: str | None = None, digest: str = ""
    ) -> JobState:
        asked = self._asked(request)
        for folder in places(request, self.places.storage.place(request), job):
            if self._created(job, asked, folder, key, digest):
                self.coordinator.dispatch()
                return self.get(job)
        raise _holds_others(folder.path)

    def _asked(self, request: JobRequest) -> _Asked:
        recipe = recipe_of(request)
        if request.webhook is not None and (why := self.webhooks.refusal(request.webhook)):
            raise ServiceError("webhook-not-allowed", why)
        root, experiment = self.places.root, self.places.experiment(request)
        there = root.models(experiment, request.models)
        models = tuple(
            _job_model(self.places, model)
            for model in access.ahead(there, lambda model: model.checkpoint)
        )
        listed = root.look_for_images(experiment)
        if not listed.items:
            raise experiment.no_images("test", listed.skipped)
        images = _candidates(experiment, listed.items, request)
        left_out = listed.skipped + root.look_for_models(experiment).skipped
        return _Asked(request, recipe, models, images, len(listed.items), left_out)

    def _created(
        self, job: str, asked: _Asked, folder: JobFolder, key: str | None, digest: str
    ) -> bool:
        """Accept the job with that folder; False where another recipe's pictures are in it."""
        request = asked.request
        output = self.places.storage.open(folder)
        if not _may_go_to(request, look(output, asked.models, asked.recipe)):
            return False
        output.check_writable()
        record = JobRecord(
            id=job,
            created_at=datetime.now(UTC),
            request=request,
            models=asked.models,
            image_count=asked.count,
            output=output.shown,
            folder=folder,
            owner=self._caller,
            left_out=asked.left_out,
        )
        with ExitStack() as undo:
            undo.callback(output.remove_job, job)
            job_files.write_accepted(output, record, asked.images)
            try:
                self._take_folders(output, record, undo)
            except OutputBusy as busy:
                if request.replace or self._is_of(busy.job, asked.recipe):
                    raise
                return False
            # Another job may have come and gone before the folders were taken.
            if not _may_go_to(request, look(output, asked.models, asked.recipe)):
                return False
            self.store.create(record, asked.images, key, digest)
            undo.pop_all()
        return True

    def _is_of(self, job: str | None, recipe: JobRecipe) -> bool:
        """Whether a job makes such pictures; also where that is not known."""
        state = self.store.state(job) if job is not None else None
        return state is None or recipe_of(state.record.request) == recipe

    def _refuse_others(self, output: OutputFolder, state: JobState) -> None:
        """A retry must not put its pictures among another recipe's."""
        request = state.record.request
        folder = look(output, state.record.models, recipe_of(request))
        if not _may_go_to(request, folder):
            raise _holds_others(output.shown)

    def _take_folders(self, output: OutputFolder, record: JobRecord, undo: ExitStack) -> None:
        for model in record.models:
            output.acquire(model.name, record.id)
            undo.callback(output.release, model.name, record.id)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that can be done: with these models, on images from these, of `available` ones."""

    request: JobRequest
    recipe: JobRecipe
    models: tuple[JobModel, ...]
    images: list[JobImage]
    available: int
    left_out: Skipped

    @property
    def count(self) -> int:
        """Images that each model explains."""
        most = self.request.max_images
        return len(self.images) if most is None else min(most, len(self.images))


def _may_go_to(request: JobRequest, there: FolderContents) -> bool:
    return there.standing != "other" or request.replace


def _holds_others(folder: str) -> ServiceError:
    return ServiceError(
        "output-holds-others",
        f"{folder} holds pictures of these models that another recipe made; give the job another "
        "name, or say replace=true",
    )


def _being_accepted() -> ServiceError:
    return ServiceError(
        "idempotency-conflict",
        "a request with this Idempotency-Key is being accepted, or its job was removed; "
        "ask again in a second, or use a new key",
        {"Retry-After": "1"},
    )


def _candidates(
    experiment: Experiment, items: Sequence[ImageItem], request: JobRequest
) -> list[JobImage]:
    """The images to explain; those to choose from where each model chooses its own."""
    if request.max_images is not None and request.pick != "errors":
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
        sha256 = digest_with(_digest(stamp_of(model.checkpoint)), model.checkpoint)
    except (OSError, CheckpointInvalid) as error:
        raise ServiceError("model-not-found", f"cannot read the file of {model.name}") from error
    folder = model.checkpoint.parent
    return JobModel(id=places.root.id_of(folder), name=model.name, checkpoint_sha256=sha256)


@lru_cache(maxsize=1024)
def _digest(stamp: FileStamp) -> str:
    access.bring(stamp.path)
    with stamp.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""One chunk: images of one model, from their files to their pictures."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from cachetools import LRUCache
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import RedisError

from cam_engine.errors import (
    CamError,
    CheckpointInvalid,
    OutOfMemory,
    OutputNotWritable,
    error_of_item,
)
from cam_engine.experiments.finding import ImageItem
from cam_engine.experiments.folder_depth import FolderDepth
from cam_engine.experiments.picking import pick_by_errors
from cam_engine.images.decoding import DEFAULT_LIMITS
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.maps.explainer import Explainer, resolve_device
from cam_engine.models.libraries.plugins import register
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions
from cam_engine.outputs.drawing_pool import DrawingPool, drawing_processes
from cam_engine.outputs.figure_writer import picture_files
from cam_engine.outputs.pipeline import RunRequest, run, truth_margins
from cam_engine.pictures.recipes import Failed, Row, RunFacts, run_facts, to_json
from cam_engine.process.memory import trim
from cam_engine.process.threads import usable_cores
from worker.jobs.contract import Chunk, ItemFailure, JobImage, JobRecord, JobRequest, JobState
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.storage import Workspace
from worker.jobs.redis.job_chunks import LeaseAnswer
from worker.jobs.redis.job_store import JobStore
from worker.settings import WorkerSettings

_log = structlog.get_logger(__name__)

_REPORT_SECONDS = 1.0
_PASS_SECONDS = 1.0
_LEAST_MEASURED = 16
_SYSTEM_ERRORS = (OutputNotWritable, OutOfMemory)
_NO_FAULT_OF_THE_MODEL = (RedisError, SoftTimeLimitExceeded)  # the chunk is tried again


class Models:
    """Explainers of this process, the least recently used put out first."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._loaded: LRUCache[str, Explainer] = LRUCache(settings.cached_models)

    def get(self, sha256: str, places: Places, record: JobRecord, index: int) -> Explainer:
        """The model of that digest. Raises CamError, also where its file has become another."""
        if sha256 not in self._loaded:
            folder = places.model(record, index)
            classifier = load_classifier(folder.checkpoint)
            if classifier.sha256 != sha256:
                raise CheckpointInvalid(
                    f"{folder.name}: the checkpoint was replaced after the job was accepted; "
                    "submit a new job for it"
                )
            if len(self._loaded) >= self._loaded.maxsize:  # before the next one takes its memory
                self._loaded.popitem()
            self._loaded[sha256] = Explainer(
                classifier,
                device=self._settings.device,
                precision=self._settings.precision,
                batch_size=self._settings.batch_size,
            )
            _log.info("model loaded", model=folder.name)
        return self._loaded[sha256]


class ChunkRunner:
    """Works chunks off, one at a time, and tells the store of each image."""

    def __init__(
        self,
        settings: WorkerSettings,
        store: JobStore,
        places: Places,
        coordinator: Coordinator,
        worker: str,
        asked_to_stop: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._store = store
        self._places = places
        self._coordinator = coordinator
        self._worker = worker
        self._asked_to_stop = asked_to_stop
        register(settings.networks)
        self._models = Models(settings)
        self._decoding = DecodingPool(settings.decoding_processes, settings.decoding_seconds)
        self._drawing = self._drawing_pool()
        self._computing_seconds = 0.0

    def _drawing_pool(self) -> DrawingPool | None:
        """Kept for as long as this process lives."""
        processes = self._settings.drawing_processes
        if processes is None:
            device = resolve_device(self._settings.device).type
            processes = drawing_processes(device, usable_cores())
        _log.info("drawing", processes=processes)
        return DrawingPool(processes) if processes else None

    def run(self, chunk: Chunk) -> None:
        """Do the chunk, as far as nobody says stop; then see to it that the job goes on."""
        start = time.perf_counter()
        answer = self._store.take(chunk, self._worker, self._settings.lease_seconds)
        if answer == "go":
            self._computing_seconds = 0.0
            rest_from = self._work(chunk)
            seconds = time.perf_counter() - start
            self._store.add_seconds(chunk.job, chunk.model, seconds)
            self._store.hand_in(chunk, self._worker, rest_from)
            _log.info(
                "chunk done" if rest_from is None else "chunk handed back",
                job=chunk.job,
                chunk=chunk.key,
                attempt=chunk.attempt,
                seconds=round(seconds, 3),
                computing_seconds=round(self._computing_seconds, 3),
            )
            trim()  # the worker may now be idle for long
        elif answer == "cancel":
            self._store.hand_in(chunk, self._worker)
        else:
            _log.info("chunk left alone", job=chunk.job, chunk=chunk.key, why=answer)
        self._coordinator.advance(chunk.job)

    def _work(self, chunk: Chunk) -> int | None:
        """The image index from which on another has to do it; None where it is done with."""
        state = self._store.state(chunk.job)
        if state is None:
            return None
        record = state.record
        lease = self._settings.lease_seconds
        report = _Report(self._store, self._places, chunk, record, self._worker, lease)
        with report:
            try:
                self._explain(chunk, state, report)
            except _Stopped as stopped:
                return None if stopped.answer != "go" else report.rest_from
            except _SYSTEM_ERRORS as error:
                report.flush()
                self._coordinator.fail(chunk.job, error)
            except _NO_FAULT_OF_THE_MODEL:
                raise
            except Exception as error:  # the model's fault: its items fail, other models go on
                report.fail_rest(error_of_item(error, record.models[chunk.model].name))
        return None

    def _explain(self, chunk: Chunk, state: JobState, report: _Report) -> None:
        record = state.record
        request, model = record.request, record.models[chunk.model]
        self._tell(chunk, f"loading {model.name}")
        explainer = self._models.get(model.checkpoint_sha256, self._places, record, chunk.model)
        options = self._options(chunk, request)
        facts = run_facts(model.name, explainer, options, request.figure_style())
        assumed = [self._places.without_roots(text) for text in facts.notices]
        self._store.remember_facts(chunk.job, chunk.model, to_json(facts), facts.digest, assumed)
        images = self._chosen(chunk, state, explainer, options)
        items = self._items(request, images[chunk.start : chunk.end])
        self._tell(chunk, f"explaining with {model.name}")
        # What an earlier attempt or a killed worker left whole is not made again.
        resume = request.resume or chunk.attempt > 1
        with self._places.output(record).workspace(model.name) as workspace:
            if resume:
                made = workspace.made_before(facts.digest, items)
                report.skip(made)
                items = [item for position, item in enumerate(items) if position not in made]
            run_request = RunRequest(
                items=tuple(items),
                images_root=self._places.experiment(request).folder,
                folder=workspace.folder,
                options=options,
                resume=resume,
                decode=self._decoding.decode,
                pass_seconds=_PASS_SECONDS,
                read=self._places.root.read_image,
                drawing=self._drawing,
            )
            self._run(explainer, facts, run_request, workspace, report)

    def _tell(self, chunk: Chunk, activity: str) -> None:
        self._store.tell_activity(chunk.job, activity)

    def _items(self, request: JobRequest, images: Sequence[JobImage]) -> list[ImageItem]:
        folder = self._places.experiment(request).folder
        return [ImageItem(folder / image.path, image.name, image.true_class) for image in images]

    def _options(self, chunk: Chunk, request: JobRequest) -> CamOptions:
        """The job's options, with the depth of its experiment's images where they need one.

        It is found once a job: two workers that begin at once both find it, and the same.
        """
        options = request.cam_options()
        known = self._store.depth(chunk.job)
        if known is None:
            experiment = self._places.experiment(request)
            root, decode = self._places.root, self._decoding.decode
            depth = FolderDepth(root.images(experiment), root, decode)
            wanted = self._items(request, self._store.images(chunk.job))
            bits = depth.added_to(options, wanted).decoding.depth_bits
            known = self._store.remember_depth(chunk.job, bits)
        return replace(options, decoding=replace(options.decoding, depth_bits=known.bits))

    def _chosen(
        self, chunk: Chunk, state: JobState, explainer: Explainer, options: CamOptions
    ) -> list[JobImage]:
        """The images of the chunk's model; where it chooses its own, it does so at its first chunk.

        Two workers that begin at once both choose, and the same.
        """
        chosen = self._store.chosen_images(state, chunk.model)
        if chosen is not None:
            return chosen
        record = state.record
        self._tell(chunk, f"looking for errors of {record.models[chunk.model].name}")
        images = self._store.images(chunk.job)
        items = self._items(record.request, images)
        decode = self._decoding.decode
        read = self._places.root.read_image
        margins = truth_margins(explainer, items, options, DEFAULT_LIMITS, decode, read)
        order = {item.path: index for index, item in enumerate(items)}
        picked = pick_by_errors(items, margins, record.image_count)
        choice = [order[item.path] for item in picked]
        self._store.remember_choice(chunk.job, chunk.model, choice)
        return [images[index] for index in choice]

    def _run(
        self,
        explainer: Explainer,
        facts: RunFacts,
        request: RunRequest,
        workspace: Workspace,
        report: _Report,
    ) -> None:
        def on_row(row: Row) -> None:
            files: list[Path] = []
            if not isinstance(row, Failed):
                files = picture_files(Path(), row.name, facts.options, facts.figures)
            workspace.publish(files, partial(report.row, row))
            if self._asked_to_stop():
                workspace.wait()
                report.flush()
                raise _Stopped("go")

        start = time.perf_counter()
        try:
            outcome = run(explainer, facts, request, on_row)
        except (*_SYSTEM_ERRORS, *_NO_FAULT_OF_THE_MODEL, _Stopped):
            raise
        except Exception:
            workspace.wait()
            raise
        workspace.wait()
        report.flush()
        self._computing_seconds = outcome.computing_seconds
        made = len(outcome.rows) - outcome.resumed
        if made >= _LEAST_MEASURED:
            rate = made / (time.perf_counter() - start)
            self._store.remember_rate(facts.model_sha256, rate)


class _Stopped(Exception):
    """Work on a chunk is to end: handed back ("go"), or not wanted any more."""

    def __init__(self, answer: LeaseAnswer) -> None:
        super().__init__(answer)
        self.answer = answer


class _Report:
    """Tells the store of rows about once a second, and keeps the lease while nothing comes."""

    def __init__(
        self,
        store: JobStore,
        places: Places,
        chunk: Chunk,
        record: JobRecord,
        worker: str,
        lease_seconds: int,
    ) -> None:
        self._store = store
        self._places = places
        self._chunk = chunk
        self._first = chunk.model * record.image_count
        self._to_do = deque(range(chunk.start, chunk.end))
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._succeeded: list[int] = []
        self._failed: dict[int, ItemFailure] = {}
        self._assumed: dict[int, Sequence[str]] = {}
        self._told = time.monotonic()
        self._answer: LeaseAnswer = "go"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_lease, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def row(self, row: Row) -> None:
        """An image is done. Raises _Stopped where the job is not wanted any more."""
        with self._lock:
            index = self._first + self._to_do.popleft()
            if isinstance(row, Failed):
                detail = self._places.without_roots(row.detail)
                self._failed[index] = ItemFailure(code=row.code, detail=detail)
            else:
                self._succeeded.append(index)
                self._assumed[index] = row.decoding.notices
        if time.monotonic() - self._told >= _REPORT_SECONDS:
            self.flush()
        if self._answer != "go":
            raise _Stopped(self._answer)

    @property
    def rest_from(self) -> int | None:
        """The first image of the job that no row came for; None where all came."""
        return self._to_do[0] if self._to_do else None

    def skip(self, made_before: Mapping[int, Sequence[str]]) -> None:
        """Images, by position in the chunk, that were made before: no rows will come for them.

        With what was assumed of each.
        """
        with self._lock:
            first = self._first + self._chunk.start
            made = {self._chunk.start + position for position in made_before}
            self._succeeded += [self._first + image for image in sorted(made)]
            self._assumed |= {first + position: said for position, said in made_before.items()}
            self._to_do = deque(image for image in self._to_do if image not in made)
        self.flush()

    def fail_rest(self, error: CamError) -> None:
        """What of the chunk is not done fails for one reason."""
        why = ItemFailure(code=error.code, detail=self._places.without_roots(str(error)))
        with self._lock:
            self._failed |= {self._first + image: why for image in self._to_do}
            self._to_do.clear()
        self.flush()

    def flush(self) -> None:
        """Tell the store what has gathered."""
        with self._lock:
            succeeded, failed, assumed = self._succeeded, self._failed, self._assumed
            self._succeeded, self._failed, self._assumed = [], {}, {}
        self._told = time.monotonic()
        self._answer = self._store.mark(
            self._chunk, self._worker, self._lease_seconds, succeeded, failed, assumed
        )

    def _keep_lease(self) -> None:
        """Also tell what has gathered: the next row may be long in coming."""
        longest = self._lease_seconds / 4
        while not self._ended.wait(min(_REPORT_SECONDS, longest)):
            silent = time.monotonic() - self._told
            if silent >= longest or (self._gathered and silent >= _REPORT_SECONDS):
                self.flush()

    @property
    def _gathered(self) -> bool:
        return bool(self._succeeded or self._failed)

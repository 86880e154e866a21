"""One chunk: images of one model, from their files to their pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
from cachetools import LRUCache

from cam_engine.errors import CheckpointInvalid
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
from worker.jobs.contract import Chunk, JobImage, JobRecord, JobRequest, JobState
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.storage import Workspace
from worker.jobs.redis.job_store import JobStore
from worker.settings import WorkerSettings
from worker.turns import NO_FAULT_OF_THE_MODEL, SYSTEM_ERRORS, ChunkTurns, Report, Stopped

_log = structlog.get_logger(__name__)

_PASS_SECONDS = 1.0
_LEAST_MEASURED = 16


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


class ChunkRunner(ChunkTurns):
    """Explains the images of chunks."""

    def __init__(
        self,
        settings: WorkerSettings,
        store: JobStore,
        places: Places,
        coordinator: Coordinator,
        worker: str,
        asked_to_stop: Callable[[], bool],
    ) -> None:
        super().__init__(store, places, coordinator, worker, settings.lease_seconds)
        self._settings = settings
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

    def explain(self, chunk: Chunk, state: JobState, report: Report) -> None:
        """Load the model, and make the pictures of its images. Raises what is the model's fault."""
        self._computing_seconds = 0.0
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

    def handed_in(self) -> dict[str, float]:
        """Give memory back, for it may now be idle for long; and say how long the network ran."""
        trim()
        return {"computing_seconds": round(self._computing_seconds, 3)}

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
        report: Report,
    ) -> None:
        def on_row(row: Row) -> None:
            files: list[Path] = []
            if not isinstance(row, Failed):
                files = picture_files(Path(), row.name, facts.options, facts.figures)
            workspace.publish(files, partial(report.row, row))
            if self._asked_to_stop():
                workspace.wait()
                report.flush()
                raise Stopped("go")

        start = time.perf_counter()
        try:
            outcome = run(explainer, facts, request, on_row)
        except (*SYSTEM_ERRORS, *NO_FAULT_OF_THE_MODEL, Stopped):
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

"""The parts of one service process, built once from its settings and handed to the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog

from cam_engine.errors import CamError
from cam_engine.images.decoding import ImageLimits
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.maps.explainer import resolve_device
from cam_engine.models.libraries.plugins import register
from cam_engine.process.memory import reuse_large_blocks, trim
from cam_engine.process.threads import keep_opencv_to_its_thread, usable_cores
from service.executors import call_in
from service.explanations.answers import AnswerCache
from service.explanations.batching import Batcher
from service.explanations.explaining import Explaining
from service.explanations.kept_answers import KeptAnswers
from service.explanations.view_tokens import ViewTokens
from service.http.admission import Admission, Arrivals
from service.http.problems import ServiceError
from service.http.security import ApiKeys, RateLimit
from service.jobs.accepting import Jobs
from service.jobs.threads import JobsThreads
from service.models.catalog import Catalog
from service.models.depths import SplitDepths
from service.models.model_cache import ModelCache, loader
from service.models.predictions import Predictions
from service.settings import Settings
from service.sharing.entries import SharedEntries
from service.sharing.link import Link
from service.sharing.link import connect as connect_soon
from service.sharing.shared import Shared
from service.watching.metrics import Metrics
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.coordination.queue import ChunkQueue, make_celery
from worker.jobs.coordination.webhooks import Webhooks
from worker.jobs.outputs.places import Places
from worker.jobs.redis.job_store import JobStore, connect

_log = structlog.get_logger(__name__)

_LOADING_THREADS = 2
_TRIM_SECONDS = 10.0
_ROUND_SECONDS = 2.0
_SHARED_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Readiness:
    """Whether the configured models are warm: which are not yet, and which cannot be."""

    waiting: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether requests for the configured models are answered without loading."""
        return not self.waiting and not self.failed


@dataclass(slots=True)
class Components:
    """What the routes work with."""

    settings: Settings
    metrics: Metrics
    catalog: Catalog
    models: ModelCache
    explaining: Explaining
    predictions: Predictions
    kept: KeptAnswers
    admission: Admission
    arrivals: Arrivals
    keys: ApiKeys
    view_tokens: ViewTokens
    rate_limit: RateLimit
    jobs: Jobs | None
    readiness: Readiness
    limits: ImageLimits
    decoding: DecodingPool
    depths: SplitDepths
    preparing: ThreadPoolExecutor
    executors: tuple[ThreadPoolExecutor, ...]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Warm up; at the end, finish what runs and let threads and processes go."""
        self.decoding.start()
        background = [
            asyncio.create_task(self._warm_up()),
            asyncio.create_task(self._keep_trimmed()),
            asyncio.create_task(self._coordinate()),
            asyncio.create_task(self._deliver_webhooks()),
            asyncio.create_task(self._catch_up()),
        ]
        async with AsyncExitStack() as stack:
            stack.callback(self.decoding.close)
            for executor in self.executors:
                stack.callback(executor.shutdown, wait=True, cancel_futures=True)
            try:
                yield
            finally:
                self.admission.closing = True
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                await self.kept.settled()

    async def _keep_trimmed(self) -> None:
        """Give memory back now and then, in a thread that draws: large images leave holes."""
        while True:
            await asyncio.sleep(_TRIM_SECONDS)
            await call_in(self.executors[0], trim)

    async def _coordinate(self) -> None:
        """Keep jobs moving, as workers do: a job ends although none is up."""
        while self.jobs is not None:
            try:
                await self.jobs.threads.call_patiently(self.jobs.coordinator.round)
                workers, unfinished = await self.jobs.threads.call_patiently(self.jobs.counts)
                self.metrics.workers.set(workers)
                self.metrics.unfinished_jobs.set(unfinished)
            except Exception as error:
                _log.warning("jobs are not looked after", reason=str(error))
            await asyncio.sleep(_ROUND_SECONDS)

    async def _deliver_webhooks(self) -> None:
        while self.jobs is not None:
            try:
                await self.jobs.threads.call_patiently(self.jobs.webhooks.deliver_due)
            except Exception as error:
                _log.warning("webhooks are not delivered", reason=str(error))
            await asyncio.sleep(_ROUND_SECONDS)

    async def _catch_up(self) -> None:
        """Notice that Redis is back, and share what was made meanwhile."""
        while True:
            try:
                await self.kept.catch_up()
            except Exception:
                _log.exception("answers are not shared later")
            await asyncio.sleep(_SHARED_LOOK_SECONDS)

    async def _warm_up(self) -> None:
        """The pinned models and the default one."""
        for wanted in (*self.settings.pinned_models, None):
            name = wanted or "default"
            try:
                await self.explaining.warm_up(wanted)
            except ServiceError as error:
                if wanted is None and error.code == "no-models-found":
                    _log.warning("the data root holds no models yet")
                else:
                    _log.error("model cannot be used", model=name, reason=error.detail)
                    self.readiness.failed[name] = error.code
            except CamError as error:
                # Probes carry no key: the file's place and what is wrong in it go into the log.
                _log.error("model cannot be used", model=name, reason=str(error))
                self.readiness.failed[name] = error.code
            except Exception:
                _log.exception("warm-up failed", model=name)
                self.readiness.failed[name] = "internal-error"
            self.readiness.waiting.discard(name)
        if self.readiness.ready:
            _log.info("ready", models=sorted(self.models.loaded_ids))
        else:
            _log.error("not ready", failed=self.readiness.failed)


def build(settings: Settings) -> Components:
    """The parts, wired together; nothing is loaded yet. Raises InvalidOption."""
    resolve_device(settings.device)
    register(settings.networks)
    reuse_large_blocks()
    keep_opencv_to_its_thread()
    metrics = Metrics()
    io_threads = settings.io_threads or max(2, usable_cores())
    decoding = DecodingPool(settings.decoding_processes, settings.decoding_seconds)
    io, preparing, compute, loading = (
        ThreadPoolExecutor(io_threads, thread_name_prefix="pictures"),
        ThreadPoolExecutor(decoding.size, thread_name_prefix="images"),
        ThreadPoolExecutor(1, thread_name_prefix="network"),
        ThreadPoolExecutor(_LOADING_THREADS, thread_name_prefix="loading"),
    )
    catalog = Catalog(settings.data_folder, settings.catalog_seconds)
    models = ModelCache(
        loader(settings.device, settings.precision, settings.batch_size),
        loading,
        metrics,
        most_models=settings.cached_models,
        most_bytes=settings.cached_model_bytes,
    )
    jobs = _jobs(settings, decoding)
    limits = ImageLimits(settings.max_upload_bytes, settings.max_pixels)
    depths = SplitDepths(catalog, decoding)
    explaining = Explaining(
        catalog,
        models,
        Batcher(compute, metrics, settings.gather_milliseconds / 1000),
        io,
        preparing,
        decoding=decoding,
        depths=depths,
        default_model=settings.default_model,
        limits=limits,
        sync_max_images=settings.sync_max_images,
    )
    shared = _shared(settings, metrics)
    view_tokens = ViewTokens(
        settings.view_secret.get_secret_value() if settings.view_secret else None
    )

    def read_stored(place: str) -> bytes:
        return catalog.data.read_image(catalog.data.listed(place), limits)

    return Components(
        settings=settings,
        metrics=metrics,
        catalog=catalog,
        models=models,
        explaining=explaining,
        predictions=Predictions(
            catalog, models, preparing, compute, limits, decoding, depths, shared
        ),
        kept=KeptAnswers(
            AnswerCache(settings.answers_bytes), view_tokens, shared, read_stored, metrics
        ),
        admission=Admission(settings.max_in_flight, metrics),
        arrivals=Arrivals(settings.max_in_flight * settings.max_upload_bytes, metrics),
        keys=ApiKeys(settings.api_keys, off=settings.auth == "off"),
        view_tokens=view_tokens,
        rate_limit=RateLimit(settings.rate_limit, settings.rate_limit_storage),
        jobs=jobs,
        readiness=Readiness(waiting={*settings.pinned_models, "default"}),
        limits=limits,
        decoding=decoding,
        depths=depths,
        preparing=preparing,
        executors=(
            io,
            preparing,
            compute,
            loading,
            *([jobs.threads.executor] if jobs else []),
            *([shared.link.executor] if shared else []),
        ),
    )


def _shared(settings: Settings, metrics: Metrics) -> Shared | None:
    """Redis for what all processes know; None where each knows its own only."""
    if settings.redis_url is None or not settings.shared_answers_bytes:
        return None
    if settings.view_secret is None:
        _log.info(
            "view tokens made here hold here alone: several processes need one GRADCAM_VIEW_SECRET"
        )
    client = connect_soon(settings.redis_url)
    entries = SharedEntries(
        client,
        settings.redis_prefix,
        settings.shared_answers_bytes,
        settings.shared_answers_seconds,
    )
    return Shared(Link(client, metrics), entries)


def _jobs(settings: Settings, decoding: DecodingPool) -> Jobs | None:
    if settings.redis_url is None:
        return None
    store = JobStore(connect(settings.redis_url, patient=False), settings.redis_prefix)
    places = Places(settings)
    queue = ChunkQueue(make_celery(settings.redis_url))
    coordinator = Coordinator(settings, store, queue, places)
    own_only = settings.jobs_visible == "own" or (
        settings.jobs_visible is None and bool(settings.api_keys)
    )
    return Jobs(
        store,
        coordinator,
        places,
        Webhooks(settings, store),
        decoding,
        JobsThreads(settings.request_timeout_seconds),
        own_only=own_only,
    )

"""Classifiers in memory: bounded by count and bytes, loaded once, reloaded when a file changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor

import structlog
from cachetools import LRUCache

from cam_engine.errors import CheckpointInvalid
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions, FigureStyle, PrecisionName
from cam_engine.pictures.recipes import Recipes, RunFacts, run_facts
from service.executors import call_in
from service.http.problems import ServiceError
from service.models.catalog import FileStamp, ModelEntry, restamped
from service.watching.metrics import Metrics

_log = structlog.get_logger(__name__)


class LoadedModel:
    """A classifier ready to explain. Two of one file at different times are different models."""

    _MOST_RUNS = 64

    def __init__(self, entry: ModelEntry, stamp: FileStamp, explainer: Explainer) -> None:
        self.id = entry.id
        self.name = entry.name
        self.stamp = stamp
        self.explainer = explainer
        self.bytes_used = explainer.memory_bytes
        self._runs: LRUCache[CamOptions, tuple[RunFacts, Recipes]] = LRUCache(self._MOST_RUNS)
        self._lock = threading.Lock()

    @property
    def sha256(self) -> str:
        """Of the model's file, in hexadecimal."""
        return self.explainer.classifier.sha256

    def run(self, options: CamOptions) -> tuple[RunFacts, Recipes]:
        """What pictures made with these options share, and say of themselves; in any thread."""
        with self._lock:
            run = self._runs.get(options)
        if run is None:
            facts = run_facts(self.id, self.explainer, options, FigureStyle())
            run = facts, Recipes(facts)
            with self._lock:
                self._runs[options] = run
        return run


Load = Callable[[ModelEntry, FileStamp], LoadedModel]


class ModelCache:
    """Lives in one event loop; loading runs on the executor. The least recently used go first."""

    def __init__(
        self,
        load: Load,
        executor: Executor,
        metrics: Metrics,
        *,
        most_models: int,
        most_bytes: int,
    ) -> None:
        self._load = load
        self._executor = executor
        self._metrics = metrics
        self._most_models = most_models
        self._most_bytes = most_bytes
        self._pinned: set[str] = set()
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._wanted: dict[str, FileStamp] = {}
        self._loading: dict[tuple[str, FileStamp], asyncio.Task[LoadedModel]] = {}

    @property
    def loaded_ids(self) -> frozenset[str]:
        """Ids of the models in memory."""
        return frozenset(self._loaded)

    def loaded(self, id_: str) -> LoadedModel | None:
        """The model of that id, if it is in memory; it does not count as used."""
        return self._loaded.get(id_)

    def pin(self, id_: str) -> None:
        """Never put this model out of memory."""
        self._pinned.add(id_)

    async def get(self, entry: ModelEntry, stamp: FileStamp) -> LoadedModel:
        """The model as its file is now (`stamp`). Raises what loading it raises.

        Whoever waits for a model that is being loaded waits for the same loading, which goes on
        when one of them goes away.
        """
        self._wanted[entry.id] = stamp
        model = self._loaded.get(entry.id)
        if model is not None and model.stamp == stamp:
            self._loaded.move_to_end(entry.id)
            return model
        key = entry.id, stamp
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch(entry, stamp))
            self._loading[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        return await asyncio.shield(task)

    async def _fetch(self, entry: ModelEntry, stamp: FileStamp) -> LoadedModel:
        start = time.perf_counter()
        try:
            model = await call_in(self._executor, self._load, entry, stamp)
        except Exception:
            self._metrics.model_loads.labels(entry.id, "failed").inc()
            raise
        self._metrics.model_loads.labels(entry.id, "succeeded").inc()
        milliseconds = round(1000 * (time.perf_counter() - start))
        _log.info("model loaded", model=entry.id, bytes=model.bytes_used, ms=milliseconds)
        if self._wanted[entry.id] == stamp:  # else the file was replaced while it was read
            self._loaded[entry.id] = model
            self._loaded.move_to_end(entry.id)
            self._evict(keep=entry.id)
        return model

    def _evict(self, keep: str) -> None:
        for id_ in [other for other in self._loaded if other != keep and other not in self._pinned]:
            if not self._too_full():
                break
            del self._loaded[id_]
            self._metrics.model_evictions.inc()
            _log.info("model evicted", model=id_)
        self._metrics.models_loaded.set(len(self._loaded))

    def _too_full(self) -> bool:
        used = sum(model.bytes_used for model in self._loaded.values())
        return len(self._loaded) > self._most_models or used > self._most_bytes

    def _finished(self, key: tuple[str, FileStamp], task: asyncio.Task[LoadedModel]) -> None:
        self._loading.pop(key, None)
        if not task.cancelled():
            task.exception()  # all who waited may have gone: the error was counted already


def loader(device: str, precision: PrecisionName, batch_size: int | None) -> Load:
    """How models are loaded, with the settings that all of them share."""

    def load(entry: ModelEntry, stamp: FileStamp) -> LoadedModel:
        classifier = load_classifier(stamp.path)
        if fresh_stamp(entry) != stamp:
            raise CheckpointInvalid(f"{entry.id} was replaced while it was read; try again")
        explainer = Explainer(classifier, device=device, precision=precision, batch_size=batch_size)
        return LoadedModel(entry, stamp, explainer)

    return load


def fresh_stamp(entry: ModelEntry) -> FileStamp:
    """The model's file as it is now.

    Raises ServiceError "model-not-found" once it is gone, or its links lead to another place,
    which the catalog has not looked at.
    """
    try:
        stamp = restamped(entry.stamp)
    except OSError as error:
        raise ServiceError("model-not-found", f"the file of model {entry.id} is gone") from error
    if stamp.steps != entry.stamp.steps:
        raise ServiceError("model-not-found", f"model {entry.id} is a link that was changed")
    return stamp

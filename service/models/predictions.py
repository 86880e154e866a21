"""The class that a model names for each of an experiment's test images, without explanations."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
from cachetools import LRUCache

from cam_engine.class_names import class_meant, no_classes
from cam_engine.errors import CamError
from cam_engine.experiments.finding import ImageItem
from cam_engine.images.decoding import ImageLimits
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.options import CamOptions
from cam_engine.pictures.recipes import Recipes
from cam_engine.results import RgbImage
from service.executors import call_in
from service.models.catalog import Catalog, FileStamp, ModelEntry, stamp_of
from service.models.depths import SplitDepths
from service.models.model_cache import LoadedModel, ModelCache, fresh_stamp
from service.sharing.link import StoreAway
from service.sharing.shared import Shared

_MOST_KEPT = 100_000

Order = Literal["listed", "mixed"]
_Key = tuple[str, FileStamp, int | None]  # weights, file, the depth by which it is read


@dataclass(frozen=True, slots=True)
class Prediction:
    """The class predicted and its probability; or why there is none, as a stable code."""

    name: str | None = None
    probability: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class PredictedImage:
    """A test image: its path within the experiment, its class, and what was predicted.

    true_class: the model's own name of the class that the folder means; None where it means none.
    """

    path: str
    true_class: str | None
    folder: str | None
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class PredictedPage:
    """Some of an experiment's test images; total: how many it has.

    folders_of_no_class: how many of all of them, by folder, are in folders that mean no class of
    the model's.
    """

    model: str
    images: tuple[PredictedImage, ...]
    total: int
    folders_of_no_class: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Plan:
    model: ModelEntry
    stamp: FileStamp
    prefix: str
    images: tuple[ImageItem, ...]
    options: CamOptions


def mixed(images: Sequence[ImageItem]) -> tuple[ImageItem, ...]:
    """As if shuffled, but always alike: an image's place among the others depends on its name only.

    Images are listed class by class, so that the first ones say nothing about the others.
    """

    def rank(item: ImageItem) -> bytes:
        name = f"{item.true_class}/{item.path.name}"
        return hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()

    return tuple(sorted(images, key=rank))


class Predictions:
    """Predicts as explanations do by default, with CLAHE; remembers by weights and image file.

    Lives in one event loop, blocks only executor threads. shared: what other processes remember;
    None where each remembers its own only.
    """

    def __init__(
        self,
        catalog: Catalog,
        models: ModelCache,
        io: Executor,
        compute: Executor,
        limits: ImageLimits,
        decoding: DecodingPool,
        depths: SplitDepths,
        shared: Shared | None = None,
    ) -> None:
        self._catalog = catalog
        self._models = models
        self._io = io
        self._compute = compute
        self._limits = limits
        self._decoding = decoding
        self._depths = depths
        self._shared = shared
        self._known: LRUCache[_Key, Prediction] = LRUCache(_MOST_KEPT)
        self._lock = threading.Lock()

    async def page(
        self, path: str, model: str, offset: int, limit: int, order: Order = "listed"
    ) -> PredictedPage:
        """Predictions for the test images from `offset` on. Raises CamError or ServiceError."""
        plan = await call_in(self._io, self._plan, path, model, order)
        loaded = await self._models.get(plan.model, plan.stamp)
        chosen = plan.images[offset : offset + limit]
        size = loaded.explainer.batch_size
        await self._learn(loaded, chosen, plan.options)
        predictions: list[Prediction] = []
        for start in range(0, len(chosen), size):
            predictions += await self._predict(loaded, chosen[start : start + size], plan.options)
        names = loaded.explainer.classifier.class_names
        images = tuple(
            PredictedImage(
                self._catalog.data.id_of(item.path).removeprefix(plan.prefix),
                class_meant(item.true_class, names),
                item.true_class,
                prediction,
            )
            for item, prediction in zip(chosen, predictions, strict=True)
        )
        unknown = no_classes((item.true_class for item in plan.images), names)
        return PredictedPage(plan.model.id, images, len(plan.images), unknown)

    def _plan(self, path: str, model: str, order: Order) -> _Plan:
        experiment = self._catalog.experiment(path)
        entry = self._catalog.model(model, experiment)
        images = self._catalog.images(experiment, "test")
        options = CamOptions()
        if images:
            ids = [self._catalog.data.id_of(item.path) for item in images]
            options = self._depths.added_to(options, ids, experiment)
        if order == "mixed":
            images = mixed(images)
        return _Plan(entry, fresh_stamp(entry), f"{experiment.id}/", images, options)

    async def _predict(
        self, model: LoadedModel, items: Sequence[ImageItem], options: CamOptions
    ) -> list[Prediction]:
        read = await asyncio.gather(
            *(call_in(self._io, self._read, model, item, options) for item in items)
        )
        inputs = [(stamp, pixels) for stamp, pixels in read if isinstance(pixels, np.ndarray)]
        computed: dict[FileStamp, Prediction] = {}
        if inputs:
            pixels = [array for _, array in inputs]
            rows = await call_in(self._compute, model.explainer.probabilities, pixels)
            names = model.explainer.classifier.class_names
            for (stamp, _), row in zip(inputs, rows, strict=True):
                best = int(row.argmax())
                computed[stamp] = Prediction(names[best], float(row[best]))
                with self._lock:
                    self._known[_key(model, stamp, options)] = computed[stamp]
            await self._tell(model, computed, options)
        return [
            result if isinstance(result, Prediction) else computed[stamp] for stamp, result in read
        ]

    async def _learn(
        self, model: LoadedModel, items: Sequence[ImageItem], options: CamOptions
    ) -> None:
        """Remember what other processes have predicted of the images that are not known here."""
        if self._shared is None or self._shared.link.away or not items:
            return
        stamps = await call_in(self._io, self._unknown, model, items, options)
        if not stamps:
            return
        _, recipes = model.run(options)
        names = [self._field(stamp) for stamp in stamps]
        try:
            values = await self._shared.link.call(self._shared.entries.read, _entry(recipes), names)
        except StoreAway:
            return
        classes = model.explainer.classifier.class_names
        for stamp, value in zip(stamps, values, strict=True):
            prediction = _prediction(value, classes)
            if prediction is not None:
                with self._lock:
                    self._known[_key(model, stamp, options)] = prediction

    async def _tell(
        self, model: LoadedModel, computed: Mapping[FileStamp, Prediction], options: CamOptions
    ) -> None:
        """Let other processes know."""
        if self._shared is None:
            return
        _, recipes = model.run(options)
        values = {
            self._field(stamp): json.dumps([prediction.name, prediction.probability]).encode()
            for stamp, prediction in computed.items()
        }
        with suppress(StoreAway):
            await self._shared.link.call(self._shared.entries.put, _entry(recipes), values)

    def _field(self, stamp: FileStamp) -> str:
        """A digest of the image's path below the data root and its file, in every process alike."""
        place = self._catalog.data.id_of(stamp.path)
        words = f"{place}\0{stamp.mtime_ns}\0{stamp.size}\0{stamp.inode}"
        return hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()[:32]

    def _unknown(
        self, model: LoadedModel, items: Sequence[ImageItem], options: CamOptions
    ) -> list[FileStamp]:
        stamps = []
        for item in items:
            with suppress(CamError, OSError):
                data = self._catalog.data
                stamps.append(stamp_of(data.listed(data.id_of(item.path))))
        with self._lock:
            return [stamp for stamp in stamps if _key(model, stamp, options) not in self._known]

    def _read(
        self, model: LoadedModel, item: ImageItem, options: CamOptions
    ) -> tuple[FileStamp, Prediction | RgbImage]:
        """What is known of the image already, or else its pixels for the network."""
        gone = FileStamp(item.path, 0, 0, 0)
        try:
            data = self._catalog.data
            file = data.listed(data.id_of(item.path))
            stamp = stamp_of(file)
            with self._lock:
                known = self._known.get(_key(model, stamp, options))
            if known is not None:
                return stamp, known
            content = data.read_image(file, self._limits)
            image = self._decoding.decode(content, self._limits, options.decoding).pixels
        except CamError as error:
            return gone, Prediction(problem=error.code)
        except OSError:
            return gone, Prediction(problem="image-not-found")
        return stamp, model.explainer.prepare_image(image, options).network_input.pixels


def _key(model: LoadedModel, stamp: FileStamp, options: CamOptions) -> _Key:
    return model.sha256, stamp, options.decoding.depth_bits


def _entry(recipes: Recipes) -> str:
    """Of all that predictions depend on beside the image: weights, preprocessing, software."""
    return f"predictions:{recipes.run_digest}"


def _prediction(value: bytes | None, classes: Sequence[str]) -> Prediction | None:
    """What another process has told, if it is a prediction of this model."""
    try:
        name, probability = json.loads(value or b"null")
    except (ValueError, TypeError):
        return None
    if name not in classes or not isinstance(probability, float) or not 0 <= probability <= 1:
        return None
    return Prediction(name, probability)

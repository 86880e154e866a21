"""From a request to an answer: decode, compute in a batch with others, draw."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from cam_engine.class_names import class_meant, folded
from cam_engine.errors import CamError
from cam_engine.experiments.data_root import check_form
from cam_engine.experiments.finding import ImageItem
from cam_engine.experiments.picking import pick_images
from cam_engine.images.decoded import DecodedImage, ImageFacts
from cam_engine.images.decoding import ImageLimits
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.maps.explainer import NetworkInput
from cam_engine.maps.targets import resolve_class
from cam_engine.options import CamOptions, DecodingOptions
from cam_engine.pictures.picture_set import ShownImage, at_most_output
from cam_engine.pictures.rendering import output_size
from service.executors import call_in
from service.explanations.answers import Answer, Explained, ImageSource, make_answer
from service.explanations.batching import Batcher
from service.explanations.large_images import ImageKey, LargeImage, is_large, keep
from service.explanations.representations import (
    Representation,
    base_image,
    needs_unenhanced,
    represent,
)
from service.explanations.requests import ExplanationOptions, StoredImageRequest, UploadFields
from service.http.problems import ServiceError
from service.http.work import Work
from service.models.catalog import Catalog, ExperimentEntry, FileStamp, ModelEntry
from service.models.depths import SplitDepths
from service.models.model_cache import LoadedModel, ModelCache, fresh_stamp
from service.watching.tracing import tracer

_Result = TypeVar("_Result")


class Explaining:
    """Answers explanation requests; lives in one event loop, blocks only executor threads.

    preparing: threads of their own for what waits for decoding, so that drawing never does.
    """

    def __init__(
        self,
        catalog: Catalog,
        models: ModelCache,
        batcher: Batcher,
        executor: Executor,
        preparing: Executor,
        *,
        decoding: DecodingPool,
        depths: SplitDepths,
        default_model: str | None,
        limits: ImageLimits,
        sync_max_images: int,
    ) -> None:
        self._catalog = catalog
        self._models = models
        self._batcher = batcher
        self._executor = executor
        self._preparing = preparing
        self._decoding = decoding
        self._depths = depths
        self._default_model = default_model
        self._limits = limits
        self._sync_max_images = sync_max_images
        # Those that an answer still holds: another method or model finds its image prepared.
        self._large: WeakValueDictionary[ImageKey, LargeImage] = WeakValueDictionary()

    async def upload(
        self, data: bytes, name: str, fields: UploadFields, media_type: str, work: Work
    ) -> Answer:
        """The answer for an uploaded image file. Raises CamError or ServiceError.

        media_type: as which it will be drawn first.
        """
        entry, stamp = await call_in(self._executor, self._choose, fields.model)
        model = await self._models.get(entry, stamp)
        source = ImageSource(data, hashlib.sha256(data).hexdigest(), name)
        plain = needs_unenhanced(fields, media_type, sheet=False)
        options = fields.cam_options()
        item = await self._explain(model, options, source, work, plain=plain)
        return make_answer(model, _options_of(fields), options, (item,))

    async def stored(self, request: StoredImageRequest, media_type: str, work: Work) -> Answer:
        """The answer for an image of the data root, or for an experiment as a contact sheet."""
        plan = await call_in(self._executor, self._plan_stored, request)
        model = await self._models.get(plan.model, plan.stamp)
        names = model.explainer.classifier.class_names
        options = plan.options
        sources = (
            replace(source, true_class=class_meant(source.true_class, names))
            for source in plan.sources
        )
        plain = needs_unenhanced(request, media_type, sheet=plan.heading is not None)
        items = await _all(
            [self._explain(model, options, source, work, plain=plain) for source in sources]
        )
        return make_answer(model, _options_of(request), options, items, plan.heading)

    async def draw(self, answer: Answer, media_type: str, base: str, work: Work) -> Representation:
        """The answer as a media type; base: the path that links begin with."""
        start = time.perf_counter()
        with tracer.start_as_current_span("draw"):
            representation = await call_in(
                self._executor, represent, answer, media_type, self._decode, base
            )
        work.timings.encode = time.perf_counter() - start
        return representation

    async def base_image(self, answer: Answer, work: Work, *, enhanced: bool) -> bytes:
        """PNG of the image beneath the answer's overlays, at their size."""
        start = time.perf_counter()
        png = await call_in(self._executor, base_image, answer, self._decode, enhanced=enhanced)
        work.timings.encode = time.perf_counter() - start
        return png

    async def warm_up(self, wanted: str | None) -> None:
        """Load a model and run it once, on a grey image; one that is named stays in memory.

        wanted: None for the default model.
        """
        entry, stamp = await call_in(self._executor, self._choose, wanted)
        if wanted is not None:
            self._models.pin(entry.id)
        model = await self._models.get(entry, stamp)
        height, width = model.explainer.classifier.preprocessing.input_size
        grey = np.full((height, width, 3), 200, np.uint8)
        options = ExplanationOptions().cam_options()
        prepared = model.explainer.prepare_image(grey, options)
        await self._batcher.explain(model, options, prepared.network_input)

    def default_model(self) -> ModelEntry:
        """The configured model, else the best of the newest experiment. Blocks."""
        if self._default_model is not None:
            return self._catalog.model(self._default_model)
        return self._catalog.best_model()

    async def completed(self, answer: Answer, media_type: str, work: Work) -> Answer:
        """The answer with all that the media type shows. Raises "explanation-gone".

        A picture of one layer is computed without the class that the network would name without
        CLAHE; where another representation is asked for later, that is made up for.
        """
        whole = all(item.explanation.unenhanced for item in answer.items)
        if whole or not needs_unenhanced(answer.options, media_type, sheet=answer.is_sheet):
            return answer
        entry, stamp = await call_in(self._executor, self._choose, answer.model.id)
        model = await self._models.get(entry, stamp)
        if model.sha256 != answer.model.sha256:
            raise ServiceError(
                "explanation-gone", "the model's file was replaced since; POST the image again"
            )
        options = answer.cam_options
        items = await _all(
            [self._explain(model, options, item.source, work, plain=True) for item in answer.items]
        )
        return replace(answer, items=items)

    async def _explain(
        self,
        model: LoadedModel,
        options: CamOptions,
        source: ImageSource,
        work: Work,
        *,
        plain: bool,
    ) -> Explained:
        work.model_id = model.id
        start = time.perf_counter()
        with tracer.start_as_current_span("decode"), self._batcher.announced(model.id):
            ready = await self._prepared(model, options, source)
        network_input = ready.network_input if plain else replace(ready.network_input, plain=None)
        work.timings.decode = max(work.timings.decode, time.perf_counter() - start)
        with tracer.start_as_current_span("network", attributes={"gradcam.model": model.id}):
            computed = await self._batcher.explain(model, options, network_input)
        work.timings.add(computed.queue_seconds, computed.compute_seconds, computed.batch_size)
        return Explained(
            source, computed.explanation, ready.size, ready.facts, ready.large, ready.shown
        )

    async def _prepared(
        self, model: LoadedModel, options: CamOptions, source: ImageSource
    ) -> _Ready:
        input_size = model.explainer.classifier.preprocessing.input_size
        key = ImageKey(source.sha256, options.decoding, options.clahe, input_size)
        ready = await call_in(
            self._preparing, self._prepare, model, options, source, self._large.get(key)
        )
        if ready.large is not None:
            self._large[key] = ready.large
        return ready

    def _decode(self, data: bytes, options: DecodingOptions) -> DecodedImage:
        return self._decoding.decode(data, self._limits, options)

    def _prepare(
        self,
        model: LoadedModel,
        options: CamOptions,
        source: ImageSource,
        known: LargeImage | None,
    ) -> _Ready:
        """Check what is asked for, then decode: a batch must not fail for one request's fault."""
        explainer = model.explainer
        explainer.plan(options)
        if options.target is not None:
            resolve_class(options.target, explainer.classifier.class_names)
        if known is not None:
            return _Ready(known.network_input, known.size, known.facts, large=known)
        image, facts = self._decode(source.data, options.decoding)
        prepared = explainer.prepare_image(image, options)
        shown = at_most_output(ShownImage(image, prepared.enhanced))
        if is_large(image):
            large = keep(prepared.network_input, shown, facts)
            return _Ready(large.network_input, large.size, facts, large=large)
        return _Ready(prepared.network_input, output_size(shown.original), facts, shown=shown)

    def _choose(self, wanted: str | None) -> tuple[ModelEntry, FileStamp]:
        entry = self.default_model() if wanted is None else self._catalog.model(wanted)
        return entry, fresh_stamp(entry)

    def _plan_stored(self, request: StoredImageRequest) -> _StoredPlan:
        experiment = (
            None if request.experiment is None else self._catalog.experiment(request.experiment)
        )
        if request.image is not None:
            if request.max_images is not None:
                raise ServiceError(
                    "invalid-request", "max_images: only for an experiment without an image"
                )
            sources = [self._read(request.image, experiment)]
            heading = None
        elif experiment is not None:
            sources, heading = self._sheet_sources(request, experiment), experiment.id
        else:
            raise ServiceError(
                "invalid-request", "image: name an image, or an experiment for a contact sheet"
            )
        entry = self._model_of(request, experiment)
        options = self._depths.added_to(
            request.cam_options(), [source.name for source in sources], experiment
        )
        return _StoredPlan(entry, fresh_stamp(entry), tuple(sources), options, heading)

    def _model_of(
        self, request: StoredImageRequest, experiment: ExperimentEntry | None
    ) -> ModelEntry:
        if request.model is not None:
            return self._catalog.model(request.model, experiment)
        return self.default_model() if experiment is None else self._catalog.best_model(experiment)

    def _sheet_sources(
        self, request: StoredImageRequest, experiment: ExperimentEntry
    ) -> list[ImageSource]:
        if request.view != "overlay":
            raise ServiceError(
                "invalid-option",
                f"a contact sheet shows overlays, not view={request.view}; name an image, or "
                "accept application/zip for all pictures",
            )
        items = self._catalog.images(experiment, "test")
        count = request.max_images or len({folded(item.true_class or "") for item in items})
        if count > self._sync_max_images:
            raise ServiceError(
                "too-many-images",
                f"{count} images are more than the {self._sync_max_images} that are answered at "
                "once; submit them as a job: POST /v1/jobs",
                headers={"Link": '</v1/jobs>; rel="related"'},
            )
        if not items:
            raise ServiceError("no-images-found", f"no test images in {experiment.id}")
        return [self._read_item(item) for item in pick_images(items, count)]

    def _read(self, path: str, experiment: ExperimentEntry | None) -> ImageSource:
        full = path if experiment is None else f"{experiment.id}/{path}"
        check_form(path)  # not one that only the prefix makes safe
        file = self._catalog.data.inside(full)
        if not file.is_file():
            raise ServiceError(
                "image-not-found",
                f"there is no image {path!r}; GET /v1/experiments/{{path}}/images lists them",
            )
        data = self._catalog.data.read_image(file, self._limits)
        # Of the path that was asked for: its folder may be a link to one of another name.
        folder = PurePosixPath(path).parent.name or None
        return ImageSource(data, hashlib.sha256(data).hexdigest(), full, folder, stored=True)

    def _read_item(self, item: ImageItem) -> ImageSource:
        relative = self._catalog.data.id_of(item.path)
        file = self._catalog.data.listed(relative)
        try:
            data = self._catalog.data.read_image(file, self._limits)
        except CamError as error:
            raise type(error)(f"{relative}: {error}") from error
        digest = hashlib.sha256(data).hexdigest()
        return ImageSource(data, digest, relative, item.true_class, stored=True)


class _Ready(NamedTuple):
    """An image that may wait for the network, and what its pictures are to be drawn from.

    size: (H, W) in pixels of the pictures. facts: what was done to make its pixels.
    """

    network_input: NetworkInput
    size: tuple[int, int]
    facts: ImageFacts
    large: LargeImage | None = None
    shown: ShownImage | None = None


@dataclass(frozen=True, slots=True)
class _StoredPlan:
    model: ModelEntry
    stamp: FileStamp
    sources: tuple[ImageSource, ...]
    options: CamOptions
    heading: str | None


async def _all(work: Sequence[Coroutine[None, None, _Result]]) -> tuple[_Result, ...]:
    """All of it at once; the first error cancels the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return tuple(task.result() for task in tasks)


def _options_of(request: ExplanationOptions) -> ExplanationOptions:
    """The options without what says where image and model come from."""
    names = ExplanationOptions.model_fields
    return ExplanationOptions.model_construct(**{name: getattr(request, name) for name in names})

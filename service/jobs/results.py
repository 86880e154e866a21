"""A job's own files: what it made, and still stands where it put it. All of it may block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from zipstream import ZIP_STORED, ZipStream

from cam_engine.class_names import class_meant
from cam_engine.errors import CamError, PathOutsideRoot
from cam_engine.experiments.data_root import check_form
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.outputs.figure_writer import picture_files
from cam_engine.outputs.files import PicturePaths
from cam_engine.outputs.provenance import Provenance
from cam_engine.outputs.summaries import MANIFEST, SUMMARY_CSV, SUMMARY_JSON
from service.http.problems import ServiceError
from service.models.image_digests import ImageDigests
from service.models.thumbnails import jpeg_thumbnail
from worker.jobs.contract import ItemFailure, ItemState, JobImage, JobState
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.storage import OutputFolder, StoredFile
from worker.jobs.redis.job_store import JobStore

_MOST_SEARCHED = 1000  # jobs, the newest first, for the one that replaced a picture
_LEFT_OUT = "REPLACED.txt"


@dataclass(frozen=True, slots=True)
class JobItem:
    """One image with one model.

    image: None until it is chosen. true_class: the model's own name of the class that the image's
    folder means; the folder's until the model has been loaded. figure: path of its main figure in
    the output folder, where it is the job's own. replaced: why it is not, in words, where the item
    succeeded; replaced_by: the job that replaced it, where one is known. outdated: why the figure
    is not of the image file as it is now, in words.
    """

    model: str
    image: JobImage | None
    state: ItemState
    failure: ItemFailure | None = None
    true_class: str | None = None
    figure: str | None = None
    replaced: str | None = None
    replaced_by: str | None = None
    outdated: str | None = None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some of a job's items; total: how many there are of that state."""

    items: tuple[JobItem, ...]
    total: int


@dataclass(frozen=True, slots=True)
class _Model:
    """What a job did with one of its models.

    images: None until they are chosen. classes: None until it has been loaded.
    """

    name: str
    index: int
    images: list[JobImage] | None
    run_digests: frozenset[str]
    classes: tuple[str, ...] | None

    def true_class(self, image: JobImage | None) -> str | None:
        """The class that the image's folder means."""
        folder = None if image is None else image.true_class
        return folder if self.classes is None else class_meant(folder, self.classes)


class JobResults:
    """Files of jobs, each known by its recipe to be of the job that is asked for."""

    def __init__(self, store: JobStore, places: Places, decoding: DecodingPool) -> None:
        self._store = store
        self._decoding = decoding
        self._places = places
        self._digests = ImageDigests()

    def items(self, state: JobState, status: ItemState | None, offset: int, limit: int) -> ItemPage:
        """The job's items of a state (None: all), by model and image."""
        record, job = state.record, state.record.id
        states = self._store.item_states(job, record.total, ended=state.finished)
        failures = self._store.failures(job)
        chosen = [i for i, item_state in enumerate(states) if status in {None, item_state}]
        models: dict[int, _Model] = {}
        page = []
        for item in chosen[offset : offset + limit]:
            index, position = divmod(item, record.image_count)
            if index not in models:
                models[index] = self._model(state, index)
            images = models[index].images
            image = None if images is None else images[position]
            failure = failures.get(item) if states[item] == "failed" else None
            true_class = models[index].true_class(image)
            page.append(JobItem(record.models[index].id, image, states[item], failure, true_class))
        numbers = [item // record.image_count for item in chosen[offset : offset + limit]]
        owned = self._owned(state, page, [models[index] for index in numbers])
        return ItemPage(tuple(owned), len(chosen))

    def file(self, state: JobState, path: str) -> StoredFile:
        """A picture or summary of the job by its path in the output folder.

        Raises PathOutsideRoot, or ServiceError "file-not-found" or "result-replaced".
        """
        output = self._places.output(state.record)
        if PurePosixPath(path).name in {SUMMARY_CSV, SUMMARY_JSON, MANIFEST}:
            return self._summary(state, output, path)
        model = self._model_of(state, path)
        self._check_form(state, path, model)
        stored = output.file(path)
        made = next(output.provenance([path])) if stored and model else None
        if (
            stored is None
            or model is None
            or made is None
            or not self._explains(state, model, made)
        ):
            raise ServiceError("file-not-found", f"the job has no file {path!r}")
        if made.run_digest not in model.run_digests:
            raise ServiceError("result-replaced", self._replaced(state, model, made)[0])
        return stored

    def _check_form(self, state: JobState, path: str, model: _Model | None) -> None:
        """Pictures are named after images, which may be named in any way."""
        try:
            check_form(path)
        except PathOutsideRoot:
            if model is None or path not in self._pictures(state, model):
                raise

    def _summary(self, state: JobState, output: OutputFolder, path: str) -> StoredFile:
        for result in output.results(state.record.id):
            if result.path == path:
                return result
        raise ServiceError(
            "file-not-found", f"the job has no file {path!r}; summaries are there once it has ended"
        )

    def thumbnail(self, state: JobState, path: str, size: int) -> bytes:
        """JPEG of one of the job's pictures. Raises what `file` raises, and InvalidImage."""
        file = self.file(state, path)
        if file.media_type != "image/png":
            raise ServiceError("file-not-found", f"{path!r} is no picture of the job")
        return jpeg_thumbnail(self._decoding.decode(_content(file)).pixels, size)

    def archive(self, state: JobState) -> Iterator[bytes]:
        """All of the job's files as a zip, made while it is read.

        Pictures that were replaced since are left out, and named in a file of the zip.
        """
        output = self._places.output(state.record)
        zipped = ZipStream(compress_type=ZIP_STORED)
        left_out: list[str] = []
        for file in self._all(state, output, left_out):
            zipped.add(file.content(), file.path, size=file.size)
            yield from zipped.file()
        if left_out:
            zipped.add("".join(f"{line}\n" for line in left_out), _LEFT_OUT)
        yield from zipped.finalize()

    def _all(
        self, state: JobState, output: OutputFolder, left_out: list[str]
    ) -> Iterator[StoredFile]:
        for index in range(len(state.record.models)):
            model = self._model(state, index)
            paths = self._pictures(state, model)
            for path, made in zip(paths, output.provenance(paths), strict=True):
                file = (
                    output.file(path)
                    if made is not None and made.run_digest in model.run_digests
                    else None
                )
                if file is not None:
                    yield file
                else:
                    left_out.append(f"{path}: {self._replaced(state, model, made)[0]}")
        yield from output.results(state.record.id)

    def _pictures(self, state: JobState, model: _Model) -> list[str]:
        """Paths of all that the job made of a model, as far as it has come."""
        record = state.record
        options, style = record.request.cam_options(), record.request.figure_style()
        states = self._states(state, model)
        return [
            path.as_posix()
            for image, item_state in zip(model.images or [], states, strict=False)
            if item_state == "succeeded"
            for path in picture_files(Path(model.name), image.name, options, style)
        ]

    def _states(self, state: JobState, model: _Model) -> list[ItemState]:
        count = state.record.image_count
        states = self._store.item_states(state.record.id, state.record.total, ended=state.finished)
        return states[model.index * count : (model.index + 1) * count]

    def _explains(self, state: JobState, model: _Model, made: Provenance) -> bool:
        """Whether the job has made a picture of that image with that model."""
        states = self._states(state, model)
        return any(
            image.path == made.image and item_state == "succeeded"
            for image, item_state in zip(model.images or [], states, strict=False)
        )

    def _model(self, state: JobState, index: int) -> _Model:
        job = state.record.id
        images = self._store.chosen_images(state, index)
        facts = self._store.facts(job, index)
        classes = None if facts is None else tuple(json.loads(facts)["class_names"])
        name = state.record.models[index].name
        return _Model(name, index, images, self._store.run_digests(job, index), classes)

    def _model_of(self, state: JobState, path: str) -> _Model | None:
        names = [model.name for model in state.record.models]
        name = path.split("/", 1)[0]
        return self._model(state, names.index(name)) if name in names else None

    def _owned(
        self, state: JobState, items: Sequence[JobItem], models: Sequence[_Model]
    ) -> Iterator[JobItem]:
        """The items, those that succeeded with their figure or the reason why there is none."""
        figures = [
            PicturePaths(Path(model.name), item.image.name).main().as_posix()
            if item.image is not None
            else ""
            for item, model in zip(items, models, strict=True)
        ]
        wanted = [
            path for path, item in zip(figures, items, strict=True) if item.state == "succeeded"
        ]
        made_by = iter(self._places.output(state.record).provenance(wanted))
        for item, model, path in zip(items, models, figures, strict=True):
            if item.state != "succeeded":
                yield item
                continue
            made = next(made_by)
            if made is None or made.run_digest not in model.run_digests:
                why, by = self._replaced(state, model, made)
                yield replace(item, replaced=why, replaced_by=by)
            else:
                yield replace(item, figure=path, outdated=self._outdated(state, item.image, made))

    def _outdated(self, state: JobState, image: JobImage | None, made: Provenance) -> str | None:
        """Why a figure is not of the image as it is now, in words; None where it is."""
        path = f"{state.record.request.experiment}/{image.path}" if image else ""
        try:
            digest = self._digests.of(self._places.root.listed(path))
        except CamError:
            digest = None
        if digest is None:
            return "the image file is not there any more"
        return None if digest == made.image_sha256 else "the image file has changed since"

    def _replaced(
        self, state: JobState, model: _Model, made: Provenance | None
    ) -> tuple[str, str | None]:
        """In words what became of a picture, and the job that replaced it."""
        if made is None:
            job = self._remover(state, model)
            if job is not None:
                return f"removed by job {job}, which replaced the others", job
            return "the picture is not there any more", None
        job = self._maker(state, model.name, made.run_digest)
        if job is not None:
            return f"replaced by job {job}", job
        method = made.facts.get("options", {}).get("method", "unknown")
        return f"replaced by a command, or by a job that is forgotten (method {method})", None

    def _maker(self, state: JobState, model: str, run_digest: str) -> str | None:
        """Another job whose pictures of a model are in the same folder and have that recipe."""
        others = self._others(state, model)
        return next((other.record.id for other, digests in others if run_digest in digests), None)

    def _remover(self, state: JobState, model: _Model) -> str | None:
        """A later job that replaced what others had made of a model in the same folder."""
        for other, digests in self._others(state, model.name):
            is_later = other.record.created_at > state.record.created_at
            if (
                other.record.request.replace
                and is_later
                and digests
                and not digests & model.run_digests
            ):
                return other.record.id
        return None

    def _others(self, state: JobState, model: str) -> Iterator[tuple[JobState, frozenset[str]]]:
        """Other jobs with a model of that name in the same folder, and the recipes they used."""
        ids, _ = self._store.job_ids(0, _MOST_SEARCHED)
        for job in ids:
            other = self._store.state(job) if job != state.record.id else None
            if other is None or other.record.output != state.record.output:
                continue
            names = [chosen.name for chosen in other.record.models]
            if model in names:
                yield other, self._store.run_digests(job, names.index(model))


def _content(file: StoredFile) -> bytes:
    return b"".join(file.content())

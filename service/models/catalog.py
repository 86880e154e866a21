"""What the data root holds: experiments, their images, and models, without loading weights."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from cachetools import LRUCache, cached

from cam_engine.errors import CamError, CheckpointInvalid, DataUnavailable, error_of_item
from cam_engine.experiments.data_root import DataRoot, check_form
from cam_engine.experiments.finding import Experiment, FoundImages, ImageItem
from cam_engine.experiments.skipped import NOTHING, Skipped
from cam_engine.links import steps_of
from cam_engine.maps.grids import LayerGrid, layer_grids
from cam_engine.models.checkpoint_headers import CheckpointStalled, HeaderReader
from cam_engine.models.files.companions import companions_along
from cam_engine.models.header_reading import CheckpointHeader
from cam_engine.stores import access
from service.http.problems import ServiceError

_MOST_LISTS = 512
_MOST_FACTS = 512
_MAY_BE_MENDED = frozenset({"not-readable", "link-broken"})


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes when a file is replaced, or, of a model, one that belongs to it.

    steps: of a model, where its path leads, one link after the other.
    """

    path: Path
    mtime_ns: int
    size: int
    inode: int
    beside: tuple[FileStamp, ...] = ()
    steps: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One classifier: id "<experiment>/<folder>", and its file as it is now."""

    id: str
    experiment: str
    name: str
    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's file says of itself, and the grids of its layers; () where not known."""

    header: CheckpointHeader
    grids: tuple[LayerGrid, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a model's file says nothing: a stable code and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ExperimentEntry:
    """One experiment by its path below the data root; skipped: `cls_*` that are no models."""

    id: str
    experiment: Experiment
    models: tuple[ModelEntry, ...]
    skipped: Skipped = NOTHING


@dataclass(frozen=True, slots=True)
class ExperimentEntries:
    """All experiments, the newest run's first, and what was left out."""

    entries: tuple[ExperimentEntry, ...] = ()
    skipped: Skipped = NOTHING


class Catalog:
    """Looks into the data root; safe to call from several threads. Every method may block."""

    def __init__(self, root: Path, refresh_seconds: float) -> None:
        self.data = DataRoot(root)
        self.root = self.data.root
        self._refresh_seconds = refresh_seconds
        self._lock = threading.Lock()
        self._experiments = ExperimentEntries()
        self._looked = float("-inf")
        self._headers = HeaderReader()
        remembering = cached(LRUCache(_MOST_FACTS), lock=threading.Lock())
        self._facts: Callable[[FileStamp], ModelFacts | Unreadable] = remembering(self._read_facts)
        self._images: LRUCache[tuple[Path, ...], _Listed] = LRUCache(_MOST_LISTS)

    def experiments(self) -> tuple[ExperimentEntry, ...]:
        """All experiments, the newest run's first."""
        return self.found_experiments().entries

    def found_experiments(self) -> ExperimentEntries:
        """As `experiments`, with what was left out."""
        with self._lock:
            if time.monotonic() - self._looked > self._refresh_seconds:
                there = self.data.look_for_experiments()
                entries = tuple(self._entry(experiment) for experiment in there.experiments)
                self._experiments = ExperimentEntries(entries, there.skipped)
                self._looked = time.monotonic()
            return self._experiments

    def experiment(self, path: str) -> ExperimentEntry:
        """The experiment of that id. Raises PathOutsideRoot or ExperimentNotFound."""
        for entry in self.experiments():
            if entry.id == path.strip("/"):
                return entry
        return self._entry(self.data.experiment(path))

    def models(self) -> list[ModelEntry]:
        """All models, those of the newest run first."""
        return [model for entry in self.experiments() for model in entry.models]

    def model(self, wanted: str, experiment: ExperimentEntry | None = None) -> ModelEntry:
        """The model of that id; or the only one whose folder has that name.

        experiment: look there only. Raises PathOutsideRoot, or ServiceError "model-not-found" or
        "model-ambiguous".
        """
        check_form(wanted)
        among = self.models() if experiment is None else list(experiment.models)
        matching = [model for model in among if model.id == wanted] or [
            model for model in among if wanted in {model.name, model.name.removeprefix("cls_")}
        ]
        if len(matching) > 1:
            ids = ", ".join(model.id for model in matching[:5])
            raise ServiceError("model-ambiguous", f"{wanted!r} may mean {ids}; give a whole id")
        if not matching:
            where = "" if experiment is None else f" in {experiment.id}"
            names = ", ".join(model.id for model in among[:5]) or "none"
            more = ", ..." if len(among) > 5 else ""
            raise ServiceError(
                "model-not-found", f"there is no model {wanted!r}{where}; there are {names}{more}"
            )
        return matching[0]

    def best_model(self, experiment: ExperimentEntry | None = None) -> ModelEntry:
        """The model of highest val_acc in the experiment, or in the newest one with models.

        One that cannot be read only where all cannot. Raises "no-models-found".
        """
        among = self.experiments() if experiment is None else (experiment,)
        models = next((entry.models for entry in among if entry.models), ())
        if not models:
            where = "the data root" if experiment is None else experiment.id
            raise ServiceError(
                "no-models-found", f"no classification model in {where}: expected cls_*/best.pt"
            )
        return max(models, key=lambda model: (*self._worth(model), model.id))

    def facts(self, model: ModelEntry) -> ModelFacts | Unreadable:
        """What the model's file says, or why it says nothing, by its path, time and size.

        The file is looked into by another process, within limits on time and memory.
        """
        try:
            return self._facts(model.stamp)
        except _ForNow as answer:
            return answer.value

    def _read_facts(self, stamp: FileStamp) -> ModelFacts | Unreadable:
        """Raises _ForNow where the file was not to blame."""
        try:
            header = self._header(stamp.path)
        except (CheckpointStalled, DataUnavailable) as error:
            raise _ForNow(Unreadable(error.code, str(error))) from error
        except Exception as raised:  # one file's fault is not the others'
            fault = error_of_item(raised, stamp.path.parent.name)
            return Unreadable(fault.code, str(fault))
        if header.architecture is None or header.input_size is None:
            return ModelFacts(header, ())
        classes = len(header.class_names or ("one", "other"))
        try:
            return ModelFacts(header, _grids(header.architecture, classes, header.input_size))
        except CamError:  # loading will say so
            return ModelFacts(header, ())
        except Exception as raised:
            fault = error_of_item(raised, stamp.path.parent.name)
            return Unreadable(fault.code, str(fault))

    def _header(self, path: Path) -> CheckpointHeader:
        """Of a file in a bucket, from its two ends, or all of it where they do not say enough.

        Raises what reading it raises; DataUnavailable where the bucket does not answer.
        """
        try:
            access.bring_ends(path)
            return self._headers.read(path)
        except CheckpointStalled:
            raise
        except CheckpointInvalid:
            if not access.is_mirrored(path):
                raise
        access.bring(path)
        return self._headers.read(path)

    def images(self, entry: ExperimentEntry, split: str) -> tuple[ImageItem, ...]:
        """The split's images by path."""
        return self.found_images(entry, split).items

    def found_images(self, entry: ExperimentEntry, split: str) -> FoundImages:
        """The split's images, and what was left out; remembered until one of its folders changes.

        (Those are all that were looked into, also behind links.)
        """
        experiment = entry.experiment
        key = (*experiment.split_folders(split), Path(split))
        with self._lock:
            listed = self._images.get(key)
        if listed is not None and listed.holds():
            return listed.images
        images = self.data.look_for_images(experiment, split)
        # What is amiss may be mended without a change of these folders.
        amiss = any(kind.reason in _MAY_BE_MENDED for kind in images.skipped.kinds)
        until = time.monotonic() + self._refresh_seconds if amiss else float("inf")
        with self._lock:
            self._images[key] = _Listed(images, until)
        return images

    def _worth(self, model: ModelEntry) -> tuple[bool, float]:
        """(whether its file can be read, accuracy), to be compared."""
        facts = self.facts(model)
        if isinstance(facts, Unreadable):
            return False, -1.0
        accuracy = facts.header.val_accuracy
        return True, -1.0 if accuracy is None else accuracy

    def _entry(self, experiment: Experiment) -> ExperimentEntry:
        id_ = self.data.id_of(experiment.folder)
        listed = experiment.look_for_models(within=self.root)
        models = [
            ModelEntry(f"{id_}/{model.name}", id_, model.name, stamp)
            for model in listed.models
            if (stamp := self._stamp(model.checkpoint)) is not None
        ]
        return ExperimentEntry(id_, experiment, tuple(models), listed.skipped)

    def _stamp(self, checkpoint: Path) -> FileStamp | None:
        """None for a file that is gone, or a link that leads out of the data root."""
        try:
            stamp = model_stamp_of(checkpoint)
        except OSError:
            return None
        return stamp if all(step.is_relative_to(self.root) for step in stamp.steps) else None


def stamp_of(path: Path) -> FileStamp:
    """The file as it is now. Raises OSError.

    In a bucket's mirror its time tells it from all others; it may be another on the disk.
    """
    status = path.stat()
    inode = 0 if access.is_mirrored(path) else status.st_ino
    return FileStamp(path, status.st_mtime_ns, status.st_size, inode)


def model_stamp_of(checkpoint: Path) -> FileStamp:
    """A model's file as it is now, and the files that belong to it. Raises OSError."""
    return _with_companions(stamp_of(checkpoint), steps_of(checkpoint))


def restamped(stamp: FileStamp) -> FileStamp:
    """A model's file as it is now, which was once of that stamp. Raises OSError.

    Where it is the same file still, its links are not followed again: that is most of the time.
    """
    now = stamp_of(stamp.path)
    same = (now.mtime_ns, now.size, now.inode) == (stamp.mtime_ns, stamp.size, stamp.inode)
    return _with_companions(now, stamp.steps if same else steps_of(stamp.path))


def _with_companions(stamp: FileStamp, steps: tuple[Path, ...]) -> FileStamp:
    beside = tuple(stamp_of(path) for path in companions_along(stamp.path, steps))
    return replace(stamp, beside=beside, steps=steps)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A split's images, and until when (monotonic seconds) that holds, short of a change."""

    images: FoundImages
    until: float

    def holds(self) -> bool:
        """Whether no folder has changed since, as its time says."""
        unchanged = all(_time(folder) == then for folder, then in self.images.folders)
        return unchanged and time.monotonic() < self.until


class _ForNow(Exception):
    """An answer that is not to be remembered."""

    def __init__(self, value: Unreadable) -> None:
        super().__init__(value)
        self.value = value


# Networks of one kind have the same grids.
_grids = lru_cache(maxsize=128)(layer_grids)


def _time(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None

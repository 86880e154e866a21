"""The data root: experiments by their paths below it, and paths from outside confined to it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import (
    ExperimentNotFound,
    ImageNotFound,
    ImageTooLarge,
    InvalidImage,
    NoModelsFound,
    PathOutsideRoot,
)
from cam_engine.experiments.finding import (
    Experiment,
    FoundImages,
    FoundModels,
    ImageItem,
    ModelFolder,
    all_experiments,
)
from cam_engine.experiments.skipped import NOTHING, Skipped, Tally
from cam_engine.images.decoding import DEFAULT_LIMITS, ImageLimits
from cam_engine.short_names import speakable
from cam_engine.stores import access

_CONTROL = re.compile("[\x00-\x1f]")
_LONGEST_PATH = 1024
_LONGEST_NAME = 255  # bytes, on all common file systems
_DECODINGS = 3


@dataclass(frozen=True, slots=True)
class FoundExperiments:
    """Experiments, the newest run's first, and what was left out."""

    experiments: tuple[Experiment, ...] = ()
    skipped: Skipped = NOTHING


class DataRoot:
    """One folder of experiments, known by their paths below it ("run/experiments/experiment_x")."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        # An experiment as the root goes by its folder's name: an id must not be empty.
        itself = Experiment(self.root).holds_models
        self._base = self.root.parent if itself else self.root

    def experiments(self) -> list[Experiment]:
        """All experiments, the newest run's first; [] where there is no such folder."""
        return list(self.look_for_experiments().experiments)

    def look_for_experiments(self) -> FoundExperiments:
        """As `experiments`, with those that lead out of the root counted."""
        kept, tally = [], Tally()
        may_be_there = self.root.is_dir() or access.is_mirrored(self.root)
        there = all_experiments(self.root) if may_be_there else []
        for experiment in reversed(there):
            if not _is_utf8(experiment.folder):
                tally.add("name-not-utf8", experiment.name)
            elif not self.holds(experiment.folder):
                tally.add("leads-out")
            else:
                kept.append(experiment)
        return FoundExperiments(tuple(kept), tally.skipped())

    def experiment(self, id_: str) -> Experiment:
        """The experiment of that id. Raises PathOutsideRoot or ExperimentNotFound."""
        wanted = id_.strip("/")
        if wanted:
            self.inside(wanted)
        for experiment in self.experiments():
            if self.id_of(experiment.folder) == wanted:
                return experiment
        raise ExperimentNotFound(
            f"there is no experiment {id_!r}; GET /v1/experiments lists those that there are"
        )

    def models(self, experiment: Experiment, wanted: Sequence[str] = ()) -> list[ModelFolder]:
        """As the experiment's own, without those that cannot be had: see `look_for_models`.

        Raises NoModelsFound.
        """
        there = self.look_for_models(experiment)
        below = [model for model in experiment.models(wanted) if model in there.models]
        if not below:
            why = f": skipped: {there.skipped.words}" if there.skipped else ""
            raise NoModelsFound(
                f"the checkpoints of {experiment.name} lead out of the data root, or cannot be "
                f"named{why}"
            )
        return below

    def look_for_models(self, experiment: Experiment) -> FoundModels:
        """Those whose checkpoints are below the root, and can be named in JSON."""
        there = experiment.look_for_models(within=self.root)
        tally = Tally.of(there.skipped.kinds)
        kept = []
        for model in there.models:
            if _is_utf8(model.checkpoint):
                kept.append(model)
            else:
                tally.add("name-not-utf8", model.name)
        return FoundModels(tuple(kept), tally.skipped())

    def images(self, experiment: Experiment, split: str = "test") -> list[ImageItem]:
        """As `look_for_images`, without what was left out. Raises NoImagesFound."""
        listed = self.look_for_images(experiment, split)
        if not listed.items:
            raise experiment.no_images(split, listed.skipped)
        return list(listed.items)

    def look_for_images(self, experiment: Experiment, split: str = "test") -> FoundImages:
        """Those that are below the root once links are followed, and can be named in JSON."""
        return experiment.look_for_images(split, within=self.root)

    def read_image(self, path: Path, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
        """Bytes of an image below the root; see `open_image`. Raises also ImageTooLarge."""
        with self.open_image(path) as file:
            data = file.read(limits.max_bytes + 1)
        if len(data) > limits.max_bytes:
            raise ImageTooLarge(f"the image has more than the {limits.max_bytes:,} bytes allowed")
        return data

    @contextmanager
    def open_image(self, path: Path) -> Iterator[BufferedReader]:
        """An image below the root, also where links within the root lead to it, to be read.

        Whoever exchanges it for a link out of the root while it is opened gains nothing. Raises
        PathOutsideRoot, ImageNotFound or InvalidImage.
        """
        try:
            below = self._below(path)
            access.bring(self.root / below)
            with ConfinedFolder(self.root).opened(below) as file:
                yield file
        except FileNotFoundError as error:
            raise ImageNotFound(f"no such image in {path.parent}") from error
        except OSError as error:
            raise InvalidImage(f"{path.name} could not be read ({error.strerror})") from error

    def _below(self, path: Path) -> Path:
        try:
            return path.resolve().relative_to(self.root)
        except (RuntimeError, ValueError) as error:  # a loop of links; not below the root
            raise _outside() from error

    def holds(self, path: Path) -> bool:
        """Whether a path can be named in JSON, and leads to something below the root."""
        try:
            return _is_utf8(path) and path.resolve().is_relative_to(self.root)
        except (OSError, RuntimeError, ValueError):
            return False

    def id_of(self, path: Path) -> str:
        """A path below the root as ids say it."""
        return path.relative_to(self._base).as_posix()

    def without_root(self, text: str) -> str:
        """A message with paths as ids say them."""
        return without_root(text, self._base)

    def inside(self, relative: str) -> Path:
        """A file or folder below the root by its id, links resolved; see `inside`."""
        check_form(relative)
        return self.listed(relative)

    def listed(self, id_: str) -> Path:
        """As `inside`, of an id that our own listing gave: files may be named in any way.

        Raises PathOutsideRoot where links, or "..", lead out.
        """
        path = _resolved(self._base, id_)
        if not path.is_relative_to(self.root):
            raise _outside()
        return path


def without_root(text: str, root: Path) -> str:
    """A message without where a root is on the disk: its paths begin below it."""
    forms = {str(root), str(root.absolute()), str(root.resolve()), access.shown(root)}
    for form in sorted(forms, reverse=True):
        if len(form) > 1:  # not of the file system's own root, or of "."
            text = text.replace(f"{form}/", "").replace(form, "the data root")
    return text


def check_form(relative: str) -> None:
    """Refuse what could lead elsewhere by its form alone: see `inside`. Raises PathOutsideRoot."""
    if any(_suspicious(form) for form in _decoded_forms(relative)):
        raise _outside()


def inside(root: Path, relative: str) -> Path:
    """The file or folder below the root, links resolved; it need not exist.

    Raises PathOutsideRoot for whatever could lead elsewhere: absolute paths, "..", NUL,
    backslashes, their percent-encoded forms however often encoded, and links out of the root.
    """
    check_form(relative)
    return _resolved(root, relative)


def _is_utf8(path: Path) -> bool:
    return speakable(str(path)) == str(path)


def _resolved(root: Path, relative: str) -> Path:
    try:
        resolved = (root / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long
        raise _outside() from error
    if not resolved.is_relative_to(root.resolve()):
        raise _outside()
    return resolved


def _decoded_forms(text: str) -> list[str]:
    forms = [text]
    for _ in range(_DECODINGS):
        forms.append(unquote(forms[-1], errors="replace"))
    return forms


def _suspicious(path: str) -> bool:
    return (
        not path
        or len(path) > _LONGEST_PATH
        or _CONTROL.search(path) is not None
        or "\\" in path
        or PurePosixPath(path).is_absolute()
        or bool(PureWindowsPath(path).drive)
        or ".." in PurePosixPath(path).parts
        or path.startswith("~")
        or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.split("/"))
    )


def _outside() -> PathOutsideRoot:
    return PathOutsideRoot(
        "the path leads out of the data root, or could; give one below it, with / between its "
        "parts and without .., as /v1/experiments and its images list them"
    )

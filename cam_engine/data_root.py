"""The data root: experiments by their paths below it, and paths from outside confined to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from cam_engine.confined import ConfinedFolder
from cam_engine.decoding import DEFAULT_LIMITS, ImageLimits
from cam_engine.errors import (
    ExperimentNotFound,
    ImageNotFound,
    ImageTooLarge,
    InvalidImage,
    NoImagesFound,
    NoModelsFound,
    PathOutsideRoot,
)
from cam_engine.experiments import Experiment, ImageItem, ModelFolder, all_experiments

_LONGEST_PATH = 1024
_LONGEST_NAME = 255  # bytes, on all common file systems
_DECODINGS = 3


class DataRoot:
    """One folder of experiments, known by their paths below it ("run/experiments/experiment_x")."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        # An experiment as the root goes by its folder's name: an id must not be empty.
        itself = Experiment(self.root).holds_models
        self._base = self.root.parent if itself else self.root

    def experiments(self) -> list[Experiment]:
        """All experiments, the newest run's first; [] where there is no such folder."""
        found = all_experiments(self.root) if self.root.is_dir() else []
        return [one for one in reversed(found) if self.holds(one.folder)]

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
        """As the experiment's own, without those whose checkpoint leads out of the root.

        Raises NoModelsFound.
        """
        found = [one for one in experiment.models(wanted) if self.holds(one.checkpoint)]
        if not found:
            raise NoModelsFound(f"the checkpoints of {experiment.name} lead out of the data root")
        return found

    def images(self, experiment: Experiment, split: str = "test") -> list[ImageItem]:
        """As the experiment's own, without those that lead out of the root.

        Raises NoImagesFound.
        """
        found = [one for one in experiment.images(split) if self.holds(one.path)]
        if not found:
            raise NoImagesFound(f"the images of {experiment.name} lead out of the data root")
        return found

    def read_image(self, path: Path, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
        """Bytes of an image below the root, also where links within the root lead to it.

        Whoever exchanges it for a link out of the root while it is opened gains nothing. Raises
        PathOutsideRoot, ImageNotFound, InvalidImage or ImageTooLarge.
        """
        try:
            below = path.resolve().relative_to(self.root)
            with ConfinedFolder(self.root).opened(below) as file:
                data = file.read(limits.max_bytes + 1)
        except FileNotFoundError as error:
            raise ImageNotFound(f"no such image in {path.parent}") from error
        except OSError as error:
            raise InvalidImage(f"{path.name} could not be read ({error.strerror})") from error
        except (RuntimeError, ValueError) as error:  # a loop of links; not below the root
            raise _outside() from error
        if len(data) > limits.max_bytes:
            raise ImageTooLarge(f"the image has more than the {limits.max_bytes:,} bytes allowed")
        return data

    def holds(self, path: Path) -> bool:
        """Whether a path can be named in JSON, and leads to something below the root."""
        try:
            path.as_posix().encode()
            return path.resolve().is_relative_to(self.root)
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
    for form in sorted({str(root), str(root.absolute()), str(root.resolve())}, reverse=True):
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
        or any(ord(character) < ord(" ") for character in path)
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

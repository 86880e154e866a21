"""Where jobs keep their outputs: the protocol, and a folder that all machines share.

The other implementation, in `object_storage`, is an S3-compatible store.
"""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cam_engine import output_lock
from cam_engine.data_root import DataRoot, inside
from cam_engine.errors import InvalidOption
from cam_engine.experiments import DEFAULT_OUTPUT, ImageItem
from cam_engine.output_lock import RUN_MANIFEST, RUNS
from cam_engine.outputs import (
    ModelSummary,
    PicturePaths,
    make_folder,
    remove_half_written,
    write_atomically,
    write_merged_summary,
    write_model_summary,
)
from cam_engine.png import read_png_text
from worker.contract import JobRequest


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an output folder by its path there.

    content: where it lies on this file system, or what reads it from where it is.
    """

    path: str
    size: int
    content: Path | Callable[[], Iterator[bytes]]

    @property
    def media_type(self) -> str:
        """By its name."""
        return media_type(self.path)


class Workspace(Protocol):
    """Where a worker writes the pictures of a chunk."""

    @property
    def folder(self) -> Path:
        """The folder to write into."""

    def made_before(self, run: str, items: Sequence[ImageItem]) -> frozenset[int]:
        """Items, by position, whose whole pictures were made by the run of that digest.

        Only those that cannot be seen in `folder`.
        """

    def publish(self, files: Sequence[Path], then: Callable[[], None]) -> None:
        """An image's files are written, the main figure being the last one.

        `then` is called in the caller's thread once they are where they belong, image after image,
        perhaps at a later call. Raises OutputNotWritable.
        """

    def wait(self) -> None:
        """Return once all that was published is where it belongs. Raises OutputNotWritable."""


class OutputFolder(Protocol):
    """The output of a job: a folder a model, summaries, and `runs/<job>/manifest.json`.

    What writes raises OutputNotWritable; what reads raises OSError, FileNotFoundError among them.
    """

    @property
    def shown(self) -> str:
        """For people: its path below the root."""

    def acquire(self, model: str, job: str) -> None:
        """Take a model's folder for a job, or keep it. Raises OutputBusy."""

    def release(self, model: str, job: str) -> None:
        """Let a model's folder go; nothing happens where another has it."""

    def workspace(self, model: str) -> AbstractContextManager[Workspace]:
        """Where the model's pictures are written."""

    def figure_texts(self, model: str, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """Text chunks of main figures, one after the other. Raises CamError."""

    def write_summaries(self, summaries: Sequence[ModelSummary]) -> None:
        """Each model's, and the merged ones of all models in the folder."""

    def remove_half_written(self, model: str) -> None:
        """Clear what killed workers left in the folder of a model that nobody writes to now."""

    def write_run(self, job: str, manifest: bytes, *, finished: bool) -> None:
        """A run's manifest."""

    def read_run(self, job: str) -> bytes:
        """A run's manifest."""

    def remove_run(self, job: str) -> None:
        """Remove a run's manifest, if it is there."""

    def file(self, path: str) -> StoredFile | None:
        """The file of that path; None for those that are not there or not shown.

        Raises PathOutsideRoot.
        """

    def files(self, model: str) -> Iterator[StoredFile]:
        """All files that are shown of a model's folder, by name."""


class OutputStorage(Protocol):
    """All jobs' outputs."""

    def folder(self, request: JobRequest) -> OutputFolder:
        """The output of a job. Raises CamError where it cannot have one."""

    def run_manifests(self) -> Iterator[bytes]:
        """Manifests of all runs that have not ended, and perhaps of others."""


def media_type(path: str) -> str:
    """By the name's suffix."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


class PosixStorage:
    """Below the data root beside each experiment, or in folders of the output root."""

    def __init__(self, root: DataRoot, output_root: Path | None) -> None:
        self._root = root
        self._output_root = output_root

    def folder(self, request: JobRequest) -> OutputFolder:
        """The experiment's own output folder, or the named one. Raises CamError."""
        if request.output is None:
            path = self._root.experiment(request.experiment).folder / DEFAULT_OUTPUT
        elif self._output_root is None:
            raise InvalidOption("output: GRADCAM_OUTPUT_ROOT is not set, so none may be named")
        else:
            path = inside(self._output_root, request.output)
        return PosixFolder(path, self._shown(path))

    def run_manifests(self) -> Iterator[bytes]:
        """Those of all folders that jobs may have written into."""
        outputs = [one.folder / DEFAULT_OUTPUT for one in self._root.experiments()]
        if self._output_root is not None and self._output_root.is_dir():
            outputs += [path.parent for path in self._output_root.glob("**/runs") if path.is_dir()]
        for output in outputs:
            for path in sorted((output / RUNS).glob(f"*/{RUN_MANIFEST}")):
                try:
                    yield path.read_bytes()
                except OSError:
                    continue

    def _shown(self, path: Path) -> str:
        try:
            return self._root.id_of(path)
        except ValueError:
            return path.name


class PosixFolder:
    """A folder on storage that all machines share; pictures are written where they belong."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    @property
    def shown(self) -> str:
        """Its path below the data root, or its name."""
        return self._shown

    def acquire(self, model: str, job: str) -> None:
        """By the lock file that command lines respect too. Raises OutputBusy."""
        output_lock.acquire(self._path / model, output_lock.for_job(job))

    def release(self, model: str, job: str) -> None:
        """Remove the lock file, where it is the job's."""
        output_lock.release(self._path / model, output_lock.for_job(job))

    @contextmanager
    def workspace(self, model: str) -> Iterator[Workspace]:
        """The model's folder itself. Raises OutputNotWritable."""
        folder = self._path / model
        make_folder(folder)
        yield _InPlace(folder)

    def figure_texts(self, model: str, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """Text chunks of main figures. Raises ImageNotFound or InvalidImage."""
        for name in names:
            yield read_png_text(PicturePaths(self._path / model, name).main())

    def write_summaries(self, summaries: Sequence[ModelSummary]) -> None:
        """Each model's, and the merged ones. Raises OutputNotWritable."""
        for summary in summaries:
            write_model_summary(self._path / summary.facts.model, summary)
        write_merged_summary(self._path)

    def remove_half_written(self, model: str) -> None:
        """Files under temporary names. Raises OutputNotWritable."""
        remove_half_written(self._path / model)

    def write_run(self, job: str, manifest: bytes, *, finished: bool) -> None:
        """A run's manifest. Raises OSError or OutputNotWritable."""
        path = self._run(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, manifest)

    def read_run(self, job: str) -> bytes:
        """A run's manifest. Raises OSError."""
        return self._run(job).read_bytes()

    def remove_run(self, job: str) -> None:
        """The manifest and its folder."""
        shutil.rmtree(self._run(job).parent, ignore_errors=True)

    def file(self, path: str) -> StoredFile | None:
        """The file, unless its name begins with a dot. Raises PathOutsideRoot."""
        found = inside(self._path, path)
        return StoredFile(path, found.stat().st_size, found) if _is_shown(found) else None

    def files(self, model: str) -> Iterator[StoredFile]:
        """All files below the model's folder."""
        for path in sorted((self._path / model).rglob("*")):
            if _is_shown(path):
                name = path.relative_to(self._path).as_posix()
                yield StoredFile(name, path.stat().st_size, path)

    def _run(self, job: str) -> Path:
        return self._path / RUNS / job / RUN_MANIFEST


@dataclass(frozen=True, slots=True)
class _InPlace:
    """The folder where pictures stay: who looks there sees them."""

    folder: Path

    def made_before(self, run: str, items: Sequence[ImageItem]) -> frozenset[int]:
        return frozenset()

    def publish(self, files: Sequence[Path], then: Callable[[], None]) -> None:
        then()

    def wait(self) -> None:
        return


def _is_shown(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")

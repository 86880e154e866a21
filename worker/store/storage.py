"""Where jobs keep their outputs: the protocol, and a folder that all machines share.

The other implementation, in `object_storage`, is an S3-compatible store. In both an output folder
is whole in itself: a folder a model, summaries, and `runs/<job>/` with the job's manifest and, once
it has ended, its own summaries in `results/`. `sets/<name>/` in it are output folders again.
"""

from __future__ import annotations

import mimetypes
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from cam_engine import output_lock
from cam_engine.data_root import DataRoot, inside
from cam_engine.errors import InvalidOption, OutputNotWritable
from cam_engine.experiments import DEFAULT_OUTPUT, ImageItem
from cam_engine.output_lock import RUN_MANIFEST, RUNS
from cam_engine.outputs import (
    MAIN_PREFIX,
    ModelSummary,
    PicturePaths,
    make_folder,
    make_plain_folder,
    remove_half_written,
    write_atomically,
    write_merged_summary,
    write_model_summary,
)
from cam_engine.png import read_png_text
from cam_engine.provenance import Provenance, read_provenance, remove_made_otherwise
from worker.contract import SETS, JobFolder, JobRequest

RESULTS = "results"

_ANY_MAY_WRITE = 0o222


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
    """The output of a job.

    What writes raises OutputNotWritable; what reads raises OSError, FileNotFoundError among them.
    """

    @property
    def shown(self) -> str:
        """For people: its path below the root."""

    def check_writable(self) -> None:
        """Raise OutputNotWritable where it is known beforehand that nothing can be written."""

    def acquire(self, model: str, job: str) -> None:
        """Take a model's folder for a job, or keep it. Raises OutputBusy."""

    def release(self, model: str, job: str) -> None:
        """Let a model's folder go; nothing happens where another has it."""

    def workspace(self, model: str) -> AbstractContextManager[Workspace]:
        """Where the model's pictures are written."""

    def figure_texts(self, model: str, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """Text chunks of main figures, one after the other. Raises CamError."""

    def figures(self, model: str) -> list[str]:
        """Names of the images that a main figure is there for."""

    def provenance(self, paths: Sequence[str]) -> Iterator[Provenance | None]:
        """What made the PNGs of these paths; None for those not there, and not of ours."""

    def remove_made_otherwise(self, model: str, runs: Collection[str]) -> int:
        """Remove the model's pictures that runs other than these made; how many files."""

    def write_summaries(self, summaries: Sequence[ModelSummary]) -> None:
        """Each model's, and the merged ones of all models in the folder."""

    def write_results(self, job: str, summaries: Sequence[ModelSummary]) -> None:
        """The same three files of the job's models alone, kept with its run for good."""

    def results(self, job: str) -> Iterator[StoredFile]:
        """What `write_results` wrote, by paths as in the output folder."""

    def remove_half_written(self, model: str) -> None:
        """Clear what killed workers left in the folder of a model that nobody writes to now."""

    def write_run(self, job: str, manifest: bytes, *, finished: bool) -> None:
        """A run's manifest."""

    def read_run(self, job: str) -> bytes:
        """A run's manifest."""

    def remove_run(self, job: str) -> None:
        """Remove all that is kept of a run, if it is there."""

    def file(self, path: str) -> StoredFile | None:
        """The file of that path; None for those that are not there or not shown.

        Raises PathOutsideRoot.
        """


class OutputStorage(Protocol):
    """All jobs' outputs."""

    def place(self, request: JobRequest) -> JobFolder:
        """Where the pictures of a request go, sets apart. Raises CamError."""

    def open(self, folder: JobFolder) -> OutputFolder:
        """The output there. Raises PathOutsideRoot or InvalidOption."""

    def run_manifests(self) -> Iterator[bytes]:
        """Manifests of all runs that have not ended, and perhaps of others."""


def media_type(path: str) -> str:
    """By the name's suffix."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


class PosixStorage:
    """Below the output root where there is one, else below the data root beside each experiment."""

    def __init__(self, root: DataRoot, output_root: Path | None) -> None:
        self._root = root
        self._output_root = output_root

    def place(self, request: JobRequest) -> JobFolder:
        """The experiment's own output folder, or the named one. Raises CamError."""
        if request.output is None:
            experiment = self._root.experiment(request.experiment)
            path = f"{self._root.id_of(experiment.folder)}/{DEFAULT_OUTPUT}"
            return JobFolder(below="output" if self._output_root else "data", path=path)
        if self._output_root is None:
            raise InvalidOption("output: GRADCAM_OUTPUT_ROOT is not set, so none may be named")
        inside(self._output_root, request.output)
        return JobFolder(below="output", path=PurePosixPath(request.output).as_posix())

    def open(self, folder: JobFolder) -> OutputFolder:
        """Raises PathOutsideRoot; InvalidOption where the output root is not set any more."""
        if folder.below == "data":
            return PosixFolder(self._root.inside(folder.path), folder.path)
        if self._output_root is None or folder.below != "output":
            raise InvalidOption(
                f"{folder.path}: the job's pictures are not below a place that is set now; see "
                "GRADCAM_OUTPUT_ROOT and GRADCAM_OUTPUT_STORE"
            )
        return PosixFolder(inside(self._output_root, folder.path), folder.path)

    def run_manifests(self) -> Iterator[bytes]:
        """Those of all folders that jobs may have written into."""
        own = [one.folder / DEFAULT_OUTPUT for one in self._root.experiments()]
        outputs = [place for one in own for place in (one, *sorted((one / SETS).glob("*")))]
        if self._output_root is not None and self._output_root.is_dir():
            outputs += [path.parent for path in self._output_root.glob("**/runs") if path.is_dir()]
        for output in outputs:
            for path in sorted((output / RUNS).glob(f"*/{RUN_MANIFEST}")):
                try:
                    yield path.read_bytes()
                except OSError:
                    continue


class PosixFolder:
    """A folder on storage that all machines share; pictures are written where they belong."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    @property
    def shown(self) -> str:
        """Its path below the data root or the output root."""
        return self._shown

    def check_writable(self) -> None:
        """By what the mount and the modes say: an administrator's process passes the latter."""
        there = next(one for one in (self._path, *self._path.parents) if one.exists())
        why = None
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            why = "its file system is mounted read-only"
        elif not there.stat().st_mode & _ANY_MAY_WRITE:
            why = f"the folder {there.name} is marked read-only"
        elif not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            why = f"this process may not write into {there.name}"
        if why is not None:
            raise OutputNotWritable(
                f"cannot write to {self._shown}: {why}; set GRADCAM_OUTPUT_ROOT to a folder that "
                "can be written to, which jobs then use"
            )

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

    def figures(self, model: str) -> list[str]:
        """By the files' names."""
        found = (self._path / model).glob(f"{MAIN_PREFIX}*.png")
        return sorted(path.stem.removeprefix(MAIN_PREFIX) for path in found)

    def provenance(self, paths: Sequence[str]) -> Iterator[Provenance | None]:
        """Read when it is asked for."""
        return (read_provenance(self._path / path) for path in paths)

    def remove_made_otherwise(self, model: str, runs: Collection[str]) -> int:
        """Raises OutputNotWritable."""
        return remove_made_otherwise(self._path / model, runs)

    def write_summaries(self, summaries: Sequence[ModelSummary]) -> None:
        """Each model's, and the merged ones. Raises OutputNotWritable."""
        for summary in summaries:
            write_model_summary(self._path / summary.facts.model, summary)
        write_merged_summary(self._path)

    def write_results(self, job: str, summaries: Sequence[ModelSummary]) -> None:
        """Raises OutputNotWritable."""
        write_summaries_into(self._results(job), summaries)

    def results(self, job: str) -> Iterator[StoredFile]:
        """[] before the job has ended, and of jobs that older versions did."""
        folder = self._results(job)
        for path in sorted(folder.rglob("*")):
            if _is_shown(path):
                yield StoredFile(path.relative_to(folder).as_posix(), path.stat().st_size, path)

    def remove_half_written(self, model: str) -> None:
        """Files under temporary names. Raises OutputNotWritable."""
        remove_half_written(self._path / model)

    def write_run(self, job: str, manifest: bytes, *, finished: bool) -> None:
        """A run's manifest. Raises OutputNotWritable."""
        path = self._run(job)
        make_plain_folder(path.parent)
        write_atomically(path, manifest)

    def read_run(self, job: str) -> bytes:
        """A run's manifest. Raises OSError."""
        return self._run(job).read_bytes()

    def remove_run(self, job: str) -> None:
        """Its whole folder."""
        shutil.rmtree(self._run(job).parent, ignore_errors=True)

    def file(self, path: str) -> StoredFile | None:
        """The file, unless its name begins with a dot. Raises PathOutsideRoot."""
        found = inside(self._path, path)
        return StoredFile(path, found.stat().st_size, found) if _is_shown(found) else None

    def _run(self, job: str) -> Path:
        return self._path / RUNS / job / RUN_MANIFEST

    def _results(self, job: str) -> Path:
        return self._path / RUNS / job / RESULTS


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


def write_summaries_into(folder: Path, summaries: Sequence[ModelSummary]) -> None:
    """Each model's summary below an empty folder, and the merged one. Raises OutputNotWritable."""
    for summary in summaries:
        make_plain_folder(folder / summary.facts.model)
        write_model_summary(folder / summary.facts.model, summary)
    write_merged_summary(folder)


def _is_shown(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")

"""Outputs of jobs in a folder that all machines share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import CamError, InvalidOption, OutputNotWritable, PathOutsideRoot
from cam_engine.experiments.data_root import DataRoot, inside
from cam_engine.experiments.finding import DEFAULT_OUTPUT, ImageItem
from cam_engine.images.png import MAIN_PREFIX
from cam_engine.outputs import folder_lock as output_lock
from cam_engine.outputs.files import (
    COMPONENTS,
    PicturePaths,
    make_folder,
    make_plain_folder,
    not_writable,
    remove_half_written,
    write_into,
)
from cam_engine.outputs.folder_lock import (
    JOB_FILE,
    OLDER_JOB_FILE,
    RUNS,
    is_job_id,
    read_job_file,
)
from cam_engine.outputs.provenance import Provenance, provenance_in, remove_made_otherwise, text_in
from cam_engine.outputs.summaries import ModelSummary, write_merged_summary, write_model_summary
from cam_engine.stores.access import is_mirrored
from worker.jobs.contract import SET_NAME, SETS, Below, JobFolder, JobRequest
from worker.jobs.outputs.storage import (
    RESULTS,
    FoundJob,
    OutputFolder,
    StoredFile,
    Workspace,
    write_summaries_into,
)

_ANY_MAY_WRITE = 0o222
_PIECE_BYTES = 1 << 18
_DEEPEST_OUTPUT = 64  # levels of folders
_OF_AN_EXPERIMENT = re.compile(
    f"(?P<experiment>.+)/(?P<output>{DEFAULT_OUTPUT}(/{SETS}/{SET_NAME})?)"
)


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
        return self._folder(folder)

    def _folder(self, folder: JobFolder) -> PosixFolder:
        if folder.below == "data":
            return PosixFolder(self._beside_experiment(folder.path))
        if self._output_root is None or folder.below != "output":
            raise InvalidOption(
                f"{folder.path}: the job's pictures are not below a place that is set now; see "
                "GRADCAM_OUTPUT_ROOT and GRADCAM_OUTPUT_STORE"
            )
        return PosixFolder(ConfinedFolder(self._output_root, folder.path, shown=folder.path))

    def unfinished_jobs(self) -> Iterator[FoundJob]:
        """Those of all folders that jobs may have written into."""
        for folder in (*self._beside_experiments(), *self._below_output_root()):
            # A name that no job can have given, or a folder that may not be read.
            with suppress(CamError, OSError):
                yield from self._folder(folder).found_jobs(folder)

    def _beside_experiment(self, path: str) -> ConfinedFolder:
        """The experiment may be reached through links within the root; below it none is followed.

        Raises PathOutsideRoot for what is no output folder of an experiment, or a set in one.
        """
        parts = _OF_AN_EXPERIMENT.fullmatch(path)
        if parts is None:
            raise PathOutsideRoot(f"{path!r} is no folder for pictures of jobs")
        experiment = self._root.inside(parts["experiment"]).relative_to(self._root.root)
        return ConfinedFolder(self._root.root, experiment / parts["output"], shown=path)

    def _beside_experiments(self) -> Iterator[JobFolder]:
        if is_mirrored(self._root.root):  # nothing is put there
            return
        for experiment in self._root.experiments():
            path = f"{self._root.id_of(experiment.folder)}/{DEFAULT_OUTPUT}"
            yield from _job_folders("data", [path])
            sets = _folders(ConfinedFolder(experiment.folder), f"{DEFAULT_OUTPUT}/{SETS}")
            yield from _job_folders("data", (f"{path}/{SETS}/{name}" for name in sets))

    def _below_output_root(self) -> Iterator[JobFolder]:
        if self._output_root is not None and self._output_root.is_dir():
            yield from _job_folders("output", _with_runs(ConfinedFolder(self._output_root), "."))


class PosixFolder:
    """A folder on storage that all machines share; pictures are written where they belong."""

    def __init__(self, folder: ConfinedFolder) -> None:
        self._folder = folder

    @property
    def shown(self) -> str:
        """Its path below the data root or the output root."""
        return self._folder.shown()

    def check_writable(self) -> None:
        """By what the mount and the modes say: an administrator's process passes the latter."""
        try:
            self._folder.check()
        except OSError as error:
            raise not_writable(self.shown, error) from error
        path = self._folder.path
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        why = None
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            why = "its file system is mounted read-only"
        elif not there.stat().st_mode & _ANY_MAY_WRITE:
            why = f"the folder {there.name} is marked read-only"
        elif not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            why = f"this process may not write into {there.name}"
        if why is not None:
            raise OutputNotWritable(
                f"cannot write to {self.shown}: {why}; set GRADCAM_OUTPUT_ROOT to a folder that "
                "can be written to, which jobs then use"
            )

    def acquire(self, model: str, job: str) -> None:
        """By the lock file that command lines respect too. Raises OutputBusy."""
        output_lock.acquire(self._folder.within(model), output_lock.for_job(job))

    def release(self, model: str, job: str) -> None:
        """Remove the lock file, where it is the job's."""
        output_lock.release(self._folder.within(model), output_lock.for_job(job))

    @contextmanager
    def workspace(self, model: str) -> Iterator[Workspace]:
        """The model's folder itself. Raises OutputNotWritable."""
        folder = self._folder.within(model)
        make_folder(folder)
        yield _InPlace(folder)

    def figure_texts(self, model: str, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """Text chunks of main figures. Raises ImageNotFound or InvalidImage."""
        for name in names:
            yield text_in(self._folder, PicturePaths(Path(model), name).main())

    def figures(self, model: str) -> list[str]:
        """By the files' names."""
        return sorted(
            name.removeprefix(MAIN_PREFIX).removesuffix(".png")
            for name in self._folder.files(model)
            if name.startswith(MAIN_PREFIX) and name.endswith(".png")
        )

    def provenance(self, paths: Sequence[str]) -> Iterator[Provenance | None]:
        """Read when it is asked for."""
        return (provenance_in(self._folder, path) for path in paths)

    def remove_made_otherwise(self, model: str, run_digests: Collection[str]) -> int:
        """Raises OutputNotWritable."""
        return remove_made_otherwise(self._folder.within(model), run_digests)

    def write_summaries(self, summaries: Sequence[ModelSummary]) -> None:
        """Each model's, and the merged ones. Raises OutputNotWritable."""
        for summary in summaries:
            write_model_summary(self._folder.within(summary.facts.model), summary)
        write_merged_summary(self._folder, summaries)

    def write_results(self, job: str, summaries: Sequence[ModelSummary]) -> None:
        """Raises OutputNotWritable."""
        write_summaries_into(self._folder.within(f"{RUNS}/{job}/{RESULTS}"), summaries)

    def results(self, job: str) -> Iterator[StoredFile]:
        """[] before the job has ended, and of jobs that older versions did."""
        folder = self._folder.within(f"{RUNS}/{job}/{RESULTS}")
        for path in folder.files_below(levels=1):
            if (file := _stored(folder, path)) is not None:
                yield file

    def remove_half_written(self, model: str) -> None:
        """Files under temporary names. Raises OutputNotWritable."""
        remove_half_written(self._folder.within(model))

    def write_job_file(self, job: str, content: bytes, *, finished: bool) -> None:
        """A job's file. Raises OutputNotWritable."""
        job_folder = self._folder.within(f"{RUNS}/{job}")
        make_plain_folder(job_folder)
        write_into(job_folder, JOB_FILE, content)
        job_folder.remove(OLDER_JOB_FILE)

    def read_job_file(self, job: str) -> bytes:
        """A job's file. Raises OSError."""
        return read_job_file(self._folder, job)

    def remove_job(self, job: str) -> None:
        """Its whole folder. Raises OutputNotWritable."""
        try:
            self._folder.remove_tree(f"{RUNS}/{job}")
        except OSError as error:
            raise not_writable(self._folder.shown(f"{RUNS}/{job}"), error) from error

    def file(self, path: str) -> StoredFile | None:
        """The file, unless its name begins with a dot. Raises PathOutsideRoot."""
        return _stored(self._folder, PurePosixPath(path).as_posix())

    def found_jobs(self, folder: JobFolder) -> Iterator[FoundJob]:
        """Files of jobs here that can be read; folder: what this one is."""
        for job in self._folder.folders(RUNS):
            if is_job_id(job):
                try:
                    yield FoundJob(folder, job, self.read_job_file(job))
                except OSError:
                    continue


@dataclass(frozen=True, slots=True)
class _InPlace:
    """The folder where pictures stay: who looks there sees them."""

    folder: ConfinedFolder

    def made_before(
        self, run_digest: str, items: Sequence[ImageItem]
    ) -> Mapping[int, Sequence[str]]:
        return {}

    def publish(self, files: Sequence[Path], then: Callable[[], None]) -> None:
        then()

    def wait(self) -> None:
        return


def _stored(folder: ConfinedFolder, path: str) -> StoredFile | None:
    """A file by its path below the folder; None for what is not there, not shown, or a link."""
    if PurePosixPath(path).name.startswith("."):
        return None
    try:
        size = folder.status(path).st_size
    except OSError:
        return None
    return StoredFile(path, size, partial(_pieces, folder, path))


def _pieces(folder: ConfinedFolder, path: str) -> Iterator[bytes]:
    with folder.opened(path) as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _with_runs(root: ConfinedFolder, path: str, levels: int = _DEEPEST_OUTPUT) -> Iterator[str]:
    """Folders below the root, and itself, that hold runs."""
    names = _folders(root, path)
    if RUNS in names:
        yield path
    for name in names:
        if name not in {RUNS, COMPONENTS} and levels > 0:
            yield from _with_runs(root, PurePosixPath(path, name).as_posix(), levels - 1)


def _folders(folder: ConfinedFolder, path: str) -> list[str]:
    """[] also where they may not be listed: one such folder must not hide all others."""
    try:
        return folder.folders(path)
    except OSError:
        return []


def _job_folders(below: Below, paths: Iterable[str]) -> Iterator[JobFolder]:
    """Those that a record can hold: a path may be too long, or have a name that is no text."""
    for path in paths:
        with suppress(ValueError):
            yield JobFolder(below=below, path=path)

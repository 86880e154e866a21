"""Outputs of jobs in an S3-compatible store: whole objects, one writer by conditional puts."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from cam_engine.confined import ConfinedFolder, parts_of
from cam_engine.errors import CamError, InvalidOption, OutputBusy, PathOutsideRoot
from cam_engine.experiments.data_root import DataRoot, check_form
from cam_engine.experiments.finding import DEFAULT_OUTPUT, ImageItem
from cam_engine.images.png import MAIN_PREFIX, read_png_text
from cam_engine.outputs.files import COMPONENTS, PicturePaths, make_plain_folder, write_into
from cam_engine.outputs.folder_lock import (
    JOB_FILE,
    LOCK_FILE,
    OLDER_JOB_FILE,
    RUNS,
    busy,
    for_job,
    is_job_id,
    is_unfinished,
)
from cam_engine.outputs.provenance import Provenance, assumed_in, is_made_by, provenance_of
from cam_engine.outputs.summaries import (
    MANIFEST,
    SUMMARY_CSV,
    SUMMARY_JSON,
    ModelSummary,
    may_replace_summaries,
    write_merged_summary,
    write_model_summary,
)
from worker.jobs.contract import JobFolder, JobRequest
from worker.jobs.outputs.objects import Objects, not_writable
from worker.jobs.outputs.scratch import scratch_folder
from worker.jobs.outputs.storage import (
    RESULTS,
    FoundJob,
    OutputFolder,
    StoredFile,
    Workspace,
    write_summaries_into,
)

_UNFINISHED = ".unfinished"
_TEXT_BYTES = 65_536  # a figure's text stands before its pixels, and is nearly always shorter
_UPLOADS = 8
_READS = 16
_MOST_WAITING = 64  # images
_LOCK_TRIES = 20
_SUMMARY_FILES = (SUMMARY_CSV, SUMMARY_JSON, MANIFEST)
_FREE = b"{}"


class ObjectStorage:
    """All outputs below one prefix of a bucket; `.unfinished/<job>` says which jobs go on."""

    def __init__(self, address: str, root: DataRoot) -> None:
        """`address`: s3://bucket/prefix. Raises InvalidOption."""
        self._root = root
        self._objects = Objects(address)

    def place(self, request: JobRequest) -> JobFolder:
        """After the experiment, or the name that the request gives. Raises CamError."""
        if request.output is None:
            experiment = self._root.experiment(request.experiment)
            key = f"{self._root.id_of(experiment.folder)}/{DEFAULT_OUTPUT}"
        else:
            check_form(request.output)
            key = PurePosixPath(request.output).as_posix()
            if any(part.startswith(".") for part in key.split("/")):
                raise InvalidOption("output: no part of the name may begin with a dot")
        return JobFolder(below="store", path=key)

    def open(self, folder: JobFolder) -> OutputFolder:
        """Raises PathOutsideRoot."""
        check_form(folder.path)
        return ObjectFolder(self._objects, folder.path)

    def unfinished_jobs(self) -> Iterator[FoundJob]:
        """Those of jobs that have not ended."""
        for name, _ in self._objects.below(_UNFINISHED):
            job = name.removeprefix(f"{_UNFINISHED}/")
            if not is_job_id(job):
                continue
            try:
                folder = JobFolder(below="store", path=self._objects.read(name).decode())
                check_form(folder.path)
                yield FoundJob(
                    folder, job, ObjectFolder(self._objects, folder.path).read_job_file(job)
                )
            except FileNotFoundError:
                continue  # it is being accepted, or ends, at this moment
            except (ValueError, PathOutsideRoot):
                continue  # no key of ours


class ObjectFolder:
    """Objects below one key."""

    def __init__(self, objects: Objects, key: str) -> None:
        self._objects = objects
        self._key = key

    @property
    def shown(self) -> str:
        """Its key below the store's prefix."""
        return self._key

    def check_writable(self) -> None:
        """Nothing: only the store can tell, when the job's file is put."""

    def acquire(self, model: str, job: str) -> None:
        """Raises OutputBusy or OutputNotWritable.

        The lock is an object that is only ever put on condition that it is still what was read.
        """
        lock = f"{self._key}/{model}/{LOCK_FILE}"
        content = json.dumps({"job": job}).encode()
        for _ in range(_LOCK_TRIES):
            holder, tag = self._holder(lock)
            if holder == job:
                return
            if holder is not None and self._is_unfinished(holder):
                raise busy(model, for_job(holder))
            if self._objects.replace(lock, content, tag):
                return
        raise OutputBusy(f"{model} is being taken by others at this moment; try again")

    def release(self, model: str, job: str) -> None:
        """The lock says that nobody holds it, where the job did. Raises OutputNotWritable."""
        lock = f"{self._key}/{model}/{LOCK_FILE}"
        holder, tag = self._holder(lock)
        if holder == job:
            self._objects.replace(lock, _FREE, tag)

    @contextmanager
    def workspace(self, model: str) -> Iterator[Workspace]:
        """A folder of this process, removed at the end. Raises OutputNotWritable."""
        with (
            scratch_folder() as folder,
            ThreadPoolExecutor(_UPLOADS, thread_name_prefix="uploads") as pool,
        ):
            folder.make(COMPONENTS)
            workspace = _Uploads(self._objects, f"{self._key}/{model}", folder, pool)
            try:
                yield workspace
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def figure_texts(self, model: str, names: Sequence[str]) -> Iterator[Mapping[str, str]]:
        """Text chunks of main figures, of which only the beginning is read. Raises CamError."""
        keys = [_main(f"{self._key}/{model}", name) for name in names]
        with ThreadPoolExecutor(_READS) as pool:
            yield from pool.map(partial(_figure_text, self._objects), keys)

    def figures(self, model: str) -> list[str]:
        """By the objects' keys. Raises OSError."""
        start = f"{self._key}/{model}/{MAIN_PREFIX}"
        keys = (key for key, _ in self._objects.below(f"{self._key}/{model}"))
        return [
            PurePosixPath(key).stem.removeprefix(MAIN_PREFIX)
            for key in keys
            if key.startswith(start) and key.endswith(".png")
        ]

    def provenance(self, paths: Sequence[str]) -> Iterator[Provenance | None]:
        """Several at a time, of which only the beginning is read."""
        with ThreadPoolExecutor(_READS) as pool:
            yield from pool.map(self._provenance, paths)

    def remove_made_otherwise(self, model: str, run_digests: Collection[str]) -> int:
        """Raises OSError or OutputNotWritable."""
        keys = [key for key, _ in self._objects.below(f"{self._key}/{model}")]
        paths = [key.removeprefix(f"{self._key}/") for key in keys if key.endswith(".png")]
        stale = [
            path
            for path, made in zip(paths, self.provenance(paths), strict=True)
            if made is not None and made.run_digest not in run_digests
        ]
        for path in stale:
            self._objects.remove(f"{self._key}/{path}")
        return len(stale)

    def write_summaries(self, summaries: Sequence[ModelSummary]) -> None:
        """Each model's first, so that of two jobs which end at once the last one merges all."""
        with scratch_folder() as folder:
            for summary in summaries:
                own = folder.within(summary.facts.model)
                make_plain_folder(own)
                write_model_summary(own, summary)
                self._put_summaries(own, f"{self._key}/{summary.facts.model}")
            there = folder.folders()
            for key in self._objects.folders(self._key):
                if PurePosixPath(key).name not in there:
                    self._fetch_summary(key, folder.within(PurePosixPath(key).name))
            write_merged_summary(folder)
            self._put_summaries(folder, self._key)

    def write_results(self, job: str, summaries: Sequence[ModelSummary]) -> None:
        """Raises OutputNotWritable."""
        with scratch_folder() as folder:
            write_summaries_into(folder, summaries)
            for path in folder.files_below(levels=1):
                self._objects.write(f"{self._results(job)}/{path}", folder.read(path))

    def results(self, job: str) -> Iterator[StoredFile]:
        """[] before the job has ended. Raises OSError."""
        for key, size in self._objects.below(self._results(job)):
            path = key.removeprefix(f"{self._results(job)}/")
            yield StoredFile(path, size, partial(self._objects.stream, key))

    def remove_half_written(self, model: str) -> None:
        """Nothing: an object is there whole or not at all."""

    def write_job_file(self, job: str, content: bytes, *, finished: bool) -> None:
        """A job's file; unfinished ones are also marked, so that they are found again."""
        if not finished:
            self._objects.write(f"{_UNFINISHED}/{job}", self._key.encode())
        self._objects.write(self._job_file(job), content)
        if finished:
            self._objects.remove(self._job_file(job, OLDER_JOB_FILE))
            self._objects.remove(f"{_UNFINISHED}/{job}")

    def read_job_file(self, job: str) -> bytes:
        """A job's file. Raises OSError."""
        try:
            return self._objects.read(self._job_file(job))
        except FileNotFoundError:
            return self._objects.read(self._job_file(job, OLDER_JOB_FILE))

    def remove_job(self, job: str) -> None:
        """All objects of the run. Raises OSError or OutputNotWritable."""
        for key in [key for key, _ in self._objects.below(self._results(job))]:
            self._objects.remove(key)
        for name in (JOB_FILE, OLDER_JOB_FILE):
            self._objects.remove(self._job_file(job, name))
        self._objects.remove(f"{_UNFINISHED}/{job}")

    def file(self, path: str) -> StoredFile | None:
        """The object, unless a part of its name begins with a dot. Raises PathOutsideRoot."""
        key = "/".join([self._key, *parts_of(PurePosixPath(path).as_posix())])
        size = self._objects.size(key) if _is_shown(path) else None
        return None if size is None else StoredFile(path, size, partial(self._objects.stream, key))

    def _provenance(self, path: str) -> Provenance | None:
        try:
            return provenance_of(_figure_text(self._objects, f"{self._key}/{path}"))
        except (CamError, OSError):
            return None

    def _results(self, job: str) -> str:
        return f"{self._key}/{RUNS}/{job}/{RESULTS}"

    def _holder(self, lock: str) -> tuple[str | None, str | None]:
        """(job, tag) of the lock: nobody where it is free, no tag where there is none."""
        try:
            content, tag = self._objects.read_tagged(lock)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            not_writable(lock, error)
        try:
            job = json.loads(content).get("job")
        except (ValueError, AttributeError, RecursionError):
            return None, tag
        return (job if isinstance(job, str) and is_job_id(job) else None), tag

    def _is_unfinished(self, job: str) -> bool:
        try:
            manifest = json.loads(self.read_job_file(job))
        except FileNotFoundError:
            return False
        except OSError as error:
            not_writable(self._key, error)
        except (ValueError, RecursionError):
            return False
        return is_unfinished(manifest)

    def _job_file(self, job: str, name: str = JOB_FILE) -> str:
        return f"{self._key}/{RUNS}/{job}/{name}"

    def _put_summaries(self, folder: ConfinedFolder, key: str) -> None:
        """Below the key, unless one would replace a file that is not ours, as the log then warns.

        Raises OutputNotWritable.
        """

        def shown(name: str) -> str:
            return f"{key}/{name}"

        def read(name: str) -> bytes:
            try:
                return self._objects.read(shown(name))
            except FileNotFoundError:
                raise
            except OSError as error:
                not_writable(shown(name), error)

        if may_replace_summaries(read, shown):
            for name in _SUMMARY_FILES:
                self._objects.write(shown(name), folder.read(name))

    def _fetch_summary(self, key: str, folder: ConfinedFolder) -> None:
        try:
            contents = {
                name: self._objects.read(f"{key}/{name}") for name in (SUMMARY_JSON, MANIFEST)
            }
        except FileNotFoundError:
            return  # a model that no job has ended for yet, or the runs
        make_plain_folder(folder)
        for name, content in contents.items():
            write_into(folder, name, content)


class _Uploads:
    """Pictures written to a local folder and put into the store while others are computed."""

    def __init__(
        self, objects: Objects, key: str, folder: ConfinedFolder, pool: ThreadPoolExecutor
    ) -> None:
        self.folder = folder
        self._objects = objects
        self._key = key
        self._pool = pool
        self._pending: deque[tuple[Future[None], Callable[[], None]]] = deque()

    def made_before(
        self, run_digest: str, items: Sequence[ImageItem]
    ) -> Mapping[int, Sequence[str]]:
        """By the recipe in the main figure: it is put last, so the others are there too."""
        made = self._pool.map(lambda item: self._assumed(run_digest, item), items)
        return {position: said for position, said in enumerate(made) if said is not None}

    def publish(self, files: Sequence[Path], then: Callable[[], None]) -> None:
        """Raises OutputNotWritable for this image or an earlier one."""
        self._pending.append((self._pool.submit(self._upload, files), then))
        while self._pending and (len(self._pending) > _MOST_WAITING or self._pending[0][0].done()):
            self._settle()

    def wait(self) -> None:
        """Raises OutputNotWritable."""
        while self._pending:
            self._settle()

    def _settle(self) -> None:
        future, then = self._pending.popleft()
        future.result()
        then()

    def _upload(self, files: Sequence[Path]) -> None:
        for file in files:
            try:
                content = self.folder.read(file)
                self._objects.write(f"{self._key}/{file.as_posix()}", content)
                self.folder.remove(file)
            except OSError as error:
                not_writable(file.as_posix(), error)

    def _assumed(self, run_digest: str, item: ImageItem) -> Sequence[str] | None:
        """What was assumed of an image that the run made; None where it did not."""
        try:
            text = _figure_text(self._objects, _main(self._key, item.name))
            is_made = is_made_by(text, run_digest, _digest(item.path))
        except (CamError, OSError):
            return None
        return assumed_in(text) if is_made else None


def _figure_text(objects: Objects, key: str) -> Mapping[str, str]:
    start = objects.read_start(key, _TEXT_BYTES)
    return read_png_text(start if b"IDAT" in start else objects.read(key))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _main(folder: str, name: str) -> str:
    return PicturePaths(Path(folder), name).main().as_posix()


def _is_shown(path: str) -> bool:
    return not any(part.startswith(".") for part in path.split("/"))

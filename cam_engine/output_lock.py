"""One writer at a time into `<output>/<cls_folder>`: a lock that jobs and command lines share.

The lock is a file in that folder, so that it works on whatever machines share the storage. A
command line's is kept fresh while it runs, and is void a while after it stopped being so. A job's
holds for as long as the job's manifest says that it is not finished, whether or not any process
works on it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cam_engine.errors import OutputBusy, OutputNotWritable

LOCK_FILE = ".gradcam.lock"
RUNS = "runs"
RUN_MANIFEST = "manifest.json"
FINISHED = frozenset({"succeeded", "partial", "failed", "canceled"})

_FRESH_SECONDS = 60.0
_REFRESH_SECONDS = 10.0
_TRIES = 20
_GUARD_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a folder: a job by its id, or (job None) a process that refreshes the file."""

    job: str | None
    host: str
    process: int
    token: str

    def describe(self) -> str:
        """For messages: "job 3f..." or "a command (process 12 on host)"."""
        if self.job is not None:
            return f"job {self.job}"
        return f"a command (process {self.process} on {self.host})"


def this_process() -> Holder:
    """A holder for a command line."""
    return Holder(None, socket.gethostname(), os.getpid(), uuid.uuid4().hex)


def for_job(job: str) -> Holder:
    """A holder for a job; equal wherever it is made, so that any worker may let go."""
    return Holder(job, "", 0, job)


def busy(folder: str, other: Holder) -> OutputBusy:
    """The error for a folder of that name which another holds."""
    return OutputBusy(
        f"{folder} is being written by {other.describe()}; wait until it has finished, or choose "
        "another output folder",
        other.job,
    )


def acquire(folder: Path, holder: Holder) -> None:
    """Take the folder, or keep it where the holder has it already.

    Raises OutputBusy, which names the other holder, or OutputNotWritable.
    """
    path = folder / LOCK_FILE
    content = json.dumps(asdict(holder)).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            if _created(path, content):
                return
            try:
                other = _read(path)
            except FileNotFoundError:
                continue  # let go at this moment
            if other == holder:
                return
            if other is not None and _holds(path, other, folder.parent):
                raise busy(folder.name, other)
            _remove(path, other)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputNotWritable(f"cannot lock {folder}: {reason}") from error
    raise OutputBusy(f"{folder.name} is being taken by others at this moment; try again")


def release(folder: Path, holder: Holder) -> None:
    """Let the folder go; nothing happens where another has it.

    A lock that cannot be removed, on a full disk for one, is soon void: see above.
    """
    path = folder / LOCK_FILE
    with suppress(OSError):
        for _ in range(_TRIES):
            if _remove(path, holder):
                return


class HeldFolder:
    """A folder held by this process for as long as the `with` block lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._holder = this_process()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)

    def __enter__(self) -> Self:
        acquire(self._folder, self._holder)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        release(self._folder, self._holder)

    def _refresh(self) -> None:
        path = self._folder / LOCK_FILE
        while not self._ended.wait(_REFRESH_SECONDS):
            try:
                os.utime(path)
            except OSError:
                return  # the folder is gone: whoever writes there will say so


def _created(path: Path, content: bytes) -> bool:
    """Write the lock file whole under its name, unless there is one. Links work on NFS too."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        part.write_bytes(content)
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def _read(path: Path) -> Holder | None:
    """None for a lock that cannot be understood. Raises FileNotFoundError where there is none."""
    content = path.read_bytes()
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _holds(path: Path, holder: Holder, output: Path) -> bool:
    if holder.job is not None:
        return _job_is_unfinished(output, holder.job)
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    if holder.host == socket.gethostname() and not _is_alive(holder.process):
        return False
    return age < _FRESH_SECONDS


def _job_is_unfinished(output: Path, job: str) -> bool:
    try:
        manifest = json.loads((output / RUNS / job / RUN_MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("status") not in FINISHED


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path, holder: Holder | None) -> bool:
    """Take the lock away where it is that holder's; False where another is doing so just now.

    Only who made the guard's folder may remove a lock, and a lock is never written over: so what
    was read under the guard is what is removed, never a lock that another made in between.
    """
    guard = path.with_name(f"{path.name}.guard")
    try:
        guard.mkdir()
    except FileNotFoundError:
        return True  # the folder itself is gone
    except FileExistsError:
        time.sleep(_GUARD_PAUSE_SECONDS)
        with suppress(OSError):  # left by a process that was killed just there
            if time.time() - guard.stat().st_mtime > _FRESH_SECONDS:
                guard.rmdir()
        return False
    try:
        with suppress(FileNotFoundError):
            if _read(path) == holder:
                path.unlink()
    finally:
        guard.rmdir()
    return True

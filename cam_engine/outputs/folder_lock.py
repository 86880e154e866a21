"""One writer at a time into `<output>/<cls_folder>`: a lock that jobs and command lines share.

The lock is a file in that folder, so that it works on whatever machines share the storage. A
command line's is kept fresh while it runs, and is void a while after it stopped being so, all by
the clock of the storage: machines' own may differ by minutes. A job's
holds for as long as the job's manifest says that it is not finished, whether or not any process
works on it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import OutputBusy, OutputNotWritable

LOCK_FILE = ".gradcam.lock"
RUNS = "runs"
JOB_FILE = "job.json"
OLDER_JOB_FILE = "manifest.json"  # as jobs of earlier versions have it

FinalStatus = Literal["succeeded", "partial", "failed", "canceled"]
FINISHED: tuple[FinalStatus, ...] = get_args(FinalStatus)

_JOB_ID = re.compile("[0-9a-f]{32}")
_FRESH_SECONDS = 60.0
_REFRESH_SECONDS = 10.0
_TRIES = 20
_GUARD_PAUSE_SECONDS = 0.02
_MOST_LOCK_BYTES = 10_000
_MOST_JOB_FILE_BYTES = 1 << 28  # a million images with long paths
_LARGEST_PROCESS = 2**31 - 1


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


def is_job_id(text: str) -> bool:
    """Whether it has the form of a job's id: 32 hexadecimal digits."""
    return _JOB_ID.fullmatch(text) is not None


def is_unfinished(manifest: object) -> bool:
    """Whether a run's manifest, as JSON has it, says that its job has not ended.

    False for what is no manifest: it holds no folder.
    """
    return isinstance(manifest, dict) and manifest.get("status") not in FINISHED


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


def acquire(folder: Path | ConfinedFolder, holder: Holder) -> None:
    """Take the folder, or keep it where the holder has it already.

    A path's folder around is trusted, and holds the runs of jobs. Raises OutputBusy, which names
    the other holder, or OutputNotWritable.
    """
    within = _confined(folder)
    content = json.dumps(asdict(holder)).encode()
    try:
        within.make()
        for _ in range(_TRIES):
            if within.create(LOCK_FILE, content):
                return
            try:
                other = _read(within)
            except FileNotFoundError:
                continue  # let go at this moment
            if other == holder:
                return
            if other is not None and _holds(within, other):
                raise busy(within.name, other)
            _remove(within, other)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputNotWritable(f"cannot lock {within.shown()}: {reason}") from error
    raise OutputBusy(f"{within.name} is being taken by others at this moment; try again")


def release(folder: Path | ConfinedFolder, holder: Holder) -> None:
    """Let the folder go; nothing happens where another has it.

    A lock that cannot be removed, on a full disk for one, is soon void: see above.
    """
    within = _confined(folder)
    with suppress(OSError):
        for _ in range(_TRIES):
            if _remove(within, holder):
                return


class HeldFolder:
    """A folder held by this process for as long as the `with` block lasts."""

    def __init__(self, folder: Path | ConfinedFolder) -> None:
        self._folder = _confined(folder)
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
        while not self._ended.wait(_REFRESH_SECONDS):
            try:
                self._folder.refresh(LOCK_FILE)
            except OSError:
                return  # the folder is gone: whoever writes there will say so


def _confined(folder: Path | ConfinedFolder) -> ConfinedFolder:
    """Its runs lie beside it, so that the folder around is the root where a path is given."""
    if isinstance(folder, ConfinedFolder):
        return folder
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100 (links stay, unlike by resolve)
    return ConfinedFolder(absolute.parent, absolute.name)


def _read(folder: ConfinedFolder) -> Holder | None:
    """None for a lock that cannot be understood. Raises FileNotFoundError where there is none."""
    content = folder.read(LOCK_FILE, _MOST_LOCK_BYTES)
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    return holder if _is_sound(holder) else None


def _is_sound(holder: Holder) -> bool:
    """Whether it is as `acquire` writes it: anybody may have put the file there."""
    words = (holder.host, holder.token, holder.job or "")
    number = holder.process
    return (
        all(isinstance(word, str) for word in words)
        and type(number) is int
        and 0 <= number <= _LARGEST_PROCESS
    )


def _holds(folder: ConfinedFolder, holder: Holder) -> bool:
    if holder.job is not None:
        return _job_is_unfinished(folder.around, holder.job)
    try:
        refreshed = folder.status(LOCK_FILE).st_mtime
    except OSError:
        return False
    if holder.host == socket.gethostname() and not _is_alive(holder.process):
        return False
    return folder.now() - refreshed < _FRESH_SECONDS


def _job_is_unfinished(output: ConfinedFolder, job: str) -> bool:
    if not is_job_id(job):
        return False
    try:
        manifest = json.loads(read_job_file(output, job))
    except (OSError, ValueError, RecursionError):
        return False
    return is_unfinished(manifest)


def read_job_file(output: ConfinedFolder, job: str) -> bytes:
    """`runs/<job>/job.json` of an output folder, whatever its version calls it. Raises OSError."""
    try:
        return output.read(f"{RUNS}/{job}/{JOB_FILE}", _MOST_JOB_FILE_BYTES)
    except FileNotFoundError:
        return output.read(f"{RUNS}/{job}/{OLDER_JOB_FILE}", _MOST_JOB_FILE_BYTES)


def _is_alive(process: int) -> bool:
    if process == 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(folder: ConfinedFolder, holder: Holder | None) -> bool:
    """Take the lock away where it is that holder's; False where another is doing so just now.

    Only who made the guard's folder may remove a lock, and a lock is never written over: so what
    was read under the guard is what is removed, never a lock that another made in between.
    """
    guard = f"{LOCK_FILE}.guard"
    try:
        folder.create_folder(guard)
    except FileNotFoundError:
        return True  # the folder itself is gone
    except FileExistsError:
        time.sleep(_GUARD_PAUSE_SECONDS)
        with suppress(OSError):  # left by a process that was killed just there
            if folder.now() - folder.folder_time(guard) > _FRESH_SECONDS:
                folder.remove_folder(guard)
        return False
    try:
        with suppress(FileNotFoundError):
            if _read(folder) == holder:
                folder.remove(LOCK_FILE)
    finally:
        folder.remove_folder(guard)
    return True

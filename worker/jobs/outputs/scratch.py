"""Folders of one process, gone with it at the latest when the next one asks for its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import OutputNotWritable

_PREFIX = "gradcam-outputs-"
_JUST_MADE_SECONDS = 60.0


@contextmanager
def scratch_folder() -> Iterator[ConfinedFolder]:
    """An empty folder below TMPDIR for as long as the block lasts. Raises OutputNotWritable.

    The folder is locked meanwhile, which ends with the process, however it ends: so those of
    killed processes are known, and removed here.
    """
    _remove_orphans()
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputNotWritable(f"no scratch folder below TMPDIR: {reason}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield ConfinedFolder(folder, shown="scratch")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_orphans() -> None:
    oldest = time.time() - _JUST_MADE_SECONDS
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # in use, another user's, or removed by another process just now
            if folder.stat().st_mtime < oldest:
                _remove_unlocked(folder)


def _remove_unlocked(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)

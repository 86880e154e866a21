"""One file of a mirror: there by name only, with the content's two ends, or whole.

Which of these it is stands in its mode, so that all processes that share the mirror know it, and
nobody who may not read everything reads what is not there yet. A file's content is written into
the file itself, under its lock, and the mode says so when all of it is there. Whoever is killed in
between leaves a file that is there by name only, whose time is wrong: so the next look replaces it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cam_engine.confined import PART_SUFFIX
from cam_engine.stores.listing import Stamp

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Store

BY_NAME = 0o200
ENDS = 0o600
WHOLE = 0o444

END_BYTES = 1 << 20  # of either end
_PIECE_BYTES = 1 << 22
_OPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_ZIP = b"PK\3\4"
_MEMBER = b"PK\1\2"  # of its directory; a check sum from byte 16, a size from byte 24
_MEMBER_BYTES = 28
_SAFETENSORS = ".safetensors"


class Changed(OSError):
    """The object is another than the one that was listed, or gone."""


def state_of(path: Path) -> int:
    """BY_NAME, ENDS or WHOLE. Raises OSError."""
    return stat.S_IMODE(path.stat().st_mode)


def stamp_of(path: Path) -> Stamp:
    """Raises OSError."""
    status = path.stat()
    return Stamp(status.st_size, status.st_mtime_ns)


def place(path: Path, stamp: Stamp) -> None:
    """Put a file there by name only, in the place of any that is there. Raises OSError."""
    part = path.parent / f".{uuid.uuid4().hex}{PART_SUFFIX}"
    descriptor = os.open(part, _OPEN | os.O_CREAT | os.O_EXCL, BY_NAME)
    try:
        os.ftruncate(descriptor, stamp.size)
        os.utime(descriptor, ns=(0, stamp.mtime_ns))
        os.fchmod(descriptor, WHOLE if stamp.size == 0 else BY_NAME)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def fetch(store: S3Store, key: str, path: Path) -> int:
    """Bring the whole content, unless it is there. Answers the bytes that were brought.

    Raises Changed, other OSError, or obstore's errors.
    """
    return _bring(path, WHOLE, lambda descriptor, stamp: _whole(store, key, descriptor, stamp))


def fetch_ends(store: S3Store, key: str, path: Path) -> int:
    """As `fetch`, where the two ends of a checkpoint are enough to know what it says of itself.

    A zip has its pickle in front and its directory at the end, safetensors their header in front.
    Whoever needs more finds check sums that do not agree, or a header that is cut off; files that
    have no such sums are brought whole.
    """
    return _bring(path, ENDS, lambda descriptor, stamp: _ends(store, key, path, descriptor, stamp))


def _bring(path: Path, wanted: int, write: Callable[[int, Stamp], tuple[int, int]]) -> int:
    with _locked(path) as descriptor:
        if descriptor is None:
            return 0
        status = os.fstat(descriptor)
        state = stat.S_IMODE(status.st_mode)
        if state in {WHOLE, wanted}:
            return 0
        stamp = Stamp(status.st_size, status.st_mtime_ns)
        try:
            count, state = write(descriptor, stamp)
        finally:
            os.utime(descriptor, ns=(time.time_ns(), stamp.mtime_ns))
        os.fchmod(descriptor, state)
        return count


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The file's descriptor, to be written to by nobody else; None for one that is whole."""
    while True:
        if state_of(path) == WHOLE:
            yield None
            return
        try:
            descriptor = os.open(path, _OPEN)
        except PermissionError:
            if state_of(path) == WHOLE:  # somebody else brought it meanwhile
                yield None
                return
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                yield descriptor
                return
        finally:
            os.close(descriptor)  # it was replaced meanwhile: so is its content


def _whole(store: S3Store, key: str, descriptor: int, stamp: Stamp) -> tuple[int, int]:
    at = 0
    for piece in _got(store, key, stamp, {}).stream(min_chunk_size=_PIECE_BYTES):
        at += _write(descriptor, bytes(piece), at)
    if at != stamp.size:
        raise OSError(errno.EIO, f"{at:,} of {stamp.size:,} bytes came", key)
    return at, WHOLE


def _ends(store: S3Store, key: str, path: Path, descriptor: int, stamp: Stamp) -> tuple[int, int]:
    if stamp.size > 2 * END_BYTES:
        front = bytes(_got(store, key, stamp, {"range": (0, END_BYTES)}).bytes())
        _write(descriptor, front, 0)
        if path.suffix.lower() == _SAFETENSORS:
            return len(front), ENDS
        if front.startswith(_ZIP):
            start = stamp.size - END_BYTES
            end = bytes(_got(store, key, stamp, {"range": (start, stamp.size)}).bytes())
            _write(descriptor, end, start)
            if _has_check_sums(end):
                return len(front) + len(end), ENDS
    return _whole(store, key, descriptor, stamp)


def _got(store: S3Store, key: str, stamp: Stamp, options: GetOptions) -> GetResult:
    import obstore  # noqa: PLC0415 (an extra)

    try:
        result = obstore.get(store, key, options=options)
    except FileNotFoundError as error:
        raise Changed(errno.ESTALE, "it is not in the bucket any more", key) from error
    if Stamp.of(result.meta) != stamp:
        raise Changed(errno.ESTALE, "it was replaced in the bucket", key)
    return result


def _write(descriptor: int, data: bytes, at: int) -> int:
    """All of it. Answers how many bytes that were."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
    return len(data)


def _has_check_sums(end: bytes) -> bool:
    """Whether all members that a zip's end lists have one, as torch may be told not to write."""
    at = end.find(_MEMBER)
    while at >= 0:
        member = end[at : at + _MEMBER_BYTES]
        if member[16:20] == bytes(4) and member[24:28] != bytes(4):
            return False
        at = end.find(_MEMBER, at + 1)
    return True

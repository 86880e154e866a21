"""What a bucket has below a folder, as S3's ListObjectsV2 tells it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from cam_engine.confined import parts_of
from cam_engine.errors import PathOutsideRoot

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

_SECOND = 10**9  # in nanoseconds
# File systems keep times to a microsecond at least.
_MICROSECOND = 1000
_AFTER_A_FOLDER = "0"  # the character after "/"

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes with an object's content: its size (bytes) and a time (ns since the epoch).

    The time is that of its last change, which S3 tells in seconds, with a digest of its entity tag
    as the part below a second. So a local file of this size and time is known to be this object's.
    """

    size: int
    mtime_ns: int

    @staticmethod
    def of(meta: ObjectMeta) -> Stamp:
        """Of an object as the store describes it."""
        tag = hashlib.sha256((meta["e_tag"] or "").encode()).digest()
        below = int.from_bytes(tag[:4]) % (_SECOND // _MICROSECOND) * _MICROSECOND
        return Stamp(meta["size"], _seconds(meta["last_modified"]) * _SECOND + below)


@dataclass(slots=True)
class Listed:
    """What a look at a folder found, by paths below it.

    folders: of a look at one level only. odd: keys that no file can be named by.
    """

    files: dict[Parts, Stamp] = field(default_factory=dict)
    folders: set[Parts] = field(default_factory=set)
    odd: list[str] = field(default_factory=list)


def one_level(store: S3Store, folder: str) -> Listed:
    """Files and folders right in a folder. Raises obstore's errors."""
    import obstore  # noqa: PLC0415 (an extra)

    found = obstore.list_with_delimiter(store, folder or None)
    listed = _listed(folder, found["objects"])
    for key in found["common_prefixes"]:
        parts = _below(folder, key)
        if parts is None:
            listed.odd.append(key)
        elif parts:
            listed.folders.add(parts)
            listed.files.pop(parts, None)  # a console's object in the place of the folder
    return listed


def all_levels(store: S3Store, folder: str) -> Listed:
    """All files below a folder, or the one of that key. Raises obstore's errors."""
    import obstore  # noqa: PLC0415 (an extra)

    batches = obstore.list(store, folder or None)
    return _listed(folder, (meta for batch in batches for meta in batch))


def between(store: S3Store, folder: str, first: str, last: str) -> Listed:
    """All files in the folders right in `folder` whose names are from `first` to `last`.

    No more pages are asked for than those, and one at most beyond them. Raises obstore's errors.
    """
    import obstore  # noqa: PLC0415 (an extra)

    start = f"{folder}/{first}" if folder else first
    end = (f"{folder}/{last}" if folder else last) + _AFTER_A_FOLDER

    def objects() -> Iterator[ObjectMeta]:
        for batch in obstore.list(store, folder or None, offset=start):
            for meta in batch:
                if meta["path"] >= end:
                    return
                yield meta

    return _listed(folder, objects())


def _listed(folder: str, objects: Iterable[ObjectMeta]) -> Listed:
    listed = Listed()
    for meta in objects:
        parts = _below(folder, meta["path"])
        if parts is None:
            listed.odd.append(meta["path"])
        elif parts:
            listed.files[parts] = Stamp.of(meta)
    _drop_files_in_the_way(listed)
    return listed


def _drop_files_in_the_way(listed: Listed) -> None:
    """A key that is also the folder of others is a file to nobody; empty ones are a console's."""
    around = {parts[:depth] for parts in listed.files for depth in range(1, len(parts))}
    for parts in around & listed.files.keys():
        if listed.files.pop(parts).size > 0:
            listed.odd.append("/".join(parts))


def _below(folder: str, key: str) -> Parts | None:
    """A key's names below a folder; () for the folder itself, None where it cannot be a path."""
    rest = key[len(folder) :].strip("/") if folder else key.strip("/")
    try:
        return parts_of(rest) if rest else ()
    except PathOutsideRoot:
        return None


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


Look = Callable[["S3Store", str], Listed]

"""Paths whose files may lie in a bucket, for all who read: each function takes any path.

A bucket is named as s3://bucket/prefix, which `local` makes a path of its mirror of. As with a
file system that is mounted, all of a process see the same: mirrors are kept here. Of a path that is
in none, everything here returns at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cam_engine.confined import parts_of
from cam_engine.errors import InvalidOption
from cam_engine.stores.mirror import Mirror
from cam_engine.stores.s3 import endpoint, s3_store

GIB = 2**30
Item = TypeVar("Item")

_STRIDE = 64  # files

# What pathlib makes of s3://: such a folder's name would be nobody's.
_SCHEME = "s3:"


@dataclass(frozen=True, slots=True)
class MirrorOptions:
    """Where mirrors are, and what they may keep.

    listing_seconds: how long a look at a folder holds. patience_seconds: how long a request that
    fails is made again; somebody may wait for a page, or for an overlay.
    """

    cache: Path | None = None
    most_bytes: int = 20 * GIB
    listing_seconds: float = 30.0
    patience_seconds: float = 5.0

    @property
    def folder(self) -> Path:
        """The folder of all mirrors: by default the user's for caches."""
        if self.cache is not None:
            return self.cache
        from platformdirs import user_cache_path  # noqa: PLC0415 (an extra)

        return user_cache_path("gradcam-service") / "buckets"


_mirrors: dict[str, Mirror] = {}
_lock = threading.Lock()


def is_in_bucket(path: Path) -> bool:
    """Whether a path is written as s3://bucket/prefix."""
    return path.parts[:1] == (_SCHEME,)


def local(path: Path, options: MirrorOptions | None = None) -> Path:
    """The path in its mirror of one that is written as s3://bucket/prefix; any other as it is.

    options: of a bucket that is named for the first time. Raises InvalidOption for an address that
    cannot be one, and without the extra; PathOutsideRoot for keys that are no path.
    """
    if not is_in_bucket(path):
        return path
    if len(path.parts) < 2:
        raise InvalidOption(f"{path}: give s3://bucket/prefix")
    bucket, below = path.parts[1], parts_of("/".join(path.parts[2:]))
    with _lock:
        if bucket not in _mirrors:
            _mirrors[bucket] = _mirror(bucket, options or MirrorOptions())
        return _mirrors[bucket].root.joinpath(*below)


def shown(path: Path) -> str:
    """A path for people: of a file in a mirror, its address."""
    mirror = _mirror_of(path)
    return str(path) if mirror is None else mirror.shown(path)


def with_addresses(text: str) -> str:
    """A message for people, with addresses in the place of paths in mirrors."""
    for mirror in list(_mirrors.values()):
        text = text.replace(str(mirror.root), mirror.address)
    return text


def is_mirrored(path: Path) -> bool:
    """Whether a path's file lies in a bucket."""
    return _mirror_of(path) is not None


def bring(path: Path) -> None:
    """Have a file's content where it is read. Raises DataUnavailable or OSError."""
    if (mirror := _mirror_of(path)) is not None:
        mirror.bring(path)


def bring_ends(path: Path) -> None:
    """As `bring`, as far as a checkpoint says what it is."""
    if (mirror := _mirror_of(path)) is not None:
        mirror.bring_ends(path)


def bring_soon(paths: Iterable[Path]) -> None:
    """Begin to bring files that are read next."""
    if _mirrors:
        for path in paths:
            if (mirror := _mirror_of(path)) is not None:
                mirror.bring_soon([path])


def ahead(items: Iterable[Item], path_of: Callable[[Item], Path]) -> Iterator[Item]:
    """The items, each of whose files is read in turn, while those of the next ones come."""
    if not _mirrors:
        yield from items
        return
    items = list(items)
    for at, item in enumerate(items):
        if at % _STRIDE == 0:
            bring_soon(path_of(each) for each in items[at : at + 2 * _STRIDE])
        yield item


def look_into(folder: Path) -> tuple[str, ...]:
    """See what is right in a folder. As of those below: answers keys that are no path.

    Raises DataUnavailable where the bucket does not answer; OSError of this machine's disk.
    """
    mirror = _mirror_of(folder)
    return () if mirror is None else mirror.look_into(folder)


def look_below(folder: Path) -> tuple[str, ...]:
    """See all files below a folder; or the file, if it is one."""
    mirror = _mirror_of(folder)
    return () if mirror is None else mirror.look_below(folder)


def look_at_experiment(folder: Path) -> tuple[str, ...]:
    """See the classifiers and crops of an experiment."""
    mirror = _mirror_of(folder)
    return () if mirror is None else mirror.look_at_experiment(folder)


def each(look: Callable[[Path], object], folders: Iterable[Path]) -> None:
    """Look into several folders of one bucket at once; errors are raised when one is asked for."""
    folders = list(folders)
    if folders and (mirror := _mirror_of(folders[0])) is not None:
        mirror.each(look, folders)


def _mirror_of(path: Path) -> Mirror | None:
    if not _mirrors:
        return None
    for mirror in list(_mirrors.values()):
        if path.is_relative_to(mirror.root):
            return mirror
    return None


def _mirror(bucket: str, options: MirrorOptions) -> Mirror:
    store = s3_store(
        bucket, None, wanted_by=f"s3://{bucket}", patience_seconds=options.patience_seconds
    )
    # Two stores may have buckets of one name.
    place = hashlib.sha256(endpoint().encode()).hexdigest()[:12]
    root = options.folder / place / bucket
    address = f"s3://{bucket}"
    try:
        return Mirror(store, address, root, options.most_bytes, options.listing_seconds)
    except OSError as error:
        raise InvalidOption(
            f"files of {address} cannot be kept in {root} ({error.strerror}): set "
            "GRADCAM_DATA_CACHE, or XDG_CACHE_HOME, to a folder that can be written to"
        ) from error

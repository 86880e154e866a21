"""A bucket's files in a local folder: all names of what was looked at, and some contents.

Contents are brought when they are read, and put out again, the least recently used first, where
they take more room than they may. Several processes may share a mirror.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from cam_engine.errors import DataUnavailable
from cam_engine.stores import fetching
from cam_engine.stores.listing import (
    Listed,
    Look,
    Parts,
    all_levels,
    between,
    one_level,
)

if TYPE_CHECKING:
    from obstore.store import S3Store

_log = logging.getLogger(__name__)

_AT_ONCE = 16  # requests to the store
_MOST_COMING = 256  # files; whoever ends waits for them
_BLOCK_BYTES = 512  # of st_blocks, everywhere
_LEFT = 0.9  # of the room, once something had to be put out
_FAILURE_SECONDS = 5.0  # a folder that cannot be looked into is not looked into again at once
_AWAY_SECONDS = 10.0
_NO_RIGHTS = "the store refuses access: see the AWS_* variables, and the rights that they have"
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_REFUSALS = MappingProxyType(
    {
        "NoSuchBucket": "there is no such bucket",
        **dict.fromkeys(("AccessDenied", "InvalidAccessKeyId", "Forbidden"), _NO_RIGHTS),
        **dict.fromkeys(("SignatureDoesNotMatch", "ExpiredToken", "Unauthorized"), _NO_RIGHTS),
    }
)
_CACHE_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_LONGEST_REASON = 300  # characters
_IN_USE_SECONDS = 60  # files that were read since are not put out
_PARTS_OF_AN_EXPERIMENT = "cls_", "crops_gt_crops"


@dataclass(slots=True)
class _Page:
    """A folder that was looked into: when (monotonic seconds), and what was there."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    looked: float = float("-inf")
    listed: Listed | None = None
    error: DataUnavailable | None = None


class Mirror:
    """One bucket's; safe in any thread."""

    def __init__(
        self, store: S3Store, address: str, root: Path, most_bytes: int, listing_seconds: float
    ) -> None:
        """root: the local folder. address: s3://bucket. most_bytes: of contents that are kept.

        listing_seconds: how long a look at a folder holds.
        """
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root = root.resolve()
        self.address = address
        self._store = store
        self._most_bytes = most_bytes
        self._listing_seconds = listing_seconds
        self._pages: dict[tuple[str, Path], _Page] = {}
        self._pages_lock = threading.Lock()
        self._used: int | None = None  # bytes; counted when something is first brought
        self._room_lock = threading.Lock()
        self._away_until, self._away = float("-inf"), ""
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="bucket")
        self._coming: dict[Path, Future[None]] = {}

    def shown(self, path: Path) -> str:
        """The address of a file of the mirror."""
        key = self._key(path)
        return f"{self.address}/{key}" if key else self.address

    # Names.

    def look_into(self, folder: Path) -> tuple[str, ...]:
        """See which files and folders are right in a folder.

        As of all three: answers keys that are no path; raises DataUnavailable where the store does
        not answer and nothing is known from before; OSError of this machine's disk.
        """
        return self._look(folder, "one level", one_level, _apply_one_level)

    def look_below(self, folder: Path) -> tuple[str, ...]:
        """See all files below a folder; or the file, if it is one."""
        odd = self._look(folder, "all levels", all_levels, _apply_all_levels)
        if not folder.exists():
            self.look_into(folder.parent)
        return odd

    def look_at_experiment(self, folder: Path) -> tuple[str, ...]:
        """See all files of an experiment's classifiers and crops; nothing else in its folder."""
        first, last = _PARTS_OF_AN_EXPERIMENT

        def look(store: S3Store, key: str) -> Listed:
            listed = between(store, key, first, last)
            listed.files = {parts: s for parts, s in listed.files.items() if _is_part(parts[0])}
            return listed

        return self._look(folder, "experiment", look, _apply_experiment)

    def each(self, look: Callable[[Path], object], folders: Iterable[Path]) -> None:
        """Look into several folders at once. What goes wrong is raised when one is asked for."""
        for future in [self._pool.submit(look, folder) for folder in folders]:
            with suppress(DataUnavailable, OSError):
                future.result()

    def _look(
        self, folder: Path, kind: str, look: Look, apply: Callable[[Path, Listed], None]
    ) -> tuple[str, ...]:
        with self._pages_lock:
            page = self._pages.setdefault((kind, folder), _Page())
        with page.lock:
            holds = self._listing_seconds
            if page.error is not None and page.listed is None:
                holds = min(holds, _FAILURE_SECONDS)
            if time.monotonic() - page.looked > holds:
                self._renew(page, folder, look, apply)
            if page.listed is None and page.error is not None:
                raise page.error
            return () if page.listed is None else tuple(page.listed.odd)

    def _renew(
        self, page: _Page, folder: Path, look: Look, apply: Callable[[Path, Listed], None]
    ) -> None:
        try:
            with self._errors(folder):
                listed = look(self._store, self._key(folder))
        except DataUnavailable as error:
            if page.listed is not None:
                _log.warning("%s; what was listed before is kept", error)
            page.error, page.looked = error, time.monotonic()
            return
        with self._errors(folder):
            apply(folder, listed)
        if page.listed is None or listed.odd != page.listed.odd:
            for key in listed.odd:
                _log.warning("%s/%s is left out: no file can have that name", self.address, key)
        page.listed, page.error, page.looked = listed, None, time.monotonic()

    def forget(self, path: Path) -> None:
        """Look anew next time at the folders around a file."""
        with self._pages_lock:
            for (_, folder), page in self._pages.items():
                if path.is_relative_to(folder):
                    page.looked = float("-inf")

    # Contents.

    def bring(self, path: Path) -> None:
        """Have a file's whole content in its place. Raises DataUnavailable or OSError."""
        self._bring(path, fetching.fetch)

    def bring_ends(self, path: Path) -> None:
        """Have what a checkpoint says of itself in its place. Raises DataUnavailable or OSError."""
        self._bring(path, fetching.fetch_ends)

    def bring_soon(self, paths: Iterable[Path]) -> None:
        """Begin to bring files; whoever then reads one waits for what is left of it.

        Some hundreds at most are on their way: what is more comes when it is read.
        """
        for path in paths:
            if len(self._coming) >= _MOST_COMING:
                return
            if path not in self._coming and _is_by_name(path):
                coming = self._coming[path] = self._pool.submit(self.bring, path)
                coming.add_done_callback(partial(self._came, path))

    def _came(self, path: Path, _: Future[None]) -> None:
        self._coming.pop(path, None)

    def _bring(self, path: Path, fetch: Callable[[S3Store, str, Path], int]) -> None:
        if fetching.state_of(path) == fetching.WHOLE:
            _touch(path)
            return
        try:
            with self._errors(path):
                brought = fetch(self._store, self._key(path), path)
        except fetching.Changed:
            self.forget(path)
            raise
        if brought:
            self._make_room(brought)

    def _make_room(self, brought: int) -> None:
        with self._room_lock:
            if self._used is not None:
                self._used += brought
            if self._used is None or self._used > self._most_bytes:
                self._used = self._put_out()

    def _put_out(self) -> int:
        """Answers the bytes that are kept then."""
        kept = sorted(_contents(self.root))
        used = sum(size for _, size, _ in kept)
        if used <= self._most_bytes:
            return used
        newest = time.time() - _IN_USE_SECONDS
        for read, size, path in kept:
            if used <= self._most_bytes * _LEFT:
                return used
            if read > newest:
                break
            with suppress(OSError):
                fetching.place(path, fetching.stamp_of(path))
                used -= size
        _log.warning(
            "the files of %s that are in use take %s bytes, more than the %s that are set",
            *(self.address, f"{used:,}", f"{self._most_bytes:,}"),
        )
        return used

    def _key(self, path: Path) -> str:
        key = path.relative_to(self.root).as_posix()
        return "" if key == "." else key

    @contextmanager
    def _errors(self, path: Path) -> Iterator[None]:
        """What the store raises as DataUnavailable, or Changed, with the address.

        Where it did not answer, it is taken to be away for a while, and not asked.
        """
        from obstore.exceptions import BaseError, InvalidPathError  # noqa: PLC0415 (an extra)

        if time.monotonic() < self._away_until:
            raise DataUnavailable(f"{self.shown(path)}: {self._away}")
        try:
            yield
        except fetching.Changed as error:
            why = f"{error.strerror} since it was listed; try again"
            raise fetching.Changed(errno.ESTALE, why, self.shown(path)) from error
        except OSError as error:
            if error.errno not in _CACHE_IS_FULL:
                raise
            raise DataUnavailable(
                f"{self.shown(path)}: the cache cannot take it ({error.strerror}): make room, or "
                "set GRADCAM_DATA_CACHE and GRADCAM_DATA_CACHE_BYTES"
            ) from error
        except BaseError as error:
            reason = str(error).strip().partition("\n")[0][:_LONGEST_REASON]
            _log.warning("%s: %s", self.shown(path), reason)
            if isinstance(error, InvalidPathError):  # of one key among those that were listed
                why = reason
            elif (refusal := _refusal(str(error))) is not None:
                why = refusal
            else:
                why = "the store does not answer, or with an error that the log names"
                self._away_until, self._away = time.monotonic() + _AWAY_SECONDS, why
            raise DataUnavailable(f"{self.shown(path)}: {why}") from error


def _refusal(said: str) -> str | None:
    """What a store's refusal means; None for other errors."""
    return next((words for code, words in _REFUSALS.items() if code in said), None)


def _is_part(name: str) -> bool:
    """Whether a folder of that name belongs to an experiment's classifiers and crops."""
    classifiers, crops = _PARTS_OF_AN_EXPERIMENT
    return name.startswith(classifiers) or name == crops


def _apply_one_level(folder: Path, listed: Listed) -> None:
    """Names right in the folder; what is in folders that stay is left as it is."""
    if not (listed.files or listed.folders):  # S3 has no empty folders
        for there in _inside(folder):
            _remove(there)
        with suppress(OSError):  # the bucket itself is always there
            folder.rmdir()
        return
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {parts[0] for parts in (*listed.files, *listed.folders)}
    for there in list(folder.iterdir()):
        is_folder = _is_folder(there)
        if there.name not in wanted or is_folder != ((there.name,) in listed.folders):
            _remove(there)
    for parts in listed.folders:
        folder.joinpath(*parts).mkdir(exist_ok=True)
    _place(folder, listed)


def _apply_all_levels(folder: Path, listed: Listed) -> None:
    if not listed.files:  # there is no such folder: but there may be a file
        if _is_folder(folder):
            _remove(folder)
        return
    _clear(folder, listed, lambda _: True)
    _place(folder, listed)


def _apply_experiment(folder: Path, listed: Listed) -> None:
    _clear(folder, listed, _is_part)
    _place(folder, listed)


def _clear(folder: Path, listed: Listed, concerns: Callable[[str], bool]) -> None:
    """Remove what is there and was not listed, in those folders of these names."""
    around = {parts[:depth] for parts in listed.files for depth in range(len(parts))}
    for name in [there.name for there in _inside(folder) if concerns(there.name)]:
        _clear_below(folder, (name,), listed.files.keys(), around)


def _clear_below(folder: Path, parts: Parts, files: Iterable[Parts], around: set[Parts]) -> None:
    path = folder.joinpath(*parts)
    if not _is_folder(path):
        if parts not in files:
            _remove(path)
    elif parts not in around:
        _remove(path)
    else:
        for there in _inside(path):
            _clear_below(folder, (*parts, there.name), files, around)


def _place(folder: Path, listed: Listed) -> None:
    """Put those files there that are not, or that were others. Raises OSError."""
    made: set[Path] = set()
    for parts, stamp in listed.files.items():
        path = folder.joinpath(*parts)
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        try:
            if fetching.stamp_of(path) == stamp:
                continue
        except FileNotFoundError:
            pass
        fetching.place(path, stamp)


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _contents(root: Path) -> Iterator[tuple[float, int, Path]]:
    """(when it was last read, bytes it takes, path) of each file that takes any."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):
                status = path.stat()
                if status.st_blocks and stat.S_IMODE(status.st_mode) != fetching.BY_NAME:
                    yield status.st_atime, status.st_blocks * _BLOCK_BYTES, path


def _is_by_name(path: Path) -> bool:
    try:
        return fetching.state_of(path) == fetching.BY_NAME
    except OSError:
        return False


def _touch(path: Path) -> None:
    """It was read now."""
    with suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

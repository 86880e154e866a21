"""One folder and what is below it: the only way in which files of an output are read or changed.

A path below the folder is a list of plain names. Each is opened from the descriptor of the folder
around it, and a link is not followed, so that nobody who can put files there leads a reader or a
writer elsewhere, not even by exchanging a folder for a link at the right moment.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePath

from cam_engine.errors import PathOutsideRoot
from cam_engine.short_names import start_of

PART_SUFFIX = ".part"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe that somebody put there would otherwise be waited for.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE = 0o666  # less the process's umask, as is usual
_LONGEST_NAME = 255  # bytes, on all common file systems and in keys
_LONGEST_START = 100  # bytes of a name that its temporary name begins with

Below = str | PurePath


def parts_of(path: Below) -> tuple[str, ...]:
    """The names that a path is made of; () for "" and ".".

    Raises PathOutsideRoot for absolute paths, "..", empty names, NUL, and names that are too long.
    """
    text = str(path)
    if text in {"", "."}:
        return ()
    parts = tuple(text.split("/"))
    if any(not _is_plain(part) for part in parts):
        raise PathOutsideRoot(f"{text!r} could lead out of its folder; give plain names with /")
    return parts


def _is_plain(part: str) -> bool:
    return (
        part not in {"", ".", ".."} and "\0" not in part and len(os.fsencode(part)) <= _LONGEST_NAME
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a folder; links and whatever else there is are no entries."""

    name: str
    is_folder: bool


class ConfinedFolder:
    """A folder below a root; its methods take paths below the folder.

    The root itself is trusted, and may be reached through links. Everything below it is not: what
    is a link raises OSError, what could lead out raises PathOutsideRoot, and both before anything
    is read or changed. Errors of the file system are OSError.
    """

    def __init__(self, root: Path, below: Below = "", *, shown: str | None = None) -> None:
        self._root = root
        self._below = parts_of(below)
        self._shown = shown

    @staticmethod
    def of(folder: Path | ConfinedFolder) -> ConfinedFolder:
        """A path that is trusted as the root itself; what is confined already as it is."""
        return folder if isinstance(folder, ConfinedFolder) else ConfinedFolder(folder)

    @property
    def path(self) -> Path:
        """Where it is: to be shown and compared, never to be opened."""
        return self._root.joinpath(*self._below)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    def shown(self, path: Below = "") -> str:
        """A path below the folder as people may see it."""
        start = self._shown if self._shown is not None else str(self.path)
        return "/".join([start, *parts_of(path)])

    def within(self, below: Below) -> ConfinedFolder:
        """A folder below this one, of the same root."""
        deeper = ConfinedFolder(self._root, shown=self.shown(below) if self._shown else None)
        deeper._below = (*self._below, *parts_of(below))
        return deeper

    @property
    def around(self) -> ConfinedFolder:
        """The folder around it; that of the root is a root of its own."""
        if not self._below:
            return ConfinedFolder(self._root.parent)
        around = ConfinedFolder(self._root)
        around._below = self._below[:-1]
        return around

    # Reading.

    @contextmanager
    def opened(self, path: Below) -> Iterator[BufferedReader]:
        """A regular file, to be read."""
        with self._around(path) as (folder, name):
            descriptor = self._open(name, _READ, folder, path)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", self.shown(path))
            yield file

    def read(self, path: Below, most_bytes: int | None = None) -> bytes:
        """A regular file's bytes. Raises OSError also for more than `most_bytes`."""
        with self.opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if most_bytes is not None and size > most_bytes:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), self.shown(path))
            return file.read() if most_bytes is None else file.read(most_bytes)

    def status(self, path: Below) -> os.stat_result:
        """Of a regular file."""
        with self.opened(path) as file:
            return os.fstat(file.fileno())

    def is_file(self, path: Below) -> bool:
        """Whether a regular file is there that can be read."""
        try:
            self.status(path)
        except OSError:
            return False
        return True

    def entries(self, path: Below = "") -> list[Entry]:
        """Files and folders in a folder, by name; [] where there is none, or a link in its way."""
        try:
            with self._folder(parts_of(path)) as folder, os.scandir(folder) as inside:
                entries = [
                    Entry(entry.name, entry.is_dir(follow_symlinks=False))
                    for entry in inside
                    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
                ]
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                return []
            raise
        return sorted(entries, key=lambda entry: entry.name)

    def files(self, path: Below = "") -> list[str]:
        """Names of the files in a folder."""
        return [entry.name for entry in self.entries(path) if not entry.is_folder]

    def folders(self, path: Below = "") -> list[str]:
        """Names of the folders in a folder."""
        return [entry.name for entry in self.entries(path) if entry.is_folder]

    def files_below(self, levels: int) -> Iterator[str]:
        """Paths of files in the folder and in those below it, so many levels of folders deep."""
        for entry in self.entries():
            if not entry.is_folder:
                yield entry.name
            elif levels > 0:
                for path in self.within(entry.name).files_below(levels - 1):
                    yield f"{entry.name}/{path}"

    def check(self) -> None:
        """Raise OSError where a part of the folder's path is a link or a file."""
        with suppress(FileNotFoundError), self._folder(()):
            return

    # Changing.

    def make(self, path: Below = "") -> None:
        """Create a folder and those around it, as far as they are not there."""
        with self._folder(parts_of(path), make=True):
            return

    def write(self, path: Below, data: bytes) -> None:
        """Write under a temporary name, then rename: never half a file under the name.

        If it fails, or is interrupted, nothing is left.
        """
        with self._around(path) as (folder, name):
            part = f".{start_of(name, _LONGEST_START)}.{uuid.uuid4().hex[:12]}{PART_SUFFIX}"
            try:
                _write_new(part, data, folder)
                os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=folder)
                raise

    def create(self, path: Below, data: bytes) -> bool:
        """Write a file whole unless there is one of that name. Works on NFS too."""
        with self._around(path) as (folder, name):
            part = f"{start_of(name, _LONGEST_START)}.{uuid.uuid4().hex}"
            try:
                _write_new(part, data, folder)
                os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                return False
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=folder)
        return True

    def create_folder(self, path: Below) -> None:
        """Raises FileExistsError where there is something of that name."""
        with self._around(path) as (folder, name):
            os.mkdir(name, dir_fd=folder)

    def folder_time(self, path: Below) -> float:
        """When the folder changed, in seconds by the clock of whoever keeps the files."""
        with self._folder(parts_of(path)) as folder:
            return os.fstat(folder).st_mtime

    def now(self) -> float:
        """Seconds by the clock of whoever keeps the files, which may not be this machine's."""
        with self._folder(()) as folder:
            probe = f".now.{uuid.uuid4().hex[:12]}{PART_SUFFIX}"
            descriptor = os.open(probe, _NEW, _FILE_MODE, dir_fd=folder)
            try:
                return os.fstat(descriptor).st_mtime
            finally:
                os.close(descriptor)
                with suppress(FileNotFoundError):
                    os.unlink(probe, dir_fd=folder)

    def refresh(self, path: Below) -> None:
        """Set a file's time to now."""
        with self._around(path) as (folder, name):
            os.utime(name, dir_fd=folder, follow_symlinks=False)

    def remove(self, path: Below) -> None:
        """Remove a file, or a link itself, where there is one."""
        with suppress(FileNotFoundError), self._around(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def remove_folder(self, path: Below) -> None:
        """Remove an empty folder."""
        with self._around(path) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def remove_tree(self, path: Below) -> None:
        """Remove a folder and all in it, where there is one; links in it, not what they lead to."""
        with suppress(FileNotFoundError), self._around(path) as (folder, name):
            shutil.rmtree(name, dir_fd=folder)

    @contextmanager
    def _around(self, path: Below) -> Iterator[tuple[int, str]]:
        """The descriptor of the folder around what the path names, and its name there."""
        parts = parts_of(path)
        if not parts:
            raise PathOutsideRoot(f"{str(path)!r} names nothing below {self.shown()}")
        with self._folder(parts[:-1]) as folder:
            yield folder, parts[-1]

    @contextmanager
    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        if make:
            self._root.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for depth, name in enumerate(names := (*self._below, *parts), start=1):
                deeper = self._deeper(folder, name, "/".join(names[:depth]), make=make)
                os.close(folder)
                folder = deeper
            yield folder
        finally:
            os.close(folder)

    def _deeper(self, folder: int, name: str, where: str, *, make: bool) -> int:
        try:
            return self._open(name, _FOLDER, folder, where)
        except FileNotFoundError:
            if not make:
                raise
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        return self._open(name, _FOLDER, folder, where)

    def _open(self, name: str, flags: int, folder: int, where: Below) -> int:
        """Raises OSError that says so where the name is a link."""
        try:
            return os.open(name, flags, dir_fd=folder)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK} and _is_link(name, folder):
                why = f"{name} is a link, and links are not followed in output folders"
                raise OSError(errno.ELOOP, why, str(where)) from error
            raise


def _write_new(name: str, data: bytes, folder: int) -> None:
    with os.fdopen(os.open(name, _NEW, _FILE_MODE, dir_fd=folder), "wb") as file:
        file.write(data)


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False

"""Walks a folder of images: which there are, and what was left out and why.

Links are followed, after all that lies in the folder itself: a file is had once, by its own path
where it has one below the folder, else by the first link by path. Hard links are files of their
own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cam_engine.experiments.skipped import Skipped, Tally
from cam_engine.images.decoding import IMAGE_SUFFIXES
from cam_engine.images.png import is_own_picture, named_like_ours
from cam_engine.short_names import speakable
from cam_engine.stores import access

DEFAULT_OUTPUT = "gradcam_visualizations"

# Of image viewers, network drives and archives; compared whatever the case.
OTHER_PROGRAMS = frozenset(
    {
        "@eadir",
        "@recycle",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__macosx",
        "thumbs",
        "thumbnail",
        "thumbnails",
        ".thumbnails",
    }
)

# What somebody may take for an image that is read; others are of another kind.
_PICTURES = """
.heic .heif .hif .avif .gif .jfif .jpe .jp2 .j2k .j2c .jpf .jpx .jxl .jxr .psd .svg .eps .tga .ico
.exr .hdr .ppm .pgm .pbm .pnm .pfm .dng .raw .cr2 .cr3 .nef .arw .orf .rw2 .raf .dcm .dicom .nii
.mha .mhd .svs .svslide .ndpi .ndpis .mrxs .scn .bif .vms .vmu .qptiff .czi .zvi .lif .lsm .nd2
.oib .oif .oir .vsi .ets .stk .ims .dv .zarr
"""
IMAGES_NOT_READ = frozenset(_PICTURES.split()) - IMAGE_SUFFIXES

_Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Walk:
    """files: sorted by path. folders: those looked into, the one walked first, with their times
    (mtime, in nanoseconds) before that.
    """

    files: tuple[Path, ...]
    skipped: Skipped
    folders: tuple[tuple[Path, int], ...]


def walk(root: Path, *, within: Path | None = None, outputs: Iterable[Path] = ()) -> Walk:
    """The images below a folder.

    within: links are followed below this folder only, and names must be UTF-8, as of all that a
    service lists; None: wherever they lead. outputs: folders that pictures are written to.
    """
    walker = _Walker(root, within, outputs)
    walker.walk()
    return Walk(tuple(sorted(walker.files)), walker.tally.skipped(), tuple(walker.folders))


class _Walker:
    def __init__(self, root: Path, within: Path | None, outputs: Iterable[Path]) -> None:
        self._root = root
        self._within = None if within is None else within.resolve()
        self._outputs = {
            identity for output in outputs if (identity := _identity(output)) is not None
        }
        self._around = _around(root)
        self._folders: set[_Identity] = set()
        self._known_files: set[_Identity] | None = None  # until a link is followed
        self._links: list[Path] = []
        self.files: list[Path] = []
        self.folders: list[tuple[Path, int]] = []
        self.tally = Tally()

    def walk(self) -> None:
        if self._leads_out(self._root):
            self.tally.add("leads-out")
            return
        self._tree(self._root)
        while self._links:
            links, self._links = sorted(self._links), []
            for link in links:
                self._follow(link)

    def _tree(self, top: Path) -> None:
        """All that lies in a folder; links are kept for later."""
        first = len(self.files)
        pending = [top]
        while pending:
            folder = pending.pop()
            try:
                pending += reversed(self._entries(folder))
            except OSError as error:
                self.tally.add("not-readable", f"{self._shown(folder)} ({error.strerror})")
        if self._known_files is not None:
            self._known_files |= _identities(self.files[first:])

    def _entries(self, folder: Path) -> list[Path]:
        """Takes the files of a folder. Answers the folders in it. Raises OSError."""
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in self._folders or (identity in self._around and folder != self._root):
            # The same file system mounted twice, or reached by a link before.
            self.tally.add("linked-again", self._shown(folder))
            return []
        with os.scandir(folder) as inside:
            entries = sorted(inside, key=lambda entry: entry.name)
        self._folders.add(identity)
        self.folders.append((folder, status.st_mtime_ns))
        deeper = []
        for entry in entries:
            path = Path(folder, entry.name)
            try:
                if entry.is_symlink():
                    self._links.append(path)
                elif not entry.is_dir(follow_symlinks=False):
                    self._file(path, regular=entry.is_file(follow_symlinks=False))
                elif not self._is_left_out(path):
                    deeper.append(path)
            except OSError as error:
                self.tally.add("not-readable", f"{self._shown(path)} ({error.strerror})")
        return deeper

    def _is_left_out(self, folder: Path) -> bool:
        """Whether images in it are none of ours, which then are counted."""
        name = folder.name.casefold()
        if name in OTHER_PROGRAMS:
            self.tally.add("other-program", folder.name, count=_images_in(folder))
        elif name.startswith("."):
            self.tally.add("hidden", folder.name, count=_images_in(folder))
        elif name == DEFAULT_OUTPUT or (self._outputs and _identity(folder) in self._outputs):
            self.tally.add("output-folder", self._shown(folder), count=_images_in(folder))
        else:
            return False
        return True

    def _file(self, path: Path, *, regular: bool) -> None:
        suffix = path.suffix.lower()
        is_image = suffix in IMAGE_SUFFIXES
        if path.name.startswith("."):
            self.tally.add("hidden", path.name, count=int(is_image))
        elif suffix in IMAGES_NOT_READ:
            self.tally.add("format-not-read", self._shown(path))
        elif not is_image:
            self.tally.add("another-kind", suffix or "no suffix")
        elif not regular:
            self.tally.add("not-readable", f"{self._shown(path)} (no regular file)")
        elif self._is_unspeakable(path):
            self.tally.add("name-not-utf8", self._shown(path))
        elif suffix == ".png" and _may_be_ours(path) and is_own_picture(path):
            folder = path.parent  # there are seven of an image
            self.tally.add("own-picture", self._shown(path if folder == self._root else folder))
        elif self._known_files is None or _identity(path) not in self._known_files:
            self.files.append(path)
        else:
            self.tally.add("linked-again", self._shown(path))

    def _follow(self, link: Path) -> None:
        if self._leads_out(link):
            self.tally.add("leads-out")
            return
        try:
            status = link.stat()
        except OSError:  # also a link to itself
            is_hidden = link.name.startswith(".")  # an editor's lock, for one
            self.tally.add("link-broken", self._shown(link), count=int(not is_hidden))
            return
        identity = (status.st_dev, status.st_ino)
        if self._known_files is None:
            self._known_files = _identities(self.files)
        if not stat.S_ISDIR(status.st_mode):
            before = len(self.files)
            self._file(link, regular=stat.S_ISREG(status.st_mode))
            self._known_files |= {identity} if len(self.files) > before else set()
        elif identity in self._around:
            self.tally.add("link-loop", self._shown(link))
        elif identity in self._folders:
            self.tally.add("linked-again", self._shown(link))
        elif not self._is_left_out(link):
            self._tree(link)

    def _leads_out(self, path: Path) -> bool:
        if self._within is None:
            return False
        try:
            return not path.resolve().is_relative_to(self._within)
        except (OSError, RuntimeError):  # a loop of links
            return False

    def _is_unspeakable(self, path: Path) -> bool:
        return self._within is not None and speakable(str(path)) != str(path)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path != self._root else path.name


def _around(root: Path) -> set[_Identity]:
    """The folder and all around it, links resolved."""
    real = root.resolve()
    identities = (_identity(folder) for folder in (real, *real.parents))
    return {identity for identity in identities if identity is not None}


def _identity(path: Path) -> _Identity | None:
    """None where there is nothing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _identities(files: Iterable[Path]) -> set[_Identity]:
    return {identity for file in files if (identity := _identity(file)) is not None}


def _may_be_ours(path: Path) -> bool:
    """Whether it is worth a look into a file; in a bucket, only where its name is like ours."""
    if not access.is_mirrored(path):
        return True
    if not named_like_ours(path.name):
        return False
    with suppress(OSError):  # the look will say so
        access.bring(path)
    return True


def _images_in(folder: Path) -> int:
    """How many files a folder has that are called images; links are not followed."""
    return sum(1 for name in _names_below(folder) if Path(name).suffix.lower() in IMAGE_SUFFIXES)


def _names_below(folder: Path) -> Iterator[str]:
    with suppress(OSError):
        for _, _, names in os.walk(folder):
            yield from names

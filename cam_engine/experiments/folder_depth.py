"""The depth of a folder's deep images: one for all of them, so that they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from cam_engine.errors import CamError, DataUnavailable, error_of_item
from cam_engine.experiments.finding import ImageItem
from cam_engine.images.decoding import (
    DEFAULT_LIMITS,
    Decode,
    ImageLimits,
    decode,
    open_image,
    read_image_bytes,
)
from cam_engine.images.headers import FilePieces, is_deep_png
from cam_engine.images.tiff_headers import is_deep_tiff
from cam_engine.options import CamOptions
from cam_engine.stores import access

# Files of other names are not opened for it; what they hold is read by their own depth.
_DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})


class ImageFiles(Protocol):
    """What images are read from, whole or as far as somebody looks; for instance a `DataRoot`."""

    def read_image(self, path: Path, limits: ImageLimits) -> bytes:
        """Its bytes. Raises CamError."""
        ...

    def open_image(self, path: Path) -> AbstractContextManager[BufferedReader]:
        """The file, to be read. Raises CamError."""
        ...


class _AnyFiles:
    def read_image(self, path: Path, limits: ImageLimits) -> bytes:
        return read_image_bytes(path, limits)

    def open_image(self, path: Path) -> BufferedReader:
        return open_image(path)


class FolderDepth:
    """What the images of a folder or split need, found once, when it is first asked for."""

    def __init__(
        self, items: Sequence[ImageItem], files: ImageFiles | None = None, decode: Decode = decode
    ) -> None:
        """files: None for any that can be read. decode: as in `pipeline.RunRequest`."""
        self._items = items
        self._files = files or _AnyFiles()
        self._decode = decode
        self._found: dict[int | None, int | None] = {}

    def added_to(self, options: CamOptions, wanted: Iterable[ImageItem]) -> CamOptions:
        """The options with the folder's depth, where one of the wanted images needs it."""
        decoding = options.decoding
        if decoding.intensity != "depth" or decoding.depth_bits is not None:
            return options
        page = decoding.page
        if page not in self._found:
            wanted = [item for item in wanted if _may_be_deep(item)]
            if not any(self._is_deep(item) for item in _ahead(wanted)):
                return options
            self._found[page] = self._greatest(options)
        return replace(options, decoding=replace(decoding, depth_bits=self._found[page]))

    @staticmethod
    def may_concern(files: Iterable[Path]) -> bool:
        """Whether one of the files has a name by which it may be deep."""
        return any(file.suffix.lower() in _DEEP_SUFFIXES for file in files)

    def _greatest(self, options: CamOptions) -> int | None:
        items = (item for item in self._items if _may_be_deep(item))
        needs = (self._needed(item, options) for item in _ahead(items) if self._is_deep(item))
        return max((bits for bits in needs if bits is not None), default=None)

    def _needed(self, item: ImageItem, options: CamOptions) -> int | None:
        """The bits that the samples of a file need which names no depth."""
        try:
            data = self._files.read_image(item.path, DEFAULT_LIMITS)
            return self._decode(data, DEFAULT_LIMITS, options.decoding).facts.least_bits
        except DataUnavailable:
            raise
        except Exception as error:  # it is told of the image when its turn comes
            error_of_item(error, item.name)
            return None

    def _is_deep(self, item: ImageItem) -> bool:
        """As its header says, of which no more is read than is needed; nothing is decoded."""
        if not _may_be_deep(item):
            return False
        try:
            with self._files.open_image(item.path) as file:
                data = FilePieces(file)
                if len(data) > DEFAULT_LIMITS.max_bytes:
                    return False
                return is_deep_png(data) or is_deep_tiff(data)
        except DataUnavailable:
            raise
        except (CamError, OSError):
            return False


def _may_be_deep(item: ImageItem) -> bool:
    return item.path.suffix.lower() in _DEEP_SUFFIXES


def _ahead(items: Iterable[ImageItem]) -> Iterator[ImageItem]:
    return access.ahead(items, lambda item: item.path)

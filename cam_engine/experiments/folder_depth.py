"""The depth of a folder's deep images: one for all of them, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cam_engine.errors import CamError, error_of_item
from cam_engine.experiments.finding import ImageItem
from cam_engine.images.decoding import DEFAULT_LIMITS, Decode, ImageLimits, decode, read_image_bytes
from cam_engine.images.headers import is_deep_png
from cam_engine.images.tiff_headers import is_deep_tiff
from cam_engine.options import CamOptions

# Files of other names are not opened for it; what they hold is read by their own depth.
_DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})

Read = Callable[[Path, ImageLimits], bytes]


class FolderDepth:
    """What the images of a folder or split need, found once, when it is first asked for."""

    def __init__(
        self, items: Sequence[ImageItem], read: Read = read_image_bytes, decode: Decode = decode
    ) -> None:
        """read, decode: as in `pipeline.RunRequest`."""
        self._items = items
        self._read = read
        self._decode = decode
        self._found: dict[int | None, int | None] = {}

    def added_to(self, options: CamOptions, wanted: Iterable[ImageItem]) -> CamOptions:
        """The options with the folder's depth, where one of the wanted images needs it."""
        decoding = options.decoding
        if decoding.intensity != "depth" or decoding.depth_bits is not None:
            return options
        page = decoding.page
        if page not in self._found:
            if not any(self._is_deep(item) for item in wanted):
                return options
            self._found[page] = self._greatest(options)
        return replace(options, decoding=replace(decoding, depth_bits=self._found[page]))

    @staticmethod
    def may_concern(files: Iterable[Path]) -> bool:
        """Whether one of the files has a name by which it may be deep."""
        return any(file.suffix.lower() in _DEEP_SUFFIXES for file in files)

    def _greatest(self, options: CamOptions) -> int | None:
        needs = (self._needed(item, options) for item in self._items if self._is_deep(item))
        return max((bits for bits in needs if bits is not None), default=None)

    def _needed(self, item: ImageItem, options: CamOptions) -> int | None:
        """The bits that the samples of a file need which names no depth."""
        try:
            data = self._read(item.path, DEFAULT_LIMITS)
            return self._decode(data, DEFAULT_LIMITS, options.decoding).facts.least_bits
        except Exception as error:  # it is told of the image when its turn comes
            error_of_item(error, item.name)
            return None

    def _is_deep(self, item: ImageItem) -> bool:
        """As its header says; nothing is decoded."""
        if item.path.suffix.lower() not in _DEEP_SUFFIXES:
            return False
        try:
            data = self._read(item.path, DEFAULT_LIMITS)
        except (CamError, OSError):
            return False
        return is_deep_png(data) or is_deep_tiff(data)

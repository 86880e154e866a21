"""The depth of deep images of the data root: one for a split, whoever asks for its images."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from cam_engine.decoding import ImageLimits
from cam_engine.decoding_pool import DecodingPool
from cam_engine.experiments import ImageItem
from cam_engine.folder_depth import FolderDepth
from cam_engine.options import CamOptions
from service.catalog import Catalog, ExperimentEntry

_SPLITS = ("test", "val", "train")
_MOST_KEPT = 64


class SplitDepths:
    """Remembers what was found until the split's images are others; safe in any thread."""

    def __init__(self, catalog: Catalog, decoding: DecodingPool) -> None:
        self._catalog = catalog
        self._decoding = decoding
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[Sequence[ImageItem], FolderDepth]] = (
            OrderedDict()
        )

    def added_to(
        self, options: CamOptions, files: Sequence[Path], experiment: ExperimentEntry | None = None
    ) -> CamOptions:
        """The options with the depth of the split that holds the files, where they need one.

        experiment: that of the files; found by their place where it is not given. Blocks.
        """
        experiment = experiment or self._experiment_of(files[0])
        if experiment is None or not FolderDepth.may_concern(files):
            return options
        for split in _SPLITS:
            items = self._catalog.images(experiment, split)
            wanted = [item for item in items if item.path in set(files)]
            if wanted:
                return self._depth(experiment, split, items).added_to(options, wanted)
        return options

    def _experiment_of(self, file: Path) -> ExperimentEntry | None:
        return next(
            (one for one in self._catalog.experiments() if one.experiment.folder in file.parents),
            None,
        )

    def _depth(
        self, experiment: ExperimentEntry, split: str, items: Sequence[ImageItem]
    ) -> FolderDepth:
        key = (experiment.id, split)
        with self._lock:
            known = self._kept.pop(key, None)
            if known is None or known[0] is not items:
                depth = FolderDepth(items, self._read, self._decoding.decode)
                known = (items, depth)
            self._kept[key] = known
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return known[1]

    def _read(self, path: Path, limits: ImageLimits) -> bytes:
        return self._catalog.data.read_image(path, limits)

"""The depth of deep images of the data root: one for a split, whoever asks for its images."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from cachetools import LRUCache

from cam_engine.experiments.finding import ImageItem
from cam_engine.experiments.folder_depth import FolderDepth
from cam_engine.images.decoding_pool import DecodingPool
from cam_engine.options import CamOptions
from service.models.catalog import Catalog, ExperimentEntry

_SPLITS = ("test", "val", "train")
_MOST_KEPT = 64


class SplitDepths:
    """Remembers what was found until the split's images are others; safe in any thread."""

    def __init__(self, catalog: Catalog, decoding: DecodingPool) -> None:
        self._catalog = catalog
        self._decoding = decoding
        self._lock = threading.Lock()
        self._kept: LRUCache[tuple[str, str], tuple[Sequence[ImageItem], FolderDepth]] = LRUCache(
            _MOST_KEPT
        )

    def added_to(
        self, options: CamOptions, images: Sequence[str], experiment: ExperimentEntry | None = None
    ) -> CamOptions:
        """The options with the depth of the split that holds the images, where they need one.

        images: paths below the data root, as ids say them. experiment: theirs; found by the first
        path where it is not given. Blocks.
        """
        if not FolderDepth.may_concern(Path(image) for image in images):
            return options
        experiment = experiment or self._experiment_of(images[0])
        wanted = frozenset(images)
        if experiment is None:
            return options
        for split in _SPLITS:
            items = self._catalog.images(experiment, split)
            asked = [item for item in items if self._catalog.data.id_of(item.path) in wanted]
            if not asked:  # links to listed images are not listed themselves
                files = {self._catalog.data.listed(listed) for listed in wanted}
                asked = [item for item in items if item.path.resolve() in files]
            if asked:
                return self._depth(experiment, split, items).added_to(options, asked)
        return options

    def _experiment_of(self, image: str) -> ExperimentEntry | None:
        experiments = self._catalog.experiments()
        return next(
            (experiment for experiment in experiments if image.startswith(f"{experiment.id}/")),
            None,
        )

    def _depth(
        self, experiment: ExperimentEntry, split: str, items: Sequence[ImageItem]
    ) -> FolderDepth:
        key = (experiment.id, split)
        with self._lock:
            known = self._kept.get(key)
            if known is None or known[0] is not items:
                depth = FolderDepth(items, self._catalog.data, self._decoding.decode)
                known = self._kept[key] = (items, depth)
        return known[1]

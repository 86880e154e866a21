"""Digests of image files, worked out anew only where a file has changed."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from cachetools import LRUCache

from cam_engine.stores import access
from service.models.catalog import FileStamp, stamp_of

_MOST_KEPT = 20_000


class ImageDigests:
    """SHA-256 of files; those asked for last are kept. For any thread."""

    def __init__(self) -> None:
        self._known: LRUCache[FileStamp, str] = LRUCache(_MOST_KEPT)
        self._lock = threading.Lock()

    def of(self, path: Path) -> str | None:
        """In hexadecimal, of the file as it is now; None where it is not there."""
        try:
            stamp = stamp_of(path)
            with self._lock:
                digest = self._known.get(stamp)
            if digest is None:
                access.bring(path)
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
        with self._lock:
            self._known[stamp] = digest
        return digest

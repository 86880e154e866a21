"""Folders of small files, as results trees have them."""

from __future__ import annotations

from pathlib import Path


def make(root: Path, *files: str) -> Path:
    """Files of these paths below the root, and the folders that they need."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root

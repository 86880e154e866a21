"""Where a path leads, one link after the other."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_MOST_LINKS = 40  # as Linux follows


def steps_of(path: Path) -> tuple[Path, ...]:
    """The path, what it links to, and so on to what is no link; each in its real folder.

    Raises OSError for a loop, or a folder that may not be looked into.
    """
    steps: list[Path] = []
    while len(steps) <= _MOST_LINKS:
        here = _in_its_folder(path)
        steps.append(here)
        if not here.is_symlink():
            return tuple(steps)
        path = here.parent / here.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def stays_within(path: Path, root: Path) -> bool:
    """Whether the path, and all that it leads to, lie below the root. Raises OSError."""
    return all(step.is_relative_to(root) for step in steps_of(path))


def _in_its_folder(path: Path) -> Path:
    try:
        return path.parent.resolve() / path.name if path.name != ".." else path.resolve()
    except RuntimeError as error:  # a loop of folders
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error

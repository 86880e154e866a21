"""Paths from outside, confined to the data root."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from service.problems import ServiceError

_LONGEST_PATH = 1024
_LONGEST_NAME = 255  # bytes, on all common file systems
_DECODINGS = 3


def inside(root: Path, relative: str) -> Path:
    """The file or folder below the root, links resolved; it need not exist.

    Raises ServiceError "path-outside-root" for whatever could lead elsewhere: absolute paths, "..",
    NUL, backslashes, their percent-encoded forms however often encoded, and links out of the root.
    """
    for form in _decoded_forms(relative):
        if _suspicious(form):
            raise _outside()
    try:
        resolved = (root / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long
        raise _outside() from error
    if not resolved.is_relative_to(root.resolve()):
        raise _outside()
    return resolved


def _decoded_forms(text: str) -> list[str]:
    forms = [text]
    for _ in range(_DECODINGS):
        forms.append(unquote(forms[-1], errors="replace"))
    return forms


def _suspicious(path: str) -> bool:
    windows = PureWindowsPath(path)
    return (
        not path
        or len(path) > _LONGEST_PATH
        or any(ord(character) < ord(" ") for character in path)
        or "\\" in path
        or PurePosixPath(path).is_absolute()
        or bool(windows.drive)
        or ".." in PurePosixPath(path).parts
        or path.startswith("~")
        or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.split("/"))
    )


def _outside() -> ServiceError:
    return ServiceError(
        "path-outside-root",
        "the path leads out of the data root, or could; give one below it, with / between its "
        "parts and without .., as /v1/experiments and its images list them",
    )

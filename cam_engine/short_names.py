"""Names that files can have: those that are too long end with a digest of the whole."""

from __future__ import annotations

import hashlib
import os

_DIGEST_CHARACTERS = 12


def short_name(name: str, most_bytes: int) -> str:
    """The name, where it is longer as much of its start as fits before `_<digest>`.

    The digest is the first 12 hexadecimal digits of the SHA-256 of the whole name.
    """
    data = os.fsencode(name)
    if len(data) <= most_bytes:
        return name
    digest = hashlib.sha256(data).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{start_of(name, most_bytes - len(digest) - 1)}_{digest}"


def start_of(name: str, most_bytes: int) -> str:
    """As many whole characters of a name's start as fit."""
    while len(os.fsencode(name)) > most_bytes:
        name = name[: min(len(name) - 1, most_bytes)]
    return name

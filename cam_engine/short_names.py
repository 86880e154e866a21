"""Names that files can have and JSON can hold: cut with a digest, and with odd bytes escaped."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_DIGEST_CHARACTERS = 12
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_BYTE = 0xDC00  # what Python adds to a byte of a file's name that is not UTF-8


def speakable(name: str) -> str:
    """A name as UTF-8 can say it: a byte that is not UTF-8 becomes "%" and its hex digits."""
    return _SURROGATE.sub(_escaped, name)


def _escaped(match: re.Match[str]) -> str:
    byte = ord(match[0]) - _ESCAPED_BYTE
    return f"%{byte:02X}" if 0x80 <= byte <= 0xFF else "\ufffd"


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


def printable(text: str) -> str:
    r"""Text of a file or a library for a message: no control characters, such as ANSI codes.

    >>> printable("\x1b[31mred\x1b[0m\ttext")
    'red text'
    """
    plain = _ANSI.sub("", text)
    return "".join(character if character.isprintable() else " " for character in plain)


def first(texts: Sequence[str], count: int = 3) -> str:
    """The first few, and how many more there are.

    >>> first(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(printable(text[:200]) for text in texts[:count]) + more

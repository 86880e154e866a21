"""Headers of `*.safetensors`: what such a file says of itself, without the library.

The format: eight bytes (the header's length, little-endian), the header as JSON, the numbers
(https://huggingface.co/docs/safetensors). Nothing in it can run.
"""

from __future__ import annotations

import json
import struct
from io import BufferedReader
from pathlib import Path
from typing import Any

_SUFFIX = ".safetensors"
_MOST_HEADER_BYTES = 1 << 25
_OF_TORCH = (b"PK\3\4", b"\x80\2")  # a zip, a pickle
_LENGTH = struct.Struct("<Q")


def is_safetensors(file: BufferedReader, path: Path) -> bool:
    """By its name; else, as of links and files named by their digests, by how it begins."""
    file.seek(0)
    start = file.read(_LENGTH.size + 1)
    file.seek(0)
    named = path.suffix.lower() == _SUFFIX and not start.startswith(_OF_TORCH)
    return named or begins_as_safetensors(start)


def begins_as_safetensors(start: bytes) -> bool:
    """Whether a file with these first bytes, nine or more, may be one."""
    if start[_LENGTH.size : _LENGTH.size + 1] != b"{":
        return False
    return bool(0 < _LENGTH.unpack(start[: _LENGTH.size])[0] <= _MOST_HEADER_BYTES)


def read_said(file: BufferedReader) -> dict[str, Any]:
    """The text that was saved with the tensors (`__metadata__`), JSON in it as its values.

    Raises ValueError where it is no such file.
    """
    file.seek(0)
    start = file.read(_LENGTH.size)
    if len(start) < _LENGTH.size or _LENGTH.unpack(start)[0] > _MOST_HEADER_BYTES:
        raise ValueError("it does not begin as a safetensors file")
    header = json.loads(file.read(_LENGTH.unpack(start)[0]))
    said = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(said, dict) or len(header) < 2:
        raise ValueError("it holds no tensors")
    return {str(key): _value(value) for key, value in said.items()}


def _value(text: object) -> object:
    """Lists, dicts and numbers are kept as JSON, since the format has text only."""
    if not isinstance(text, str) or text[:1] not in '[{-0123456789"':
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

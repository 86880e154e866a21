"""Small pictures for tests of decoding, and TIFFs written by hand."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_engine.images.decoded import DecodedImage
from cam_engine.images.decoding import decode
from cam_engine.options import DecodingOptions

# Of a TIFF, by tag: a text, or a code of `struct` and values.
Entries = dict[int, Any]

RNG = np.random.default_rng(31)
DIM = RNG.integers(20, 90, (24, 32, 3), dtype=np.uint8)
# What OME writes of a picture into its first page's description.
OME = (
    b'<?xml version="1.0"?><OME><Image><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
    b'SizeX="32" SizeY="24" %s Type="uint16"></Pixels></Image></OME>'
)
WHITE, BLACK = DecodingOptions(background="white"), DecodingOptions(background="black")


def decoded(data: bytes, **options: Any) -> DecodedImage:
    return decode(data, options=DecodingOptions(**options))


def as_pillow(data: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def directory(entries: Entries, at: int, order: str = "<") -> tuple[bytes, bytes]:
    """A TIFF directory at `at` of {tag: (code, values) or bytes}; answers its bytes, no successor.

    What does not fit into an entry follows the directory.
    """
    body, beyond = struct.pack(f"{order}H", len(entries)), b""
    start = at + 2 + 12 * len(entries) + 4
    for tag, entry in sorted(entries.items()):
        if isinstance(entry, bytes):
            kind, count, packed = 2, len(entry) + 1, entry + b"\0"
        else:
            code, values = entry
            kind, count = (3 if code == "H" else 4), len(values)
            packed = struct.pack(f"{order}{count}{code}", *values)
        body += struct.pack(f"{order}HHI", tag, kind, count)
        if len(packed) > 4:
            body += struct.pack(f"{order}I", start + len(beyond))
            beyond += packed
        else:
            body += packed.ljust(4, b"\0")
    return body, beyond


def stack(*pages: tuple[NDArray[Any], Entries], order: str = "<") -> bytes:
    """A TIFF of several pages, each (pixels, {tag: entry}), by hand."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    link = 4
    for pixels, tags in pages:
        samples = 1 if pixels.ndim == 2 else pixels.shape[2]
        raw = pixels.astype(
            np.dtype(f"{order}{pixels.dtype.kind}{pixels.dtype.itemsize}")
        ).tobytes()
        place = len(data)
        data += raw + bytes(len(raw) % 2)
        at = len(data)
        kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
        entries = {
            256: ("I", [pixels.shape[1]]),
            257: ("I", [pixels.shape[0]]),
            258: ("H", [8 * pixels.dtype.itemsize] * samples),
            259: ("H", [1]),
            262: ("H", [2 if samples == 3 else 1]),
            273: ("I", [place]),
            277: ("H", [samples]),
            278: ("I", [pixels.shape[0]]),
            279: ("I", [len(raw)]),
            339: ("H", [kind] * samples),
            **tags,
        }
        body, beyond = directory(entries, at, order)
        data = data[:link] + struct.pack(f"{order}I", at) + data[link + 4 :]
        link = at + len(body)
        data += body + bytes(4) + beyond + bytes(len(beyond) % 2)
    return data

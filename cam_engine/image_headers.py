"""What an image file says about itself, read without decoding a pixel.

Only what the decoder must know beforehand: the size, to refuse what is too large, and the true bit
depth, which Pillow hides when it cuts 16-bit colour to 8 bits. A field that lies outside the data
raises `struct.error`, a contradiction ValueError; the decoder turns both into its own error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# TIFF 6.0, section 2 (field types) and BigTIFF: type -> struct code. Others are never needed here.
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_STRIP_OFFSETS, _SAMPLES, _STRIP_BYTES, _PLANAR = 273, 277, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA = 322, 323, 324, 325, 338
_TIFF_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIP_OFFSETS, _SAMPLES, _STRIP_BYTES, _PLANAR}
    | {_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA}
)
_BIG_TIFF = 43
_INTERLEAVED = 1
_BYTE_BITS = 8


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The IHDR chunk: width and height in pixels, bits a sample (1, 2, 4, 8 or 16)."""

    width: int
    height: int
    bits: int

    @property
    def deep(self) -> bool:
        """True for more than 8 bits a sample."""
        return self.bits > _BYTE_BITS


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """The first picture of a TIFF file.

    bits: the deepest channel's bits a sample. samples: channels, alpha included.
    photometric: 0 grey (0 is white), 1 grey, 2 RGB, 3 palette, 5 CMYK, ...
    extra: what each channel beyond the colours means: 0 nothing, 1 premultiplied alpha, 2 alpha.
    block_pixels: pixels of one tile, 0 for strips. data_end: the byte after the last strip or tile.
    """

    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    interleaved: bool
    extra: tuple[int, ...]
    block_pixels: int
    data_end: int

    @property
    def deep(self) -> bool:
        """True for more than 8 bits a sample."""
        return self.bits > _BYTE_BITS


def read_png_header(data: bytes) -> PngHeader:
    """Size and depth of a PNG. Raises ValueError or struct.error where IHDR does not come first."""
    if data[12:16] != b"IHDR":
        raise ValueError("IHDR is not the first chunk")
    return PngHeader(*struct.unpack_from(">IIB", data, 16))


def read_webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a WebP, from any of its three headers (RFC 9649). Raises ValueError."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError(f"unknown WebP chunk {kind!r}")


def read_tiff_header(data: bytes) -> TiffHeader:
    """Read the first directory of a TIFF or BigTIFF, either byte order. Raises as this module."""
    tags = _read_directory(data)

    def first(tag: int, default: int) -> int:
        return tags.get(tag, (default,))[0]

    return TiffHeader(
        width=first(_WIDTH, 0),
        height=first(_HEIGHT, 0),
        bits=max(tags.get(_BITS, (1,))),
        samples=first(_SAMPLES, 1),
        photometric=first(_PHOTOMETRIC, 1),
        interleaved=first(_PLANAR, _INTERLEAVED) == _INTERLEAVED,
        extra=tags.get(_EXTRA, ()),
        block_pixels=first(_TILE_WIDTH, 0) * first(_TILE_HEIGHT, 0),
        data_end=_data_end(tags),
    )


def _read_directory(data: bytes) -> dict[int, tuple[int, ...]]:
    """Values of `_TIFF_TAGS` in the first directory.

    A tag that comes twice, or in a type of its own, is refused: decoders differ on what it means,
    so that a size checked here could be another than the one decoded.
    """
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    big = version == _BIG_TIFF
    # (where the directory's offset stands, offset's code, entry count's code, value count's code)
    at, offset_code, entries_code, count_code = (8, "Q", "Q", "Q") if big else (4, "I", "H", "I")
    (at,) = struct.unpack_from(order + offset_code, data, at)
    (entries,) = struct.unpack_from(order + entries_code, data, at)
    at += struct.calcsize(order + entries_code)
    entry = struct.Struct(f"{order}HH{count_code}")
    inline_bytes = struct.calcsize(order + offset_code)
    tags: dict[int, tuple[int, ...]] = {}
    for _ in range(entries):
        tag, kind, count = entry.unpack_from(data, at)
        value_at = at + entry.size
        at = value_at + inline_bytes
        if tag not in _TIFF_TAGS:
            continue
        if tag in tags or kind not in _TIFF_TYPES or not count:
            raise ValueError(f"TIFF tag {tag} is malformed")
        code = f"{order}{count}{_TIFF_TYPES[kind]}"
        if struct.calcsize(code) > inline_bytes:
            (value_at,) = struct.unpack_from(order + offset_code, data, value_at)
        tags[tag] = struct.unpack_from(code, data, value_at)
    return tags


def _data_end(tags: dict[int, tuple[int, ...]]) -> int:
    offsets = tags.get(_STRIP_OFFSETS, ()) + tags.get(_TILE_OFFSETS, ())
    lengths = tags.get(_STRIP_BYTES, ()) + tags.get(_TILE_BYTES, ())
    # Some writers leave the lengths out; what can be paired is checked.
    return max((at + size for at, size in zip(offsets, lengths, strict=False)), default=0)

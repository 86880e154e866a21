"""What an image file says about itself, read without decoding a pixel.

Only what the decoder must know beforehand: the size, to refuse what is too large; how much work and
memory decoding would take; and the true bit depth, which Pillow hides when it cuts 16-bit colour to
8 bits. A field that lies outside the data raises `struct.error`, a contradiction ValueError, and so
does a file of so many parts that walking over them is itself the work; the decoder turns all of
them into its own error.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import BinaryIO, Protocol

_BYTE_BITS = 8
# Honest files stay far below: Pillow takes a microsecond or more for each of these parts.
_MOST_PNG_CHUNKS = 20_000
_MOST_PACKED_TEXTS = 16  # each may be a kilobyte that becomes megabytes
_MOST_JPEG_SEGMENTS = 10_000
_MOST_JPEG_PADDING = 2**16

# ITU-T T.81, table B.1.
_SOS, _EOI = 0xDA, 0xD9
_BARE = frozenset({0x01, 0xD8})  # markers without a length, beside those of restarts
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_COEFFICIENT_BYTES = 2
_FEW_SCANS = 16


class Pieces(Protocol):
    """What headers are read from: bytes, or what is sliced as they are."""

    def __len__(self) -> int:
        """How many bytes there are."""
        ...

    def __getitem__(self, part: slice, /) -> bytes:
        """Those of them that there are."""
        ...


class FilePieces:
    """A file as `bytes` for whoever slices it; the file stays open as long as it is looked at.

    Slices have no step and do not count from the end. What the file shrinks by is not there.
    Raises OSError.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        """Its size when it was opened."""
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        """These bytes of it."""
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The IHDR chunk: width and height in pixels, bits a sample (1, 2, 4, 8 or 16).

    channels: samples a pixel as it is decoded, 1 for a palette.
    """

    width: int
    height: int
    bits: int
    channels: int

    @property
    def deep(self) -> bool:
        """True for more than 8 bits a sample."""
        return self.bits > _BYTE_BITS


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG says before its first scan, and how many scans it has.

    kept_bytes: what the decoder keeps of the whole picture beside its pixels: its coefficients,
    where they come in several scans. scans: exact from 17 up to one more than was asked for; 1
    where there are fewer, previews included.
    """

    width: int
    height: int
    kept_bytes: int
    scans: int


def read_jpeg_header(data: bytes, most_scans: int) -> JpegHeader:
    """Walk over a JPEG's segments, as its decoders do. Raises as this module.

    Scans are counted up to one more than `most_scans`, which is cheap: within a scan no two bytes
    are a marker.
    """
    width = height = components = coefficients = kept_bytes = 0
    scans = skipped = 0
    progressive = False
    many = data.count(bytes((0xFF, _SOS))) > _FEW_SCANS
    expected = 2
    for segments, (code, body, began) in enumerate(_jpeg_markers(data)):
        skipped += began - expected if not scans else 0
        if segments > _MOST_JPEG_SEGMENTS or skipped > _MOST_JPEG_PADDING:
            raise ValueError("it has more segments or padding than any picture needs")
        if code in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, body + 3)
            coefficients = _coefficient_bytes(data, body + 8, width, height, components)
            progressive = code not in _SEQUENTIAL
        elif code == _SOS:
            scans += 1
            if progressive or data[body + 2] < components:
                kept_bytes = coefficients
            if not many or scans > most_scans:
                break
        expected = body if code in _BARE else body + int.from_bytes(data[body : body + 2])
    return JpegHeader(width, height, kept_bytes, scans)


def _jpeg_markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(code, where its length stands, where it began) up to the end of the first picture."""
    at = 2
    while marker := _MARKER.search(data, at):
        code = marker[1][0]
        if code == _EOI:
            return
        yield code, marker.end(), marker.end() - 2
        at = marker.end()
        if code not in _BARE:
            at += max(2, int.from_bytes(data[at : at + 2]))


def _coefficient_bytes(data: bytes, at: int, width: int, height: int, components: int) -> int:
    """Bytes of a frame's coefficients, each component at its own resolution (T.81, B.2.2)."""
    factors = [divmod(data[at + 3 * n + 1], 16) for n in range(components)]
    across = max((h for h, _ in factors), default=1) or 1
    down = max((v for _, v in factors), default=1) or 1
    samples = sum(ceil(width * h / across) * ceil(height * v / down) for h, v in factors)
    return _COEFFICIENT_BYTES * samples


_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_BEGINNING = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 4, 6: 4}  # grey with alpha is decoded as colour


def read_png_header(data: bytes) -> PngHeader:
    """Size and depth of a PNG. Raises ValueError or struct.error where IHDR does not come first."""
    if data[12:16] != b"IHDR":
        raise ValueError("IHDR is not the first chunk")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    return PngHeader(width, height, bits, _PNG_CHANNELS.get(colour, 4))


def is_deep_png(data: Pieces) -> bool:
    """Whether it is a PNG of more than 8 bits a sample."""
    return data[:16] == _PNG_BEGINNING and data[24:25] > bytes([_BYTE_BITS])


@dataclass(frozen=True, slots=True)
class PngParts:
    """What the chunks of a PNG say beside its pixels.

    significant_bits: of its colours' samples (sBIT), None where nothing is said. animated: whether
    it has several pictures. has_texts: whether it has texts or a colour profile.
    """

    significant_bits: int | None
    animated: bool
    has_texts: bool


def read_png_parts(data: bytes) -> PngParts:
    """Walk over the chunks. Raises ValueError where they are the work, not its pixels."""
    at, chunks, profiles, texts, packed = 8, 0, 0, 0, 0
    significant, animated = None, False
    while at + 8 <= len(data):
        chunks += 1
        name = data[at + 4 : at + 8]
        length = int.from_bytes(data[at : at + 4])
        profiles += name == b"iCCP"
        texts += name in _TEXTS
        packed += name == b"zTXt"
        if name == b"iTXt":
            flag = data.find(b"\0", at + 8, at + 88) + 1
            packed += flag > 0 and data[flag : flag + 1] != b"\0"
        elif name == b"sBIT":
            significant = max(
                data[at + 8 : at + 8 + min(length, 3 if length > 2 else 1)], default=0
            )
        animated = animated or name == b"acTL"
        if chunks > _MOST_PNG_CHUNKS:
            raise ValueError(f"it has more than {_MOST_PNG_CHUNKS:,} chunks")
        if profiles > 1:
            raise ValueError("it has more than one colour profile")
        if packed > _MOST_PACKED_TEXTS:
            raise ValueError(f"it has more than {_MOST_PACKED_TEXTS} compressed texts")
        at += 12 + length
    return PngParts(significant or None, animated, bool(texts or profiles))


def without_texts(data: bytes) -> bytes:
    """The same PNG without texts and colour profile, whose checksums are compared here.

    Raises ValueError where one does not fit.
    """
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] not in _TEXTS:
            kept.append(data[at:end])
        elif zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise ValueError("a checksum does not fit its text or colour profile")
        at = end
    return b"".join(kept)


def still_png(data: bytes) -> bytes:
    """The first picture of a PNG alone: only the chunks that pixels are made of."""
    kept, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] in _PIXEL_CHUNKS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


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


def webp_is_animated(data: bytes) -> bool:
    """Whether a WebP has several pictures."""
    return data[12:16] == b"VP8X" and bool(data[20] & 2)


@dataclass(frozen=True, slots=True)
class GifHeader:
    """A GIF's canvas, in pixels, as large as its first picture needs."""

    width: int
    height: int
    animated: bool


_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
_MOST_GIF_EXTENSIONS = 10_000
_MOST_GIF_BLOCKS, _LEAST_GIF_BLOCK = 10_000, 64  # encoders fill blocks of 255 bytes


def read_gif_header(data: bytes) -> GifHeader:
    """Walk over a GIF's blocks up to its second picture. Raises as this module."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    pictures = extensions = 0
    while at < len(data):
        kind = data[at]
        if kind == _GIF_IMAGE:
            pictures += 1
            if pictures > 1:
                break
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height = max(width, left + across), max(height, top + down)
            at = _after_blocks(data, at + 11 + _palette_bytes(flags))
        elif kind == _GIF_EXTENSION:
            extensions += 1
            if extensions > _MOST_GIF_EXTENSIONS:
                raise ValueError(f"it has more than {_MOST_GIF_EXTENSIONS:,} extensions")
            at = _after_blocks(data, at + 2)
        else:
            break
    return GifHeader(width, height, pictures > 1)


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    most = _MOST_GIF_BLOCKS + len(data) // _LEAST_GIF_BLOCK
    while at < len(data) and data[at]:
        at += 1 + data[at]
        most -= 1
        if most < 0:
            raise ValueError("its data come in more blocks than any picture needs")
    return at + 1

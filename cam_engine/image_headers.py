"""What an image file says about itself, read without decoding a pixel.

Only what the decoder must know beforehand: the size, to refuse what is too large; how much work and
memory decoding would take; and the true bit depth, which Pillow hides when it cuts 16-bit colour to
8 bits. A field that lies outside the data raises `struct.error`, a contradiction ValueError, and so
does a file of so many parts that walking over them is itself the work; the decoder turns all of
them into its own error.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

# TIFF 6.0, section 2 (field types) and BigTIFF: type -> struct code. Others are never needed here.
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 256, 257, 258, 262
_COMPRESSION, _STRIP_OFFSETS, _SAMPLES, _STRIP_BYTES, _PLANAR = 259, 273, 277, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA = 322, 323, 324, 325, 338
_TIFF_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS, _SAMPLES, _STRIP_BYTES}
    | {_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA}
)
_BIG_TIFF = 43
_INTERLEAVED = 1
_UNCOMPRESSED = 1
_BYTE_BITS = 8
# Honest files stay far below: Pillow takes a microsecond or more for each of these parts.
_MOST_TIFF_ENTRIES = 4096
_MOST_TIFF_BLOCKS = 2**18
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
class TiffHeader:
    """The first picture of a TIFF file.

    bits: the deepest channel's bits a sample. samples: channels, alpha included.
    photometric: 0 grey (0 is white), 1 grey, 2 RGB, 3 palette, 5 CMYK, ...
    extra: what each channel beyond the colours means: 0 nothing, 1 premultiplied alpha, 2 alpha.
    block_pixels: pixels of one tile, 0 for strips. decoded_pixels: those of all tiles together, or
    of the picture. data_end: the byte after the last strip or tile. claimed_bytes: what strips or
    tiles hold together, each as far as the file goes.
    """

    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    interleaved: bool
    extra: tuple[int, ...]
    block_pixels: int
    decoded_pixels: int
    data_end: int
    claimed_bytes: int

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
    while found := _MARKER.search(data, at):
        code = found[1][0]
        if code == _EOI:
            return
        yield code, found.end(), found.end() - 2
        at = found.end()
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
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 4, 6: 4}  # grey with alpha is decoded as colour


def read_png_header(data: bytes) -> PngHeader:
    """Size and depth of a PNG. Raises ValueError or struct.error where IHDR does not come first."""
    if data[12:16] != b"IHDR":
        raise ValueError("IHDR is not the first chunk")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    return PngHeader(width, height, bits, _PNG_CHANNELS.get(colour, 4))


def check_png_chunks(data: bytes) -> None:
    """Refuse a PNG whose chunks are the work, not its pixels. Raises ValueError."""
    at, chunks, profiles, texts = 8, 0, 0, 0
    while at + 8 <= len(data):
        chunks += 1
        name = data[at + 4 : at + 8]
        profiles += name == b"iCCP"
        texts += name == b"zTXt"
        if name == b"iTXt":
            flag = data.find(b"\0", at + 8, at + 88) + 1
            texts += flag > 0 and data[flag : flag + 1] != b"\0"
        if chunks > _MOST_PNG_CHUNKS:
            raise ValueError(f"it has more than {_MOST_PNG_CHUNKS:,} chunks")
        if profiles > 1:
            raise ValueError("it has more than one colour profile")
        if texts > _MOST_PACKED_TEXTS:
            raise ValueError(f"it has more than {_MOST_PACKED_TEXTS} compressed texts")
        at += 12 + int.from_bytes(data[at : at + 4])


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


def read_tiff_header(data: bytes) -> TiffHeader:
    """Read the first directory of a TIFF or BigTIFF, either byte order. Raises as this module."""
    tags = _read_directory(data)

    def first(tag: int, default: int) -> int:
        return tags.get(tag, (default,))[0]

    width, height = first(_WIDTH, 0), first(_HEIGHT, 0)
    across, down = first(_TILE_WIDTH, 0), first(_TILE_HEIGHT, 0)
    tiled = width * height
    if across and down:
        tiled = ceil(width / across) * ceil(height / down) * across * down
    blocks = _blocks(tags)
    if len(blocks) < _block_count(tags) > 1 and first(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED:
        raise ValueError("the sizes of its strips or tiles are missing")
    return TiffHeader(
        width=width,
        height=height,
        bits=max(tags.get(_BITS, (1,))),
        samples=first(_SAMPLES, 1),
        photometric=first(_PHOTOMETRIC, 1),
        interleaved=first(_PLANAR, _INTERLEAVED) == _INTERLEAVED,
        extra=tags.get(_EXTRA, ()),
        block_pixels=across * down,
        decoded_pixels=tiled,
        data_end=max((at + size for at, size in blocks), default=0),
        claimed_bytes=sum(min(size, max(0, len(data) - at)) for at, size in blocks),
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
    if entries > _MOST_TIFF_ENTRIES:
        raise ValueError(f"its directory has {entries:,} entries")
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
        if count > _MOST_TIFF_BLOCKS:
            raise ValueError(f"it has {count:,} strips or tiles")
        code = f"{order}{count}{_TIFF_TYPES[kind]}"
        if struct.calcsize(code) > inline_bytes:
            (value_at,) = struct.unpack_from(order + offset_code, data, value_at)
        tags[tag] = struct.unpack_from(code, data, value_at)
    return tags


def _blocks(tags: dict[int, tuple[int, ...]]) -> list[tuple[int, int]]:
    """(place, size in bytes) of each strip or tile."""
    offsets = tags.get(_STRIP_OFFSETS, ()) + tags.get(_TILE_OFFSETS, ())
    lengths = tags.get(_STRIP_BYTES, ()) + tags.get(_TILE_BYTES, ())
    # Some writers leave the lengths out; what can be paired is checked.
    return list(zip(offsets, lengths, strict=False))


def _block_count(tags: dict[int, tuple[int, ...]]) -> int:
    return len(tags.get(_STRIP_OFFSETS, ())) + len(tags.get(_TILE_OFFSETS, ()))

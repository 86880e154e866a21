"""Small files that are dear to decode: some kilobytes or megabytes, no honest pictures."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_SCAN = b"\xff\xda"
_BYTE, _SHORT, _LONG = 1, 3, 4


def chunk(name: bytes, body: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, bits: int = 8, colour: int = 2, *extra: bytes) -> bytes:
    """A whole PNG of zeros; `extra` chunks come before its pixels."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = bytes(1 + width * channels * bits // 8)
    pack = zlib.compressobj(9)
    packed = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", head), *extra, chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return _PNG + b"".join(parts)


def jpeg_of_many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, a refinement, is there again and again."""
    data = encoded("L", side, "JPEG", progressive=True)
    last = data.rindex(_SCAN)
    return data[:last] + data[last:-2] * scans + data[-2:]


def encoded(mode: str, side: int, kind: str, **options: object) -> bytes:
    """A black square of a mode."""
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(tags: dict[int, tuple[int, tuple[int, ...]]], data: bytes) -> bytes:
    """A little-endian TIFF of tags (type, values); `data` begins at byte 8."""
    at = 8 + len(data) + len(data) % 2
    values_at = at + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        code = {_BYTE: "B", _SHORT: "H", _LONG: "I"}[kind]
        body = struct.pack(f"<{len(numbers)}{code}", *numbers)
        entries += struct.pack("<HHI", tag, kind, len(numbers))
        if len(body) <= 4:
            entries += body.ljust(4, b"\0")
        else:
            entries += struct.pack("<I", values_at + len(values))
            values += body + bytes(len(body) % 2)
    head = b"II*\0" + struct.pack("<I", at) + data + bytes(len(data) % 2)
    return head + struct.pack("<H", len(tags)) + entries + bytes(4) + values


def tiff_image(
    width: int,
    height: int,
    strips: tuple[tuple[int, int], ...],
    data: bytes,
    *,
    bits: int = 8,
    channels: int = 3,
    floats: bool = False,
    compression: int = 8,
    extra: dict[int, tuple[int, tuple[int, ...]]] | None = None,
) -> bytes:
    """A TIFF whose strips are (place, size) in the file, all of the same number of rows."""
    rows = -(-height // len(strips))
    tags = {
        256: (_LONG, (width,)),
        257: (_LONG, (height,)),
        258: (_SHORT, (bits,) * channels),
        259: (_SHORT, (compression,)),
        262: (_SHORT, (2 if channels > 2 else 1,)),
        273: (_LONG, tuple(at for at, _ in strips)),
        277: (_SHORT, (channels,)),
        278: (_LONG, (rows,)),
        279: (_LONG, tuple(size for _, size in strips)),
        339: (_SHORT, ((3 if floats else 1),) * channels),
    }
    if channels == 4:
        tags[338] = (_SHORT, (2,))
    return tiff(tags | (extra or {}), data)


def tiff_of_doubles(side: int) -> bytes:
    """RGBA of float64, 32 bytes a pixel, all alike."""
    rows = 64
    strip = zlib.compress(struct.pack("<4d", 0.25, 0.5, 0.75, 1.0) * side * rows, 9)
    count = side // rows
    places, data = [], b""
    for _ in range(count):
        places.append((8 + len(data), len(strip)))
        data += strip
    return tiff_image(side, side, tuple(places), data, bits=64, channels=4, floats=True)


def tiff_of_one_strip_for_all(width: int, rows: int, strips: int) -> bytes:
    """All strips are the same bytes."""
    strip = zlib.compress(bytes(width * rows * 3), 9)
    return tiff_image(width, rows * strips, ((8, len(strip)),) * strips, strip)


def tiff_of_overlapping_strips(width: int, rows: int, strips: int) -> bytes:
    """Each strip begins one byte after the one before and holds the rest of the data."""
    data = bytes(width * rows * 3 + strips)
    places = tuple((8 + n, len(data) - n) for n in range(strips))
    return tiff_image(width, rows * strips, places, data, compression=1)


def tiff_of_shared_values(tags: int, size: int) -> bytes:
    """Private tags that all have the same bytes as their values."""
    whole = tiff_image(8, 8, ((8, 192),), bytes(192), compression=1)
    (at,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, at)
    own = whole[at + 2 : at + 2 + 12 * count]
    directory = len(whole)
    shared = directory + 2 + len(own) + 12 * tags + 4
    private = b"".join(struct.pack("<HHII", 40_000 + n, _BYTE, size, shared) for n in range(tags))
    moved = whole[:4] + struct.pack("<I", directory) + whole[8:]
    return moved + struct.pack("<H", count + tags) + own + private + bytes(4) + bytes(size)


def exif_of_shared_values(tags: int, size: int) -> bytes:
    """An EXIF block whose tags all have the same bytes as their values."""
    entries = b"".join(
        struct.pack("<HHII", 1000 + n, _BYTE, size, 8 + 2 + 12 * tags + 4) for n in range(tags)
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + entries + bytes(4) + bytes(size)


def tiff_of_many_pages(pages: int) -> bytes:
    """One small page after the other."""
    buffer = io.BytesIO()
    first, *others = (Image.new("RGB", (16, 16)) for _ in range(pages))
    first.save(buffer, "TIFF", save_all=True, append_images=others)
    return buffer.getvalue()


def jpeg_with(*segments: bytes) -> bytes:
    """A small JPEG with more segments after its beginning."""
    data = encoded("RGB", 16, "JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _jpeg_exif(block: bytes) -> bytes:
    """An EXIF block, over as many segments as it takes."""
    pieces = [block[at : at + 65_000] for at in range(0, len(block), 65_000)]
    return jpeg_with(*(segment(0xE1, b"Exif\0\0" + piece) for piece in pieces))


def bmp_of_single_runs(width: int, height: int) -> bytes:
    """A run-length BMP that never runs: two bytes a pixel."""
    body = (b"\x01\x00" * width + b"\0\0") * height + b"\0\1"
    start = 14 + 40 + 1024
    head = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return head + info + bytes(1024) + body


def animated(kind: str, side: int, frames: int) -> bytes:
    """Two colours in turns."""
    buffer = io.BytesIO()
    shades = [Image.new("RGB", (side, side), (n % 2 * 255, 0, 0)) for n in range(frames)]
    shades[0].save(buffer, kind, save_all=True, append_images=shades[1:], duration=50)
    return buffer.getvalue()


def tiff_of_large_tiles() -> bytes:
    """A column of 16,000 pixels in tiles of 1984 x 16, a thousand of them."""
    tile = zlib.compress(bytes(1984 * 16 * 3), 9)
    data = tile * 1000
    places = tuple(8 + n * len(tile) for n in range(1000))
    tags = {
        256: (_LONG, (1,)),
        257: (_LONG, (16_000,)),
        258: (_SHORT, (8, 8, 8)),
        259: (_SHORT, (8,)),
        262: (_SHORT, (2,)),
        277: (_SHORT, (3,)),
        322: (_LONG, (1984,)),
        323: (_LONG, (16,)),
        324: (_LONG, places),
        325: (_LONG, (len(tile),) * 1000),
    }
    return tiff(tags, data)


def png_of_wide_texts(texts: int) -> bytes:
    """A character beyond the basic plane, and each of a text's million takes four bytes."""
    packed = zlib.compress("\N{BUG}".encode() + bytes(2**20 - 9), 9)
    chunks = (chunk(b"iTXt", b"k%d\0\x01\0\0\0" % n + packed) for n in range(texts))
    return png(8, 8, 8, 2, *chunks)


_SQUASHED = zlib.compress(bytes(2**20 - 1), 9)

# Each with the size it has in fuzzing, where an image may have 4 million pixels; all within that.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "jpeg of 900 scans": lambda: jpeg_of_many_scans(1900, 900),
    "jpeg of 90 scans": lambda: jpeg_of_many_scans(1900, 80),
    "jpeg of many segments": lambda: jpeg_with(b"\xff\xfe\x00\x02" * 500_000),
    "jpeg of padding": lambda: jpeg_with(b"\xff" * 2_000_000),
    "jpeg of padding that ends wrongly": lambda: jpeg_with(b"\xff" * 2_000_000 + b"\0"),
    "jpeg of junk": lambda: jpeg_with(b"\x00" * 2_000_000),
    "jpeg of shared exif": lambda: _jpeg_exif(exif_of_shared_values(5000, 200_000)),
    "jpeg of a huge profile": lambda: jpeg_with(
        *(segment(0xE2, b"ICC_PROFILE\0" + bytes((n, 255)) + bytes(65_000)) for n in range(1, 255))
    ),
    "png of 4 million pixels": lambda: png(2000, 2000, 8, 6),
    "deep png of 4 million pixels": lambda: png(2000, 2000, 16, 6),
    "png of many chunks": lambda: png(8, 8, 8, 2, chunk(b"teSt", b"") * 300_000),
    "png of many pixels' chunks": lambda: png(8, 8, 8, 2, chunk(b"IDAT", b"") * 300_000),
    "png of many profiles": lambda: png(8, 8, 8, 2, chunk(b"iCCP", b"x\0\0" + _SQUASHED) * 1500),
    "png of many texts": lambda: png(8, 8, 8, 2, chunk(b"zTXt", b"x\0\0" + _SQUASHED) * 1500),
    "png of many long texts": lambda: png(
        8, 8, 8, 2, chunk(b"iTXt", b"x\0\x01\0\0\0" + _SQUASHED) * 1500
    ),
    "deep png of many texts": lambda: png(8, 8, 16, 2, chunk(b"zTXt", b"x\0\0" + _SQUASHED) * 50),
    "png of some wide texts": lambda: png_of_wide_texts(16),
    "png of wide texts": lambda: png_of_wide_texts(60),
    "png of shared exif": lambda: png(
        8, 8, 8, 2, chunk(b"eXIf", exif_of_shared_values(60_000, 1_000_000))
    ),
    "png of shared profile exif": lambda: png(
        8,
        8,
        8,
        2,
        chunk(
            b"tEXt",
            b"Raw profile type exif\0\nexif\n  9\n"
            + (b"Exif\0\0" + exif_of_shared_values(20_000, 500_000)).hex().encode(),
        ),
    ),
    "moving png": lambda: animated("PNG", 400, 200),
    "webp of 4 million pixels": lambda: encoded("RGB", 2000, "WEBP", lossless=True),
    "moving webp": lambda: animated("WEBP", 400, 200),
    "webp of shared exif": lambda: encoded(
        "RGB", 16, "WEBP", exif=b"Exif\0\0" + exif_of_shared_values(60_000, 1_000_000)
    ),
    "bmp of single runs": lambda: bmp_of_single_runs(1900, 1900),
    "bmp of fewer single runs": lambda: bmp_of_single_runs(1400, 1400),
    "tiff of doubles": lambda: tiff_of_doubles(1984),
    "tiff of one strip for all": lambda: tiff_of_one_strip_for_all(1, 20_000, 200),
    "tiff of one long strip for all": lambda: tiff_of_one_strip_for_all(2000, 2, 1000),
    "tiff of overlapping strips": lambda: tiff_of_overlapping_strips(1000, 40, 100),
    "tiff of shared values": lambda: tiff_of_shared_values(4000, 1_000_000),
    "tiff of many pages": lambda: tiff_of_many_pages(500),
    "tiff of tiles far larger than it": tiff_of_large_tiles,
}


@cache
def hostile(name: str) -> bytes:
    """The file of that name."""
    return HOSTILE[name]()


def all_hostile() -> Iterator[tuple[str, bytes]]:
    """(name, file) of each."""
    for name in HOSTILE:
        yield name, hostile(name)

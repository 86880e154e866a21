"""What a TIFF or BigTIFF says of its pages, read without decoding a pixel.

Only what must be known beforehand: sizes, to refuse what is too large; where the data lie; how deep
samples are; which page is the picture and which its reduced copies; and which pages are channels of
one picture, as OME and ImageJ store them. A field that lies outside the data raises `struct.error`,
a contradiction ValueError.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from typing import Any

from cam_engine.errors import CamError, PageNotFound
from cam_engine.images.decoded import Samples
from cam_engine.images.headers import Pieces
from cam_engine.options import MOST_PAGES

# TIFF 6.0, section 2 (field types) and BigTIFF: type -> struct code. Others are never needed here.
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_ASCII = 2
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _DESCRIPTION = 254, 256, 257, 258, 262, 270
_COMPRESSION, _STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_BYTES = 259, 273, 274, 277, 279
_MOST_SAMPLE, _PLANAR = 281, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA = 322, 323, 324, 325, 338
_SAMPLE_FORMAT = 339
_TAGS = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS, _SAMPLES, _STRIP_BYTES}
    | {_PLANAR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT}
)
# What is wrong in these is no reason to refuse the picture.
_BESIDE = frozenset({_SUBFILE, _DESCRIPTION, _ORIENTATION, _MOST_SAMPLE})
_BIG_TIFF = 43
_INTERLEAVED = 1
_UNCOMPRESSED = 1
_BYTE_BITS = 8
_REDUCED = 1
_GREYS = (0, 1)
_COLOURS = 3
_SAMPLE_FORMATS: dict[int, Samples] = {1: "unsigned", 2: "signed", 3: "float"}
_FLOAT = 3
# Honest files stay far below: Pillow takes a microsecond or more for each of these parts.
_MOST_ENTRIES = 4096
_MOST_BLOCKS = 2**18
_MOST_DESCRIPTION = 2**16


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """One page of a TIFF file.

    bits: the deepest channel's bits a sample. samples: channels, alpha included. kind: of samples.
    photometric: 0 grey (0 is white), 1 grey, 2 RGB, 3 palette, 5 CMYK, ...
    extra: what each channel beyond the colours means: 0 nothing, 1 premultiplied alpha, 2 alpha.
    compression: 1 none, 4 fax G4, 5 LZW, 7 JPEG, ... most_sample: the greatest value that samples
    can have (MaxSampleValue), where it is said.
    block_pixels: pixels of one tile, 0 for strips. decoded_pixels: those of all tiles together, or
    of the picture. data_end: the byte after the last strip or tile. claimed_bytes: what strips or
    tiles hold together, each as far as the file goes. blocks: (place, size) of each.
    """

    width: int
    height: int
    bits: int
    samples: int
    kind: Samples
    photometric: int
    interleaved: bool
    extra: tuple[int, ...]
    compression: int
    orientation: int
    most_sample: int | None
    block_pixels: int
    decoded_pixels: int
    data_end: int
    claimed_bytes: int
    blocks: tuple[tuple[int, int], ...]

    @property
    def deep(self) -> bool:
        """True for what Pillow does not read at its full depth: other than 8 unsigned bits."""
        return self.bits > _BYTE_BITS or (self.bits == _BYTE_BITS and self.kind == "signed")

    @property
    def is_grey(self) -> bool:
        """Whether it has a single channel without colours."""
        return self.samples == 1 and self.photometric in _GREYS


@dataclass(frozen=True, slots=True)
class TiffPicture:
    """Which pages make the picture that is read: one, or three that are its channels.

    number, count: of the pictures or pages of the file, from 1. full: those of them that are no
    reduced copies, or that were asked for. pages: where the directories stand.
    """

    number: int
    count: int
    full: int
    pages: tuple[int, ...]

    @property
    def combined(self) -> bool:
        """Whether its channels are pages of their own."""
        return len(self.pages) > 1


class TiffFile:
    """A file's pages, from its bytes. Raises as this module."""

    def __init__(self, data: Pieces) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        (version,) = self._unpacked(struct.Struct(f"{self._order}H"), 2)
        self.big = version == _BIG_TIFF
        # Codes of an offset, of a directory's count of entries, and of an entry's count of values.
        codes = ("Q", "Q", "Q") if self.big else ("I", "H", "I")
        self._offset, self._entries = (struct.Struct(self._order + code) for code in codes[:2])
        self._entry = struct.Struct(f"{self._order}HH{codes[2]}")
        self._entry_bytes = self._entry.size + self._offset.size
        self._pages, self._reduced = self._walk()

    @cached_property
    def description(self) -> bytes:
        """The first page's ImageDescription, its beginning."""
        text = self._directory(self._pages[0]).get(_DESCRIPTION, b"")
        return text if isinstance(text, bytes) else b""

    @cached_property
    def declared_bits(self) -> int | None:
        """Bits that samples use, as OME's or ImageJ's description says; None where none does."""
        text = self.description
        if match := _SIGNIFICANT_BITS.search(text):
            return int(match[1])
        if text.startswith(b"ImageJ=") and (match := _IMAGEJ_MAX.search(text)):
            return int(match[1]).bit_length()
        return None

    def picture(self, page: int | None) -> TiffPicture:
        """The picture of that number, or the first of full resolution. Raises PageNotFound."""
        full = [at for at, reduced in zip(self._pages, self._reduced, strict=True) if not reduced]
        planes = _Planes.of(self.description)
        if planes is not None and planes.count <= len(full) and self._are_channels(full):
            count = planes.count // _COLOURS
            number = self._checked(page or 1, count)
            places = tuple(full[index] for index in planes.channels(number - 1))
            return TiffPicture(number, count, count, places)
        first = self._pages.index(full[0]) + 1 if full else 1
        number = self._checked(page or first, len(self._pages))
        # A reduced copy that was asked for is one page to choose among more.
        choices = len(full) + self._reduced[number - 1]
        return TiffPicture(number, len(self._pages), choices, (self._pages[number - 1],))

    def header(self, at: int) -> TiffHeader:
        """The page whose directory stands there."""
        directory = self._directory(at)
        tags = {tag: values for tag, values in directory.items() if isinstance(values, tuple)}

        def first(tag: int, default: int) -> int:
            return tags.get(tag, (default,))[0]

        width, height = first(_WIDTH, 0), first(_HEIGHT, 0)
        across, down = first(_TILE_WIDTH, 0), first(_TILE_HEIGHT, 0)
        tiled = width * height
        if across and down:
            tiled = ceil(width / across) * ceil(height / down) * across * down
        blocks = _blocks(tags)
        compression = first(_COMPRESSION, _UNCOMPRESSED)
        if len(blocks) < _block_count(tags) > 1 and compression != _UNCOMPRESSED:
            raise ValueError("the sizes of its strips or tiles are missing")
        return TiffHeader(
            width=width,
            height=height,
            bits=max(tags.get(_BITS, (1,))),
            samples=first(_SAMPLES, 1),
            kind=_SAMPLE_FORMATS.get(first(_SAMPLE_FORMAT, 1), "unsigned"),
            photometric=first(_PHOTOMETRIC, 1),
            interleaved=first(_PLANAR, _INTERLEAVED) == _INTERLEAVED,
            extra=tags.get(_EXTRA, ()),
            compression=compression,
            orientation=first(_ORIENTATION, 1),
            most_sample=max(tags[_MOST_SAMPLE]) if _MOST_SAMPLE in tags else None,
            block_pixels=across * down,
            decoded_pixels=tiled,
            data_end=max((at + size for at, size in blocks), default=0),
            claimed_bytes=sum(min(size, max(0, len(self._data) - place)) for place, size in blocks),
            blocks=tuple(blocks),
        )

    def beginning_with(self, at: int) -> bytes:
        """The file's bytes with the page of that directory as its first."""
        if at == self._pages[0]:
            return self._data[:]
        where = 8 if self.big else 4
        return b"".join(
            (self._data[:where], self._offset.pack(at), self._data[where + self._offset.size :])
        )

    def plane(self, at: int, channel: int, channels: int) -> bytes:
        """The file's bytes with one channel of a planar page as its first page, in grey."""
        raw = self._raw_directory(at)
        tags = self._directory(at)
        kept = {tag: entry for tag, entry in raw.items() if tag not in _OF_PLANES}
        single = {_PHOTOMETRIC: 1, _SAMPLES: 1, _PLANAR: _INTERLEAVED}
        for tag in (_BITS, _SAMPLE_FORMAT):
            values = tags.get(tag)
            if isinstance(values, tuple):
                single[tag] = values[0]
        lists: dict[int, tuple[int, ...]] = {tag: (value,) for tag, value in single.items()}
        for tag in (_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES):
            values = tags.get(tag)
            if isinstance(values, tuple):
                each = len(values) // channels
                lists[tag] = values[channel * each : (channel + 1) * each]
        start = len(self._data) + len(self._data) % 2
        beyond = start + self._entries.size + self._offset.size
        beyond += (len(kept) + len(lists)) * self._entry_bytes
        kind, code = (16, "Q") if self.big else (4, "I")
        values_after = b""
        for tag, numbers in lists.items():
            packed = struct.pack(f"{self._order}{len(numbers)}{code}", *numbers)
            shorts = tag in single
            if shorts:
                packed = struct.pack(f"{self._order}H", numbers[0])
            head = self._entry.pack(tag, 3 if shorts else kind, len(numbers))
            if len(packed) > self._offset.size:
                value = self._offset.pack(beyond + len(values_after))
                values_after += packed
            else:
                value = packed.ljust(self._offset.size, b"\0")
            kept[tag] = head + value
        directory = self._entries.pack(len(kept)) + b"".join(kept[tag] for tag in sorted(kept))
        directory += bytes(self._offset.size)
        where = 8 if self.big else 4
        return b"".join(
            (
                self._data[:where],
                self._offset.pack(start),
                self._data[where + self._offset.size :],
                bytes(len(self._data) % 2),
                directory,
                values_after,
            )
        )

    def _walk(self) -> tuple[list[int], list[bool]]:
        """Where pages' directories stand, and whether each is a reduced copy of another.

        What does not lie in the file any more ends them, beside the first.
        """
        pages: list[int] = []
        reduced: list[bool] = []
        seen: set[int] = set()
        (at,) = self._unpacked(self._offset, 8 if self.big else 4)
        while at and (not pages or at + self._entries.size <= len(self._data)):
            if at in seen or len(pages) >= MOST_PAGES:
                raise ValueError("its pages have no end")
            seen.add(at)
            (entries,) = self._unpacked(self._entries, at)
            after = at + self._entries.size + entries * self._entry_bytes
            if pages and after + self._offset.size > len(self._data):
                break
            pages.append(at)
            reduced.append(entries > 0 and self._is_reduced(at + self._entries.size))
            followed = after + self._offset.size <= len(self._data)
            at = self._unpacked(self._offset, after)[0] if followed else 0
        if not pages:
            raise ValueError("it has no page")
        return pages, reduced

    def _is_reduced(self, entry_at: int) -> bool:
        """By the first entry of a directory, which are in order of their tags."""
        tag, kind, _ = self._unpacked(self._entry, entry_at)
        if tag != _SUBFILE or kind not in _TYPES:
            return False
        place = entry_at + self._entry.size
        (flags,) = self._unpacked(struct.Struct(f"{self._order}{_TYPES[kind]}"), place)
        return bool(flags & _REDUCED)

    def _checked(self, number: int, count: int) -> int:
        if number > count:
            pages = "1 page" if count == 1 else f"{count:,} pages"
            raise PageNotFound(f"page {number:,} was asked for, but the file has {pages}")
        return number

    def _are_channels(self, full: list[int]) -> bool:
        """Whether the first pages are grey and alike, so that they can be channels of one."""
        first, *others = (self.header(at) for at in full[:_COLOURS])
        return first.is_grey and all(
            other.is_grey
            and (other.width, other.height, other.bits, other.kind, other.photometric)
            == (first.width, first.height, first.bits, first.kind, first.photometric)
            for other in others
        )

    def _raw_directory(self, at: int) -> dict[int, bytes]:
        (entries,) = self._unpacked(self._entries, at)
        if entries > _MOST_ENTRIES:
            raise ValueError(f"its directory has {entries:,} entries")
        raw_entries: dict[int, bytes] = {}
        for index in range(entries):
            start = at + self._entries.size + index * self._entry_bytes
            entry = self._data[start : start + self._entry_bytes]
            raw_entries[self._entry.unpack_from(entry)[0]] = entry
        return raw_entries

    def _directory(self, at: int) -> dict[int, tuple[int, ...] | bytes]:
        """Values of `_TAGS` and `_BESIDE` in a directory.

        One of `_TAGS` that comes twice, or in a type of its own, is refused: decoders differ on
        what it means, so that a size checked here could be another than the one decoded.
        """
        (entries,) = self._unpacked(self._entries, at)
        at += self._entries.size
        if entries > _MOST_ENTRIES:
            raise ValueError(f"its directory has {entries:,} entries")
        tags: dict[int, tuple[int, ...] | bytes] = {}
        for _ in range(entries):
            tag, kind, count = self._unpacked(self._entry, at)
            value_at = at + self._entry.size
            at = value_at + self._offset.size
            if tag in _TAGS:
                if tag in tags or kind not in _TYPES or not count:
                    raise ValueError(f"TIFF tag {tag} is malformed")
                if count > _MOST_BLOCKS:
                    raise ValueError(f"it has {count:,} strips or tiles")
                tags[tag] = self._values(kind, count, value_at)
            elif tag == _DESCRIPTION and kind == _ASCII:
                tags[tag] = self._text(count, value_at)
            elif tag in _BESIDE and kind in _TYPES and 0 < count <= _BYTE_BITS:
                tags[tag] = self._values(kind, count, value_at)
        return tags

    def _values(self, kind: int, count: int, value_at: int) -> tuple[int, ...]:
        values = struct.Struct(f"{self._order}{count}{_TYPES[kind]}")
        if values.size > self._offset.size:
            (value_at,) = self._unpacked(self._offset, value_at)
        return self._unpacked(values, value_at)

    def _unpacked(self, values: struct.Struct, at: int) -> tuple[Any, ...]:
        return values.unpack(self._data[at : at + values.size])

    def _text(self, count: int, value_at: int) -> bytes:
        if count > self._offset.size:
            (value_at,) = self._unpacked(self._offset, value_at)
        return self._data[value_at : value_at + min(count, _MOST_DESCRIPTION)]


def is_deep_tiff(data: Pieces) -> bool:
    """Whether it is a TIFF with a page of other samples than 8 unsigned bits."""
    if data[:2] not in {b"II", b"MM"}:
        return False
    try:
        file = TiffFile(data)
        return any(file.header(at).deep for at in file.picture(None).pages)
    except (CamError, struct.error, ValueError, OverflowError):
        return False


_OF_PLANES = frozenset(
    {_BITS, _PHOTOMETRIC, _STRIP_OFFSETS, _SAMPLES, _STRIP_BYTES, 280, _MOST_SAMPLE, _PLANAR}
    | {_TILE_OFFSETS, _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT, 340, 341}
)

# The first picture of OME-XML (https://docs.openmicroscopy.org/ome-model), and ImageJ's lines.
_SIGNIFICANT_BITS = re.compile(rb'<Pixels\b[^>]*\bSignificantBits="(\d{1,2})"')
_PIXELS = re.compile(rb"<Pixels\b([^>]*)>")
_SIZE = re.compile(rb'\bSize([CZT])="(\d{1,6})"')
_DIMENSIONS = re.compile(rb'\bDimensionOrder="XY([CZT]{3})"')
_IMAGEJ_MAX = re.compile(rb"^max=(\d{1,10})(?:\.\d*)?\s*$", re.MULTILINE)
_IMAGEJ_SIZE = re.compile(rb"^(channels|slices|frames)=(\d{1,6})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Planes:
    """A file of grey pages, three of which are a picture's channels.

    order: of the dimensions C, Z and T, the fastest first. sizes: of each.
    """

    order: str
    sizes: dict[str, int]

    @classmethod
    def of(cls, description: bytes) -> _Planes | None:
        """None where there are not three channels."""
        if description.startswith(b"ImageJ="):
            counts = dict(_IMAGEJ_SIZE.findall(description))
            names = {"C": b"channels", "Z": b"slices", "T": b"frames"}
            sizes = {dim: int(counts.get(name, b"1")) for dim, name in names.items()}
            order = "CZT"
        elif pixels := _PIXELS.search(description):
            sizes = {dim.decode(): int(size) for dim, size in _SIZE.findall(pixels[1])}
            ordered = _DIMENSIONS.search(pixels[1])
            order = ordered[1].decode() if ordered else "CZT"
        else:
            return None
        whole = {axis: sizes.get(axis, 1) for axis in "CZT"}
        if whole["C"] != _COLOURS or set(order) != set("CZT") or 0 in whole.values():
            return None
        return cls(order, whole)

    @property
    def count(self) -> int:
        """How many pages there are to be."""
        return prod(self.sizes.values())

    def channels(self, picture: int) -> tuple[int, ...]:
        """Indices of the pages that are a picture's red, green and blue, all from 0."""
        step, steps = 1, {}
        for axis in self.order:
            steps[axis] = step
            step *= self.sizes[axis]
        base = 0
        for axis in self.order.replace("C", ""):
            picture, index = divmod(picture, self.sizes[axis])
            base += index * steps[axis]
        return tuple(base + channel * steps["C"] for channel in range(_COLOURS))


def _blocks(tags: dict[int, tuple[int, ...]]) -> list[tuple[int, int]]:
    """(place, size in bytes) of each strip or tile."""
    offsets = tags.get(_STRIP_OFFSETS, ()) + tags.get(_TILE_OFFSETS, ())
    lengths = tags.get(_STRIP_BYTES, ()) + tags.get(_TILE_BYTES, ())
    # Some writers leave the lengths out; what can be paired is checked.
    return list(zip(offsets, lengths, strict=False))


def _block_count(tags: dict[int, tuple[int, ...]]) -> int:
    return len(tags.get(_STRIP_OFFSETS, ())) + len(tags.get(_TILE_OFFSETS, ()))

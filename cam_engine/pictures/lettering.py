"""Text as pixels, without matplotlib: tiles of one line each, cached, since most of them recur.

The typeface is DejaVu Sans, which matplotlib ships (Latin, Greek, Cyrillic, Arabic, Hebrew ...).
What it cannot write is looked for in the system's fonts, and else shown as Unicode numbers, so
that two names never look the same.
"""

from __future__ import annotations

import importlib.util
import math
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cam_engine.results import RgbImage

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
INK: Colour = (28, 29, 36)

SYSTEM_FONT_FOLDERS = (
    Path("/usr/share/fonts"),
    Path("/System/Library/Fonts"),
    Path("C:/Windows/Fonts"),
)
_SYSTEM_FONT_NAMES = ("noto", "sourcehan", "droid", "wqy", "msyh", "yugoth", "malgun", "unifont")
_UNSEEN = {"Cf", "Zs"}
_NO_CHARACTER = "\U0010fffe"
_ELLIPSIS = "\u2026"
_SMALLEST_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Style:
    """How a line is written. size: em in pixels. background: what the tile is filled with."""

    size: int
    bold: bool = False
    colour: Colour = INK
    background: Colour = WHITE


@lru_cache(maxsize=512)
def text_tile(text: str, style: Style) -> RgbImage:
    """One line as (line height, width, 3) uint8 RGB, read-only; equal sizes share a baseline."""
    path, text = face(text, bold=style.bold)
    font = _font(path, style.size)
    ascent, height = line_metrics(style)
    width = max(1, math.ceil(font.getlength(text)) + 1)
    image = Image.new("RGB", (width, height), style.background)
    ImageDraw.Draw(image).text((0, ascent), text, style.colour, font, anchor="ls")
    tile = np.array(image)
    tile.setflags(write=False)
    return tile


def line_metrics(style: Style) -> tuple[int, int]:
    """(baseline from the top, height) of a style's tiles in pixels, whatever the text."""
    ascent, descent = _font(font_path(bold=style.bold), style.size).getmetrics()
    return ascent, ascent + descent


@lru_cache(maxsize=1024)
def text_width(text: str, style: Style) -> int:
    """Width of the line in pixels."""
    path, text = face(text, bold=style.bold)
    return max(1, math.ceil(_font(path, style.size).getlength(text)) + 1)


@lru_cache(maxsize=1024)
def fit(text: str, style: Style, width: int) -> tuple[str, Style]:
    """Make the line fit `width` pixels: first smaller, to three quarters, then shortened.

    It is shortened in its middle, since both the start and the end of a name tell it apart.
    """
    text = one_line(text)
    needed = text_width(text, style)
    if needed <= width:
        return text, style
    smallest = max(1, round(style.size * _SMALLEST_SHARE))
    style = replace(style, size=max(smallest, min(style.size, style.size * width // needed)))
    if text_width(text, style) <= width:
        return text, style
    too_long = bisect_left(
        range(1, len(text)),
        True,
        key=lambda kept: text_width(_shortened(text, kept), style) > width,
    )
    return _shortened(text, too_long), style


def one_line(text: str) -> str:
    """Strip the text of line breaks, control characters and repeated blanks."""
    visible = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
    return " ".join(visible.split())


@lru_cache(maxsize=1024)
def face(text: str, *, bold: bool, truetype_only: bool = False) -> tuple[Path, str]:
    """Find the font file that can write the text, and the text as that file can write it.

    truetype_only: leave out what a PDF cannot embed as TrueType (OpenType outlines, collections).
    """
    default = font_path(bold=bold)
    missing = _missing(default, text)
    if not missing:
        return default, text
    for path in _system_fonts():
        if (path.suffix == ".ttf" or not truetype_only) and not _missing(path, text):
            return path, text
    return default, one_line("".join(f" U+{ord(c):04X} " if c in missing else c for c in text))


@cache
def font_path(*, bold: bool) -> Path:
    """DejaVu Sans or DejaVu Sans Bold, found without importing matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("matplotlib, whose fonts are used, is not installed")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


def _shortened(text: str, kept: int) -> str:
    head = (kept + 1) // 2
    return text[:head].rstrip() + _ELLIPSIS + text[len(text) - kept + head :].lstrip()


@lru_cache(maxsize=32)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


def _missing(path: Path, text: str) -> frozenset[str]:
    """Characters that the font has no picture for."""
    if text.isascii():
        return frozenset()
    font = _font(path, 16)
    nothing = bytes(font.getmask(_NO_CHARACTER))
    unusual = {c for c in text if not c.isascii() and unicodedata.category(c) not in _UNSEEN}
    return frozenset(c for c in unusual if bytes(font.getmask(c)) == nothing)


@cache
def _system_fonts() -> tuple[Path, ...]:
    return tuple(_readable_fonts())


def _readable_fonts() -> Iterator[Path]:
    for folder in SYSTEM_FONT_FOLDERS:
        for path in sorted(folder.rglob("*.[ot]t[fc]")):
            if path.name.lower().startswith(_SYSTEM_FONT_NAMES):
                yield path

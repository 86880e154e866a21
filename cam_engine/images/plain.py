"""Pictures of at most 8 bits a sample, as Pillow opens them -> (H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from cam_engine.images.decoded import Alpha
from cam_engine.options import Background
from cam_engine.results import RgbImage

_STRIP_ROWS = 256
_OPAQUE = 255


class Flat(NamedTuple):
    """(H, W, 3) uint8, and how its transparency was read."""

    pixels: RgbImage
    alpha: Alpha


def flatten(image: ImageFile, background: Background) -> Flat:
    """At most 8 bits a sample in any mode, as `Image.convert("RGB")` reads them.

    What is transparent is laid on white or black where that is asked for, unless everything is: an
    alpha that is zero everywhere was never meant. Strip by strip: half the time for a large
    picture, and a third of the memory.
    """
    image.load()
    alpha = _alpha(image, background)
    canvas = alpha if alpha in {"white", "black"} else None
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top, strip in _strips(image):
        rows = pixels[top : top + strip.height]
        rows[:] = np.asarray(_as_rgb(strip) if canvas is None else _laid_on(strip, canvas))
    return Flat(pixels, alpha)


def _alpha(image: ImageFile, background: Background) -> Alpha:
    if not image.has_transparency_data:
        return "none"
    least, most = _OPAQUE, 0
    for _, strip in _strips(image):
        alpha = strip.convert("RGBA").getchannel("A")
        low, high = cast("tuple[int, int]", alpha.getextrema())  # of one band
        least, most = min(least, low), max(most, high)
    if least == _OPAQUE:
        return "opaque"
    return "empty" if most == 0 else background


def _strips(image: ImageFile) -> Iterator[tuple[int, Image.Image]]:
    width, height = image.size
    for top in range(0, height, _STRIP_ROWS):
        yield top, image.crop((0, top, width, min(height, top + _STRIP_ROWS)))


def _as_rgb(strip: Image.Image) -> Image.Image:
    if strip.mode == "RGB":
        return strip
    strip.info.pop("transparency", None)  # Pillow would warn that it is not heeded
    return strip.convert("RGB")


def _laid_on(strip: Image.Image, colour: str) -> Image.Image:
    canvas = Image.new("RGBA", strip.size, colour)
    canvas.alpha_composite(strip.convert("RGBA"))
    return canvas.convert("RGB")


# EXIF 2.32, tag 0x0112: what has to be done to a stored picture before it is shown.
_TURNS: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = MappingProxyType(
    {
        2: lambda stored: stored[:, ::-1],
        3: lambda stored: stored[::-1, ::-1],
        4: lambda stored: stored[::-1],
        5: lambda stored: stored.swapaxes(0, 1),
        6: lambda stored: np.rot90(stored, -1),
        7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90,
    }
)


def turn_upright(flat: RgbImage, orientation: int) -> RgbImage:
    """As it is to be shown; orientation: EXIF's, 1..8."""
    turn = _TURNS.get(orientation)
    return turn(flat) if turn else flat


def orientation_of(image: ImageFile) -> int:
    """Read the EXIF orientation; 1 where there is none, or where only the EXIF block is broken."""
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
    return orientation if orientation in _TURNS else 1

"""Pictures of more than 8 bits a sample: decoded at full depth, then brought to 8 bits.

Cameras write 12 bits into 16-bit files. Dropping the low byte would leave 16 grey levels, clipping
at 255 a white page; so the range that the picture really uses becomes 0..255.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cam_engine.results import RgbImage

Pixels = NDArray[Any]
_BLOCK_ROWS = 256
_BLOCK_PIXELS = 2**18
_BGR, _BGRA = 3, 4
_NO_MEMORY = -4  # cv::Error::StsNoMem


def decode_deep(data: bytes) -> tuple[Pixels, Pixels | None]:
    """Decode a 16-bit, 32-bit or float picture at its full depth.

    Answers ((H, W, 1 or 3) grey or RGB, (H, W) alpha or None), both of the file's own type.
    The orientation of a TIFF is applied, the one in a PNG's EXIF block is not. Raises ValueError
    or cv2.error, and MemoryError.
    """
    # Pillow is no way to read these: it cuts 16-bit RGB to 8 bits and knows no float RGB.
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == _NO_MEMORY:
            raise MemoryError from error
        raise
    if pixels is None:
        raise ValueError("the pixels could not be decoded")
    if pixels.dtype.itemsize == 1:
        raise ValueError("the pixels could not be decoded at their full depth")
    if pixels.ndim == 2:
        return pixels[..., None], None
    if pixels.shape[2] == _BGR:
        return pixels[..., ::-1], None
    if pixels.shape[2] == _BGRA:
        return pixels[..., 2::-1], pixels[..., 3]
    raise ValueError(f"{pixels.shape[2]} channels are not read")


def stretch(color: Pixels, alpha: Pixels | None = None, *, premultiplied: bool = False) -> RgbImage:
    """(H, W, 1 or 3) of any type -> (H, W, 3) uint8: (x - min) / (max - min), channels jointly.

    premultiplied: the colours were multiplied by alpha, which is undone first. Pixels that are
    fully transparent or not finite do not count for the range; NaN becomes 0 and infinity the
    nearer end. A picture of a single value becomes black. Raises ValueError where no pixel is
    finite.
    """
    undone = alpha if premultiplied else None
    low, high = _range(color, alpha, undone)
    out = np.empty((*color.shape[:2], 3), np.uint8)
    table = None
    if undone is None and color.dtype == np.uint16:
        table = _scaled(np.arange(2**16, dtype=np.uint16), low, high)
    for rows in _blocks(color):
        block = _colours(color, undone, rows)
        out[rows] = _scaled(block, low, high) if table is None else table[block]
    return out


def _range(color: Pixels, alpha: Pixels | None, undone: Pixels | None) -> tuple[float, float]:
    """Half of the least and of the greatest value that count: max - min of float64 can overflow."""
    finite: list[float] = []
    opaque: list[float] = []
    for rows in _blocks(color):
        block = _colours(color, undone, rows)
        counted = np.isfinite(block)
        finite += _ends(block[counted])
        if alpha is not None:
            opaque += _ends(block[counted & (alpha[rows] > 0)[..., None]])
    if not finite:
        raise ValueError("every pixel is NaN or infinite")
    chosen = opaque or finite
    return min(chosen) / 2, max(chosen) / 2


def _ends(values: Pixels) -> list[float]:
    return [float(values.min()), float(values.max())] if values.size else []


def _scaled(values: Pixels, low: float, high: float) -> Pixels:
    spread = high - low if high > low else 1.0
    halves = np.clip(np.nan_to_num(values.astype(np.float64) / 2, nan=low), low, high)
    return np.rint((halves - low) / spread * 255.0).astype(np.uint8)


def _blocks(pixels: Pixels) -> Iterator[slice]:
    """Rows at a time, about a million samples: what is computed on the way stays small."""
    height, width = pixels.shape[:2]
    rows = max(1, min(_BLOCK_ROWS, _BLOCK_PIXELS // max(1, width)))
    for row in range(0, height, rows):
        yield slice(row, row + rows)


def _colours(color: Pixels, undone: Pixels | None, rows: slice) -> Pixels:
    """Some rows, as they were before they were multiplied by the alpha that is given."""
    if undone is None:
        return color[rows]
    opacity = np.maximum(undone[rows].astype(np.float64) / _full_opacity(undone.dtype), 1e-12)
    return np.asarray(color[rows] / opacity[..., None])


def over_white(image: RgbImage, alpha: Pixels) -> RgbImage:
    """Lay (H, W, 3) uint8 on white, in place and answered.

    `alpha` (H, W) is opaque at its type's maximum, or 1.0.
    """
    full = _full_opacity(alpha.dtype)
    for rows in _blocks(image):
        opacity = np.clip(np.nan_to_num(alpha[rows].astype(np.float64)) / full, 0.0, 1.0)[..., None]
        image[rows] = np.rint(image[rows] * opacity + 255.0 * (1.0 - opacity))
    return image


def _full_opacity(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0

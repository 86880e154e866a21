"""Pictures of more than 8 bits a sample: decoded at full depth, then brought to 8 bits.

Cameras write 12 bits into 16-bit files. Dropping the low byte would leave 16 grey levels, clipping
at 255 a white page; so the range that the picture really uses becomes 0..255.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cam_engine.results import RgbImage

Pixels = NDArray[Any]
_BLOCK_ROWS = 256
_BGR, _BGRA = 3, 4


def decode_deep(data: bytes) -> tuple[Pixels, Pixels | None]:
    """Decode a 16-bit, 32-bit or float picture at its full depth.

    Answers ((H, W, 1 or 3) grey or RGB, (H, W) alpha or None), both of the file's own type.
    The orientation of a TIFF is applied, the one in a PNG's EXIF block is not. Raises ValueError.
    """
    # Pillow is no way to read these: it cuts 16-bit RGB to 8 bits and knows no float RGB.
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
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


def undo_premultiplied(color: Pixels, alpha: Pixels) -> Pixels:
    """Colours as they were before they were multiplied by alpha: (H, W, C) float64."""
    opacity = np.maximum(alpha.astype(np.float64) / _full_opacity(alpha.dtype), 1e-12)
    return np.asarray(color / opacity[..., None])


def stretch(color: Pixels, alpha: Pixels | None = None) -> RgbImage:
    """(H, W, 1 or 3) of any type -> (H, W, 3) uint8: (x - min) / (max - min), channels jointly.

    Pixels that are fully transparent or not finite do not count for the range; NaN becomes 0 and
    infinity the nearer end. A picture of a single value becomes black. Raises ValueError where no
    pixel is finite.
    """
    counted = np.isfinite(color)
    if not counted.any():
        raise ValueError("every pixel is NaN or infinite")
    if alpha is not None and (counted & (alpha > 0)[..., None]).any():
        counted &= (alpha > 0)[..., None]
    # Halves, because max - min of float64 can overflow.
    chosen = color[counted]
    low, high = float(chosen.min()) / 2, float(chosen.max()) / 2
    spread = high - low if high > low else 1.0
    out = np.empty((*color.shape[:2], 3), np.uint8)
    for row in range(0, color.shape[0], _BLOCK_ROWS):
        block = color[row : row + _BLOCK_ROWS].astype(np.float64) / 2
        block = np.clip(np.nan_to_num(block, nan=low), low, high)
        out[row : row + _BLOCK_ROWS] = np.rint((block - low) / spread * 255.0)
    return out


def over_white(image: RgbImage, alpha: Pixels) -> RgbImage:
    """Lay (H, W, 3) uint8 on white; `alpha` (H, W) is opaque at its type's maximum, or 1.0."""
    out = np.empty_like(image)
    full = _full_opacity(alpha.dtype)
    for row in range(0, image.shape[0], _BLOCK_ROWS):
        rows = slice(row, row + _BLOCK_ROWS)
        opacity = np.clip(np.nan_to_num(alpha[rows].astype(np.float64)) / full, 0.0, 1.0)[..., None]
        out[rows] = np.rint(image[rows] * opacity + 255.0 * (1.0 - opacity))
    return out


def _full_opacity(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0

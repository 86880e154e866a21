"""Pictures of more than 8 bits a sample: decoded at full depth, then brought to 8 bits.

Cameras write 12 bits into 16-bit files. Dropping the low byte would leave 16 grey levels, clipping
at 255 a white page, and stretching each image by itself would make two images of one slide unlike;
so the depth that the camera had becomes 0..255. See docs/images.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cam_engine.images.decoded import Alpha, ImageFacts, Scaling
from cam_engine.options import Background, DecodingOptions
from cam_engine.results import RgbImage

Pixels = NDArray[Any]
_DEPTHS = (10, 12, 14, 16, 20, 24, 32)
_COLOUR_CAMERA_BITS = 12
_PACKED_BITS, _UNPACKED_BITS = frozenset({10, 12, 14}), 16
_BYTE_BITS = 8
_GROUNDS = {"white": 255.0, "black": 0.0}
_BLOCK_ROWS = 256
_BLOCK_PIXELS = 2**18
_BGR, _BGRA = 3, 4
_NO_MEMORY = -4  # cv::Error::StsNoMem


@dataclass(frozen=True, slots=True)
class DeepPicture:
    """A picture at its full depth, and what its file says of it.

    color: (H, W, 1 or 3). alpha: (H, W) or None. bits: of a sample in the file. declared: bits that
    samples use, where the file says it. rescaled: where samples lie above them, they were scaled up
    to the type's range (PNG's sBIT). premultiplied: colours were multiplied by alpha.
    """

    color: Pixels
    alpha: Pixels | None
    bits: int
    declared: int | None = None
    rescaled: bool = False
    premultiplied: bool = False
    white_is_zero: bool = False


@dataclass(frozen=True, slots=True)
class DeepFacts:
    """How a deep picture was brought to 8 bits, in `ImageFacts`' words."""

    scaling: Scaling
    scaled_bits: int | None
    least_bits: int | None
    alpha: Alpha

    def added_to(self, facts: ImageFacts) -> ImageFacts:
        """The image's facts with these."""
        return replace(
            facts,
            scaling=self.scaling,
            scaled_bits=self.scaled_bits,
            least_bits=self.least_bits,
            alpha=self.alpha,
        )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Half of what becomes 0, half of what becomes 255, and why."""

    low: float
    high: float
    how: Scaling
    bits: int | None = None
    least_bits: int | None = None

    @classmethod
    def unsigned(cls, bits: int, shift: int, how: Scaling) -> _Scale:
        return cls(0.0, ((2**bits - 1) << shift) / 2, how, bits)

    @classmethod
    def signed(cls, bits: int) -> _Scale:
        half = 2 ** (bits - 1)
        return cls(-half / 2, (half - 1) / 2, "signed", bits)


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
    if pixels.dtype == np.uint8:
        raise ValueError("the pixels could not be decoded at their full depth")
    if pixels.ndim == 2:
        return pixels[..., None], None
    if pixels.shape[2] == _BGR:
        return pixels[..., ::-1], None
    if pixels.shape[2] == _BGRA:
        return pixels[..., 2::-1], pixels[..., 3]
    raise ValueError(f"{pixels.shape[2]} channels are not read")


def render_deep(source: DeepPicture, options: DecodingOptions) -> tuple[RgbImage, DeepFacts]:
    """Bring a deep picture to (H, W, 3) uint8, and say how.

    NaN becomes 0 and infinity the nearer end. Raises ValueError where no sample is finite.
    """
    alpha = source.alpha
    read_as = _alpha(alpha, options.background)
    if read_as in {"none", "opaque", "empty"}:
        alpha = alpha if source.premultiplied and read_as != "empty" else None
    hidden = alpha if read_as in _GROUNDS else None
    undone = alpha if source.premultiplied else None
    scale = _scale(source, options, hidden, undone)
    flat = _rendered(source.color, undone, scale)
    if source.white_is_zero:
        np.subtract(255, flat, out=flat)
    if alpha is not None and read_as in _GROUNDS:
        flat = _over(flat, alpha, read_as)
    return flat, DeepFacts(scale.how, scale.bits, scale.least_bits, read_as)


def _scale(
    source: DeepPicture,
    options: DecodingOptions,
    hidden: Pixels | None,
    undone: Pixels | None,
) -> _Scale:
    """What becomes 0 and 255."""
    color, bits = source.color, source.bits
    if options.intensity == "min-max" or color.dtype.kind == "f":
        low, high = _range(color, None, undone)
        if options.intensity != "min-max" and low >= 0.0 and high <= 0.5:
            return _Scale(0.0, 0.5, "unit")
        return _Scale(*_range(color, hidden, undone), "min-max")
    shift = _UNPACKED_BITS - bits if bits in _PACKED_BITS else 0  # OpenCV shifts those up
    signed = color.dtype.kind == "i"
    if signed and bits == _BYTE_BITS:
        return _Scale.signed(_BYTE_BITS)
    if options.intensity == "type":
        whole = _Scale.signed(bits) if signed else _Scale.unsigned(bits, shift, "type")
        return replace(whole, how="type")
    low, high = (2 * end for end in _range(color, None, None))
    return _by_depth(source, options, int(low) >> shift, int(high) >> shift, shift)


def _by_depth(
    source: DeepPicture, options: DecodingOptions, low: int, high: int, shift: int
) -> _Scale:
    """low, high: the least and the greatest sample."""
    signed = source.color.dtype.kind == "i"
    bits = source.bits - signed
    if low < 0:
        needed = max((-low - 1).bit_length(), high.bit_length()) + 1
        return _Scale.signed(_usual(needed, source.bits))
    if shift:
        return _Scale.unsigned(bits, shift, "declared")
    # Writers that know nothing name the type's own depth.
    known = source.declared is not None and source.declared < source.bits
    declared = min(source.declared or bits, bits) if known else None
    if declared is not None and high < 2**declared:
        return _Scale.unsigned(declared, 0, "declared")
    least = _least_bits(source, high, bits)
    if declared is not None and source.rescaled:
        return _Scale.unsigned(bits, 0, "type")
    if declared is not None:
        return _Scale.unsigned(least, 0, "contradicted")
    depth = least
    how: Scaling = "image"
    if options.depth_bits is not None:
        depth, how = min(bits, max(least, options.depth_bits)), "folder"
    scale = _Scale.unsigned(depth, 0, "type" if depth == bits else how)
    return replace(scale, least_bits=least)


def _least_bits(source: DeepPicture, high: int, bits: int) -> int:
    """The least usual depth that holds the samples; its type's where they plainly use it."""
    channels = source.color.shape[2]
    usual = _usual(high.bit_length(), bits)
    if usual == bits or (channels > 1 and usual > _COLOUR_CAMERA_BITS):
        return bits
    return bits if bits == _UNPACKED_BITS and _is_doubled(source.color) else usual


def _usual(needed: int, most: int) -> int:
    return next((depth for depth in _DEPTHS if needed <= depth < most), most)


def _is_doubled(color: Pixels) -> bool:
    """Whether 8-bit samples were written as 16 bits by repeating their byte."""
    return all(
        bool((color[rows] >> 8 == color[rows] & 0xFF).all()) for rows in _blocks(color)
    ) and bool(color.any())


def _alpha(alpha: Pixels | None, background: Background) -> Alpha:
    if alpha is None:
        return "none"
    low, high = float(np.nanmin(alpha)), float(np.nanmax(alpha))
    if low >= _full_opacity(alpha.dtype):
        return "opaque"
    return "empty" if high <= 0 else background


def _rendered(color: Pixels, undone: Pixels | None, scale: _Scale) -> RgbImage:
    out = np.empty((*color.shape[:2], 3), np.uint8)
    table = None
    if undone is None and color.dtype == np.uint16:
        table = _scaled(np.arange(2**16, dtype=np.uint16), scale.low, scale.high)
    for rows in _blocks(color):
        block = _colours(color, undone, rows)
        out[rows] = _scaled(block, scale.low, scale.high) if table is None else table[block]
    return out


def _range(color: Pixels, alpha: Pixels | None, undone: Pixels | None) -> tuple[float, float]:
    """Half of the least and of the greatest value that count: max - min of float64 can overflow.

    Fully transparent pixels do not count where an alpha is given, nor what is not finite.
    """
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


def _over(image: RgbImage, alpha: Pixels, background: Alpha) -> RgbImage:
    """Lay (H, W, 3) uint8 on a colour, in place and answered.

    `alpha` (H, W) is opaque at its type's maximum, or 1.0.
    """
    full, ground = _full_opacity(alpha.dtype), _GROUNDS[background]
    for rows in _blocks(image):
        opacity = np.clip(np.nan_to_num(alpha[rows].astype(np.float64)) / full, 0.0, 1.0)[..., None]
        image[rows] = np.rint(image[rows] * opacity + ground * (1.0 - opacity))
    return image


def _full_opacity(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0

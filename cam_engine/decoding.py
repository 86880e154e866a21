"""Image files of untrusted origin -> upright 8-bit RGB arrays, or one clear error.

The content decides what a file is, never its name. Formats are the rows of `_FORMATS`; each is
opened by its own Pillow plugin, so that none of Pillow's other parsers can be reached, and none of
its process-wide state (registry, size warning) is in play. Colour profiles are not applied, and of
files with several pictures the first is read.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cam_engine.deep_images import decode_deep, over_white, stretch, undo_premultiplied
from cam_engine.errors import CamError, ImageNotFound, ImageTooLarge, InvalidImage, InvalidOption
from cam_engine.image_headers import (
    TiffHeader,
    read_png_header,
    read_tiff_header,
    read_webp_size,
)
from cam_engine.results import RgbImage

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before it is decoded.

    max_bytes: the file's size (64 MiB). max_pixels: width times height (50 million: the largest
    cameras on microscopes; as 8-bit RGB 150 MB). TIFF and WebP are also bounded by twice
    `PIL.Image.MAX_IMAGE_PIXELS`.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through. Raises InvalidOption."""
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise InvalidOption(f"image limits must be at least 1, got {self}")


DEFAULT_LIMITS = ImageLimits()
_STRIP_ROWS = 256


def read_image(path: Path, limits: ImageLimits = DEFAULT_LIMITS) -> RgbImage:
    """Decode a file as `decode_image` does; its size on disk is checked before it is read.

    Raises ImageNotFound, InvalidImage or ImageTooLarge; each message begins with the file's name.
    """
    try:
        return decode_image(read_image_bytes(path, limits), limits)
    except CamError as error:
        raise type(error)(f"{path.name or path}: {error}") from error


def decode_image(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> RgbImage:
    """Decode JPEG, PNG, WebP, BMP or TIFF: (H, W, 3) uint8 RGB, C-contiguous, safe in any thread.

    The orientation that the file carries is applied, and transparency is laid on white, as the
    background of a smear is. More than 8 bits a sample are rescaled by the range really used:
    (x - min) / (max - min), all channels jointly.

    Raises ImageTooLarge beyond `limits` (nothing was decoded then) and InvalidImage for whatever is
    not one whole picture in one of these formats.
    """
    _check_bytes(len(data), limits)
    kind = _recognise(data)
    try:
        image = kind.decode(data, limits)
    except CamError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"Pillow refuses an image of that many pixels ({error})") from error
    # Decoders throw anything at damaged data: OSError, SyntaxError, struct.error, cv2.error, ...
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidImage(
            f"the {kind.name} data is damaged, cut short or of an unusual kind ({reason}); "
            "send the original again, or save it as PNG"
        ) from error
    return np.ascontiguousarray(image)


def read_image_bytes(path: Path, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """The file's bytes, read once its size is known to be within the limits.

    Raises ImageNotFound, InvalidImage or ImageTooLarge.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageNotFound(f"not a file but a folder or device, in {path.parent}")
        _check_bytes(status.st_size, limits)
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageNotFound(f"no such image in {path.parent}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidImage(
            f"the file could not be read ({reason}); check its permissions"
        ) from error


def _check_bytes(size: int, limits: ImageLimits) -> None:
    if size == 0:
        raise InvalidImage("the image is empty (0 bytes); send it again")
    if size > limits.max_bytes:
        raise ImageTooLarge(
            f"{size:,} bytes are more than the {limits.max_bytes:,} allowed; "
            "crop the image or save it compressed"
        )


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width < 1 or height < 1:
        raise InvalidImage(f"the image has no pixels ({width} x {height}); save it again")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"{width:,} x {height:,} pixels are more than the {limits.max_pixels:,} allowed; "
            "crop the image or make it smaller"
        )


def _decode_png(data: bytes, limits: ImageLimits) -> RgbImage:
    header = read_png_header(data)
    _check_pixels(header.width, header.height, limits)
    # Loading stops at the last pixel; only verifying reads on to the end and compares checksums.
    with PngImageFile(BytesIO(data)) as image:
        image.verify()
    with PngImageFile(BytesIO(data)) as image:
        image.load()
        flat = _deep_png(data, image) if header.deep else _flatten(image)
        return _turn_upright(flat, image)


def _deep_png(data: bytes, image: ImageFile) -> RgbImage:
    color, alpha = decode_deep(data)
    key = image.info.get("transparency")
    if alpha is None and isinstance(key, int):
        alpha = np.where(color[..., 0] == key, np.uint8(0), np.uint8(255))
    flat = stretch(color, alpha)
    return flat if alpha is None else over_white(flat, alpha)


def _decode_tiff(data: bytes, limits: ImageLimits) -> RgbImage:
    header = read_tiff_header(data)
    _check_pixels(header.width, header.height, limits)
    if header.block_pixels > limits.max_pixels:
        raise ImageTooLarge(
            f"tiles of {header.block_pixels:,} pixels are more than the {limits.max_pixels:,} "
            "allowed; save the image in smaller tiles or strips"
        )
    if header.deep:
        return _deep_tiff(data, header)
    with TiffImageFile(BytesIO(data)) as image:
        return _flatten(image)  # Pillow itself turns a TIFF upright, and so does OpenCV.


# Deep TIFFs that OpenCV reads rightly: (photometric, samples).
_DEEP_LAYOUTS = frozenset({(0, 1), (1, 1), (2, 3), (2, 4)})
_WHITE_IS_ZERO, _NO_ALPHA, _PREMULTIPLIED = 0, (0,), (1,)


def _deep_tiff(data: bytes, header: TiffHeader) -> RgbImage:
    known = (header.photometric, header.samples) in _DEEP_LAYOUTS
    if not known or not (header.interleaved or header.samples == 1):
        raise InvalidImage(
            f"a {header.bits}-bit TIFF of this layout is not read (photometric "
            f"{header.photometric}, {header.samples} channels); save it as grey or interleaved RGB"
        )
    if header.data_end > len(data):
        raise InvalidImage(
            f"the TIFF data is cut short: {header.data_end - len(data):,} bytes are missing; "
            "send the original again"
        )
    color, alpha = decode_deep(data)
    if header.extra == _NO_ALPHA:
        alpha = None
    if alpha is not None and header.extra == _PREMULTIPLIED:
        color = undo_premultiplied(color, alpha)
    flat = stretch(color, alpha)
    if header.photometric == _WHITE_IS_ZERO:
        flat = 255 - flat
    return flat if alpha is None else over_white(flat, alpha)


def _decode_webp(data: bytes, limits: ImageLimits) -> RgbImage:
    # Opening already allocates the canvas, so its size is read beforehand.
    _check_pixels(*read_webp_size(data), limits)
    return _decode_plain(WebPImageFile, data, limits)


def _decode_jpeg(data: bytes, limits: ImageLimits) -> RgbImage:
    return _decode_plain(JpegImageFile, data, limits)


def _decode_bmp(data: bytes, limits: ImageLimits) -> RgbImage:
    return _decode_plain(BmpImageFile, data, limits)


def _decode_plain(
    plugin: Callable[[BytesIO], ImageFile], data: bytes, limits: ImageLimits
) -> RgbImage:
    with plugin(BytesIO(data)) as image:
        _check_pixels(*image.size, limits)
        return _turn_upright(_flatten(image), image)


def _flatten(image: ImageFile) -> RgbImage:
    """At most 8 bits a sample in any mode -> (H, W, 3) uint8, transparency laid on white."""
    image.load()
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return _pixels(canvas.convert("RGB"))
    return _pixels(image if image.mode == "RGB" else image.convert("RGB"))


def _pixels(image: Image.Image) -> RgbImage:
    """What np.array(image) is, in half the time for a large picture: strips stay in the cache."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(height, top + _STRIP_ROWS)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


# EXIF 2.32, tag 0x0112: what has to be done to a stored picture before it is shown.
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


def _turn_upright(flat: RgbImage, image: ImageFile) -> RgbImage:
    turn = _TURNS.get(_orientation(image))
    return turn(flat) if turn else flat


def _orientation(image: ImageFile) -> int:
    """Read the EXIF orientation; 1 where there is none, or where only the EXIF block is broken."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


@dataclass(frozen=True, slots=True)
class _Format:
    """One format: how its files begin, and what decodes them."""

    name: str
    signature: re.Pattern[bytes]
    decode: Callable[[bytes, ImageLimits], RgbImage]


# An MPO (several JPEGs in a row, as stereo cameras write) is a JPEG whose first picture is read.
_FORMATS = (
    _Format("JPEG", re.compile(rb"\xff\xd8\xff"), _decode_jpeg),
    _Format("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), _decode_png),
    _Format("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _decode_webp),
    _Format("BMP", re.compile(rb"BM"), _decode_bmp),
    _Format("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), _decode_tiff),
)


# What is sent instead of an image now and then: its name, how it begins, and what to do with it.
_OTHERS = (
    ("a PDF document", re.compile(rb"\s*%PDF-"), "save its picture as PNG, or "),
    ("a GIF", re.compile(rb"GIF8[79]a"), "save it as PNG, or "),
    ("a HEIC or AVIF", re.compile(rb".{4}ftyp(hei|hev|mif1|msf1|avi)", re.DOTALL), ""),
    ("a JPEG 2000", re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), ""),
    ("a DICOM file", re.compile(rb".{128}DICM", re.DOTALL), ""),
    (
        "a zip archive or office document",
        re.compile(rb"PK\x03\x04"),
        "take the image out of it, or ",
    ),
    ("a web page or other text with tags", re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]"), ""),
)


def _recognise(data: bytes) -> _Format:
    for kind in _FORMATS:
        if kind.signature.match(data):
            return kind
    names = ", ".join(kind.name for kind in _FORMATS)
    for name, beginning, advice in _OTHERS:
        if beginning.match(data):
            raise InvalidImage(f"{name}, which is not read; {advice}send one of {names}")
    raise InvalidImage(f"not an image in a format that is read; send one of {names}")

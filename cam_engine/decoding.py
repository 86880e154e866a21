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

from cam_engine.deep_images import decode_deep, over_white, stretch
from cam_engine.errors import CamError, ImageNotFound, ImageTooLarge, InvalidImage, InvalidOption
from cam_engine.image_headers import (
    TiffHeader,
    check_png_chunks,
    read_jpeg_header,
    read_png_header,
    read_tiff_header,
    read_webp_size,
    still_png,
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
    `PIL.Image.MAX_IMAGE_PIXELS`. Memory and work that small files can ask for follow from these.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through. Raises InvalidOption."""
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise InvalidOption(f"image limits must be at least 1, got {self}")

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding may take beside the file: 10 bytes for each pixel allowed.

        8-bit pictures take 7, or 10 as a progressive JPEG of the usual kind.
        """
        return max(_LEAST_DECODING_BYTES, 10 * self.max_pixels)


# `decode_image`, or what does the same elsewhere: `decoding_pool.DecodingPool.decode`.
Decode = Callable[[bytes, ImageLimits], RgbImage]

_LEAST_DECODING_BYTES = 64 * 2**20
DEFAULT_LIMITS = ImageLimits()
_STRIP_ROWS = 256

# What decoding takes for a pixel: Pillow's own picture (four bytes in colour), and our RGB.
_PLAIN_BYTES, _RGB_BYTES = 4, 3
_WEBP_BYTES = 16  # its animations' two canvases, which a single picture has as well
_PNG_COPIES, _TIFF_COPIES = 3, 2  # of a deep picture, while OpenCV reads it
# Honest progressive JPEGs have about ten scans, those of the most thorough optimisers some more.
_MOST_SCANS = 100
_FULL_SIZE_SCANS = 20
_MOST_RUN_LENGTH_BYTES = 4 * 2**20  # decoded in Python, run by run
_RUN_LENGTH = frozenset({b"\1\0\0\0", b"\2\0\0\0"})  # of 8 and of 4 bits


def read_image(
    path: Path, limits: ImageLimits = DEFAULT_LIMITS, decode: Decode | None = None
) -> RgbImage:
    """Decode a file as `decode_image` does; its size on disk is checked before it is read.

    decode: what decodes its bytes, `decode_image` by default. Raises ImageNotFound, InvalidImage or
    ImageTooLarge; each message begins with the file's name.
    """
    try:
        return (decode or decode_image)(read_image_bytes(path, limits), limits)
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
    check_bytes(len(data), limits)
    kind = _recognise(data)
    try:
        image = kind.decode(data, limits)
    except CamError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(
            f"decoding this {kind.name} takes more memory than the {limits.decoding_bytes:,} bytes "
            "that are allowed; make it smaller, or save it with 8 bits a channel"
        ) from error
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
        check_bytes(status.st_size, limits)
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageNotFound(f"no such image in {path.parent}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidImage(
            f"the file could not be read ({reason}); check its permissions"
        ) from error


def check_bytes(size: int, limits: ImageLimits) -> None:
    """Refuse a file of no bytes or too many. Raises InvalidImage or ImageTooLarge."""
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


def _check_memory(needed: int, what: str, limits: ImageLimits) -> None:
    """Refuse what would take more than `limits.decoding_bytes`; what: the picture's kind."""
    if needed > limits.decoding_bytes:
        raise ImageTooLarge(
            f"decoding {what} of this size takes {needed:,} bytes of memory, more than the "
            f"{limits.decoding_bytes:,} allowed; make it smaller, or save it as PNG or TIFF with "
            "8 bits a channel"
        )


def _deep_bytes(bits: int, copies: int) -> int:
    """What OpenCV takes for a pixel of so many bits, as often; or once, and our RGB."""
    samples = -(-bits // 8)
    return max(copies * samples, samples + _RGB_BYTES)


def _decode_png(data: bytes, limits: ImageLimits) -> RgbImage:
    header = read_png_header(data)
    pixels = header.width * header.height
    _check_pixels(header.width, header.height, limits)
    check_png_chunks(data)
    if header.deep:
        needed = pixels * _deep_bytes(header.bits * header.channels, _PNG_COPIES)
        _check_memory(needed, f"a PNG of {header.bits} bits a channel", limits)
    # Loading stops at the last pixel; only verifying reads on to the end and compares checksums.
    with PngImageFile(BytesIO(data)) as image:
        image.verify()
    with PngImageFile(BytesIO(data)) as image:
        image.load()
        flat = _deep_png(data, image) if header.deep else _flatten(image)
        return _turn_upright(flat, image)


def _deep_png(data: bytes, image: ImageFile) -> RgbImage:
    # OpenCV reads a moving picture as another than its first, and unpacks texts and profiles.
    color, alpha = decode_deep(still_png(data))
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
    if header.decoded_pixels > 2 * limits.max_pixels:
        raise ImageTooLarge(
            f"tiles of {header.decoded_pixels:,} pixels altogether are far more than the picture "
            "has; save the image in smaller tiles or strips"
        )
    if header.claimed_bytes > len(data):
        raise InvalidImage(
            f"strips or tiles of the TIFF share bytes: they claim {header.claimed_bytes:,} of a "
            f"file of {len(data):,}; save the image again"
        )
    pixel_bytes = _PLAIN_BYTES + _RGB_BYTES
    if header.deep:
        pixel_bytes = _deep_bytes(header.bits * header.samples, _TIFF_COPIES)
    needed = header.width * header.height * pixel_bytes
    what = f"a TIFF of {header.samples} channels of {header.bits} bits"
    _check_memory(needed, what, limits)
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
    flat = stretch(color, alpha, premultiplied=header.extra == _PREMULTIPLIED)
    if header.photometric == _WHITE_IS_ZERO:
        np.subtract(255, flat, out=flat)
    return flat if alpha is None else over_white(flat, alpha)


def _decode_webp(data: bytes, limits: ImageLimits) -> RgbImage:
    # Opening already allocates the canvas, so its size is read beforehand.
    width, height = read_webp_size(data)
    _check_pixels(width, height, limits)
    _check_memory(width * height * _WEBP_BYTES, "a WebP", limits)
    return _decode_plain(WebPImageFile, data, limits)


def _decode_jpeg(data: bytes, limits: ImageLimits) -> RgbImage:
    header = read_jpeg_header(data, _MOST_SCANS)
    pixels = header.width * header.height
    _check_pixels(header.width, header.height, limits)
    if header.scans > _MOST_SCANS or header.scans * pixels > _FULL_SIZE_SCANS * limits.max_pixels:
        raise ImageTooLarge(
            f"a JPEG of this size in {header.scans:,} scans or more takes too long to decode; save "
            "it as a baseline JPEG, which has one, or as PNG"
        )
    needed = pixels * _PLAIN_BYTES + max(pixels * _RGB_BYTES, header.kept_bytes)
    _check_memory(needed, "a progressive JPEG", limits)
    return _decode_plain(JpegImageFile, data, limits)


def _decode_bmp(data: bytes, limits: ImageLimits) -> RgbImage:
    if data[30:34] in _RUN_LENGTH and len(data) > _MOST_RUN_LENGTH_BYTES:
        raise ImageTooLarge(
            f"{len(data):,} bytes are more than the {_MOST_RUN_LENGTH_BYTES:,} allowed for a "
            "run-length BMP; save it as PNG"
        )
    return _decode_plain(BmpImageFile, data, limits)


def _decode_plain(
    plugin: Callable[[BytesIO], ImageFile], data: bytes, limits: ImageLimits
) -> RgbImage:
    with plugin(BytesIO(data)) as image:
        _check_pixels(*image.size, limits)
        return _turn_upright(_flatten(image), image)


def _flatten(image: ImageFile) -> RgbImage:
    """At most 8 bits a sample in any mode -> (H, W, 3) uint8, transparency laid on white.

    Strip by strip: half the time for a large picture, and a third of the memory.
    """
    image.load()
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        bottom = min(height, top + _STRIP_ROWS)
        pixels[top:bottom] = np.asarray(_as_rgb(image.crop((0, top, width, bottom))))
    return pixels


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return canvas.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


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

"""Image files of untrusted origin -> upright 8-bit RGB arrays, or one clear error.

The content decides what a file is, never its name. Formats are the rows of `_FORMATS`; each is
opened by its own Pillow plugin, so that none of Pillow's other parsers can be reached, and none of
its process-wide state (registry, size warning) is in play. Colour profiles are not applied, and of
moving pictures the first is read. What was done to the pixels is said: see
`cam_engine.images.decoded`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from cam_engine.errors import CamError, ImageNotFound, ImageTooLarge, InvalidImage, PageNotFound
from cam_engine.images.decoded import DecodedImage, ImageFacts
from cam_engine.images.deep import DeepPicture, decode_deep, render_deep
from cam_engine.images.headers import (
    PngHeader,
    PngParts,
    read_gif_header,
    read_jpeg_header,
    read_png_header,
    read_png_parts,
    read_webp_size,
    still_png,
    webp_is_animated,
    without_texts,
)
from cam_engine.images.limits import (
    DEFAULT_LIMITS,
    PLAIN_BYTES,
    RGB_BYTES,
    ImageLimits,
    check_bytes,
    check_memory,
    check_pixels,
    deep_bytes,
)
from cam_engine.images.plain import flatten, orientation_of, turn_upright
from cam_engine.images.tiff import decode_tiff
from cam_engine.options import DEFAULT_DECODING, DecodingOptions
from cam_engine.results import RgbImage
from cam_engine.stores import access

__all__ = [
    "DEFAULT_LIMITS",
    "IMAGE_SUFFIXES",
    "Decode",
    "ImageLimits",
    "decode",
    "decode_image",
    "read_image",
    "read_image_bytes",
]

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)


# `decode`, or what does the same elsewhere: `decoding_pool.DecodingPool.decode`.
Decode = Callable[[bytes, ImageLimits, DecodingOptions], DecodedImage]

_WEBP_BYTES = 16  # its animations' two canvases, which a single picture has as well
_PNG_DEEP_BITS = 16
_PNG_COPIES = 3  # of a deep picture, while OpenCV reads it
# Honest progressive JPEGs have about ten scans, those of the most thorough optimisers some more.
_MOST_SCANS = 100
_FULL_SIZE_SCANS = 20
_MOST_RUN_LENGTH_BYTES = 4 * 2**20  # decoded in Python, run by run
_RUN_LENGTH = frozenset({b"\1\0\0\0", b"\2\0\0\0"})  # of 8 and of 4 bits


def read_image(
    path: str | os.PathLike[str],
    limits: ImageLimits = DEFAULT_LIMITS,
    decode_by: Decode | None = None,
    options: DecodingOptions = DEFAULT_DECODING,
) -> RgbImage:
    """Decode a file as `decode_image` does; its size on disk is checked before it is read.

    decode_by: what decodes its bytes, `decode` by default. Raises ImageNotFound, InvalidImage or
    ImageTooLarge; each message begins with the file's name.
    """
    path = Path(path)
    try:
        return (decode_by or decode)(read_image_bytes(path, limits), limits, options).pixels
    except CamError as error:
        raise type(error)(f"{path.name or path}: {error}") from error


def decode_image(
    data: bytes,
    limits: ImageLimits = DEFAULT_LIMITS,
    options: DecodingOptions = DEFAULT_DECODING,
) -> RgbImage:
    """The pixels of `decode` alone."""
    return decode(data, limits, options).pixels


def decode(
    data: bytes,
    limits: ImageLimits = DEFAULT_LIMITS,
    options: DecodingOptions = DEFAULT_DECODING,
) -> DecodedImage:
    """Decode JPEG, PNG, WebP, BMP, TIFF or GIF: (H, W, 3) uint8 RGB, C-contiguous; thread-safe.

    The orientation that the file carries is applied. More than 8 bits a sample, transparency and
    pages are read as the options say; docs/images.md has the rules.

    Raises ImageTooLarge beyond `limits` (nothing was decoded then), PageNotFound, and InvalidImage
    for whatever is not one whole picture in one of these formats.
    """
    check_bytes(len(data), limits)
    kind = _recognise(data)
    try:
        if options.page not in (None, 1) and kind.name != "TIFF":
            raise PageNotFound(
                f"page {options.page} was asked for; of a {kind.name} only the first is read"
            )
        pixels, facts = kind.decode(data, limits, options)
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
    return DecodedImage(np.ascontiguousarray(pixels), facts)


def read_image_bytes(path: Path, limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """The file's bytes, read once its size is known to be within the limits.

    Raises ImageNotFound, InvalidImage or ImageTooLarge.
    """
    with open_image(path) as file:
        check_bytes(os.fstat(file.fileno()).st_size, limits)
        try:
            return file.read(limits.max_bytes + 1)
        except OSError as error:
            raise _unreadable(error) from error


def open_image(path: Path) -> BufferedReader:
    """A regular file, to be read. Raises ImageNotFound or InvalidImage."""
    try:
        access.bring(path)
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageNotFound(f"not a file but a folder or device, in {path.parent}")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageNotFound(f"no such image in {path.parent}") from error
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError | ValueError) -> InvalidImage:
    reason = getattr(error, "strerror", None) or str(error)
    return InvalidImage(f"the file could not be read ({reason}); check its permissions")


def _decode_png(data: bytes, limits: ImageLimits, options: DecodingOptions) -> DecodedImage:
    header = read_png_header(data)
    pixels = header.width * header.height
    check_pixels(header.width, header.height, limits)
    parts = read_png_parts(data)
    if header.deep:
        needed = pixels * deep_bytes(header.bits * header.channels, _PNG_COPIES)
        check_memory(needed, f"a PNG of {header.bits} bits a channel", limits)
    try:
        return _whole_png(data, header, parts, options)
    except (ValueError, SyntaxError, OSError):
        # Pillow refuses texts and profiles of more than a megabyte, which no pixel depends on.
        if not parts.has_texts:
            raise
        return _whole_png(without_texts(data), header, parts, options)


def _whole_png(
    data: bytes, header: PngHeader, parts: PngParts, options: DecodingOptions
) -> DecodedImage:
    # Loading stops at the last pixel; only verifying reads on to the end and compares checksums.
    with PngImageFile(BytesIO(data)) as image:
        image.verify()
    facts = ImageFacts(format="PNG", bits=header.bits, animated=parts.animated)
    with PngImageFile(BytesIO(data)) as image:
        image.load()
        if header.deep:
            pixels, made = render_deep(_deep_png(data, image, parts), options)
            facts = made.added_to(facts)
        else:
            pixels, alpha = flatten(image, options.background)
            facts = replace(facts, alpha=alpha)
        return _upright(pixels, image, facts)


def _deep_png(data: bytes, image: ImageFile, parts: PngParts) -> DeepPicture:
    # OpenCV reads a moving picture as another than its first, and unpacks texts and profiles.
    color, alpha = decode_deep(still_png(data))
    key = image.info.get("transparency")
    if alpha is None and isinstance(key, int):
        alpha = np.where(color[..., 0] == key, np.uint8(0), np.uint8(255))
    return DeepPicture(color, alpha, _PNG_DEEP_BITS, declared=parts.significant_bits, rescaled=True)


def _decode_webp(data: bytes, limits: ImageLimits, options: DecodingOptions) -> DecodedImage:
    # Opening already allocates the canvas, so its size is read beforehand.
    width, height = read_webp_size(data)
    check_pixels(width, height, limits)
    check_memory(width * height * _WEBP_BYTES, "a WebP", limits)
    facts = ImageFacts(format="WebP", animated=webp_is_animated(data))
    return _decode_plain(WebPImageFile, data, limits, options, facts)


def _decode_jpeg(data: bytes, limits: ImageLimits, options: DecodingOptions) -> DecodedImage:
    header = read_jpeg_header(data, _MOST_SCANS)
    pixels = header.width * header.height
    check_pixels(header.width, header.height, limits)
    if header.scans > _MOST_SCANS or header.scans * pixels > _FULL_SIZE_SCANS * limits.max_pixels:
        raise ImageTooLarge(
            f"a JPEG of this size in {header.scans:,} scans or more takes too long to decode; save "
            "it as a baseline JPEG, which has one, or as PNG"
        )
    needed = pixels * PLAIN_BYTES + max(pixels * RGB_BYTES, header.kept_bytes)
    check_memory(needed, "a progressive JPEG", limits)
    return _decode_plain(JpegImageFile, data, limits, options, ImageFacts(format="JPEG"))


def _decode_bmp(data: bytes, limits: ImageLimits, options: DecodingOptions) -> DecodedImage:
    if data[30:34] in _RUN_LENGTH and len(data) > _MOST_RUN_LENGTH_BYTES:
        raise ImageTooLarge(
            f"{len(data):,} bytes are more than the {_MOST_RUN_LENGTH_BYTES:,} allowed for a "
            "run-length BMP; save it as PNG"
        )
    return _decode_plain(BmpImageFile, data, limits, options, ImageFacts(format="BMP"))


def _decode_gif(data: bytes, limits: ImageLimits, options: DecodingOptions) -> DecodedImage:
    header = read_gif_header(data)
    check_pixels(header.width, header.height, limits)
    facts = ImageFacts(format="GIF", animated=header.animated)
    return _decode_plain(GifImageFile, data, limits, options, facts)


def _decode_plain(
    plugin: Callable[[BytesIO], ImageFile],
    data: bytes,
    limits: ImageLimits,
    options: DecodingOptions,
    facts: ImageFacts,
) -> DecodedImage:
    with plugin(BytesIO(data)) as image:
        check_pixels(*image.size, limits)
        pixels, alpha = flatten(image, options.background)
        return _upright(pixels, image, replace(facts, alpha=alpha))


def _upright(pixels: RgbImage, image: ImageFile, facts: ImageFacts) -> DecodedImage:
    orientation = orientation_of(image)
    return DecodedImage(turn_upright(pixels, orientation), replace(facts, orientation=orientation))


@dataclass(frozen=True, slots=True)
class _Format:
    """One format: how its files begin, and what decodes them."""

    name: str
    signature: re.Pattern[bytes]
    decode: Callable[[bytes, ImageLimits, DecodingOptions], DecodedImage]


# An MPO (several JPEGs in a row, as stereo cameras write) is a JPEG whose first picture is read.
_FORMATS = (
    _Format("JPEG", re.compile(rb"\xff\xd8\xff"), _decode_jpeg),
    _Format("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), _decode_png),
    _Format("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _decode_webp),
    _Format("BMP", re.compile(rb"BM"), _decode_bmp),
    _Format("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]"), decode_tiff),
    _Format("GIF", re.compile(rb"GIF8[79]a"), _decode_gif),
)


# What is sent instead of an image now and then: its name, how it begins, and what to do with it.
_OTHERS = (
    ("a PDF document", re.compile(rb"\s*%PDF-"), "save its picture as PNG, or "),
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

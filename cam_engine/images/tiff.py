"""TIFF files: one page, or three that are channels of one picture, to upright 8-bit RGB."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from cam_engine.errors import ImageTooLarge, InvalidImage
from cam_engine.images.decoded import DecodedImage, ImageFacts
from cam_engine.images.deep import DeepPicture, Pixels, decode_deep, render_deep
from cam_engine.images.limits import (
    PLAIN_BYTES,
    RGB_BYTES,
    ImageLimits,
    check_memory,
    check_pixels,
    deep_bytes,
)
from cam_engine.images.plain import flatten
from cam_engine.images.tiff_headers import TiffFile, TiffHeader, TiffPicture
from cam_engine.options import DecodingOptions
from cam_engine.process.decoder_messages import complaints
from cam_engine.results import RgbImage

_COPIES = 2  # of a deep picture, while OpenCV reads it
_COLOURS = 3
_LAST_BYTES = 64
# Deep TIFFs that OpenCV reads rightly: (photometric, samples).
_DEEP_LAYOUTS = frozenset({(0, 1), (1, 1), (2, 3), (2, 4)})
_WHITE_IS_ZERO = 0
_NO_ALPHA, _PREMULTIPLIED = (0,), (1,)
_KINDS = {"unsigned": "u", "signed": "i", "float": "f"}  # numpy's
# Their decoders fill up what is missing, and answer as if nothing were.
_FAX, _FAX_4, _JPEG = frozenset({2, 3, 4}), 4, 7
_FORGIVING = _FAX | {6, _JPEG}
_END_OF_FAX = format(0x001001, "024b")  # ITU-T T.6, 2.4.1.1
_END_OF_JPEG = b"\xff\xd9"


def decode_tiff(data: bytes, limits: ImageLimits, options: DecodingOptions) -> DecodedImage:
    """As `decoding.decode` for this format. Raises what that raises."""
    file = TiffFile(data)
    picture = file.picture(options.page)
    header = file.header(picture.pages[0])
    for at in picture.pages:
        _check(data, file.header(at), limits, channels=len(picture.pages))
    facts = ImageFacts(
        format="TIFF",
        bits=header.bits,
        samples=header.kind,
        page=picture.number,
        pages=picture.count,
        full_pages=picture.full,
        combined=picture.combined,
        orientation=header.orientation if 1 <= header.orientation <= 8 else 1,
    )
    if header.deep:
        return _deep(file, picture, header, facts, options)
    if picture.combined:
        return DecodedImage(_channels(file, picture, options), facts)
    with (
        TiffImageFile(BytesIO(file.beginning_with(picture.pages[0]))) as image,
        complaints() as said,
    ):
        # Pillow itself turns a TIFF upright, and so does OpenCV.
        pixels, alpha = flatten(image, options.background)
    if said and header.compression in _FAX:
        raise ValueError(said[0])
    return DecodedImage(pixels, replace(facts, alpha=alpha))


def _check(data: bytes, header: TiffHeader, limits: ImageLimits, *, channels: int) -> None:
    """Refuse a page before it is decoded; channels: how many such pages make the picture."""
    check_pixels(header.width, header.height, limits)
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
    pixel_bytes = PLAIN_BYTES + RGB_BYTES
    samples = header.samples * channels
    if header.deep:
        pixel_bytes = deep_bytes(header.bits * samples, _COPIES)
    needed = header.width * header.height * pixel_bytes
    check_memory(needed, f"a TIFF of {samples} channels of {header.bits} bits", limits)
    if (header.deep or header.compression in _FORGIVING) and header.data_end > len(data):
        raise InvalidImage(
            f"the TIFF data is cut short: {header.data_end - len(data):,} bytes are missing; "
            "send the original again"
        )
    _check_ends(data, header)


def _check_ends(data: bytes, header: TiffHeader) -> None:
    """Refuse strips or tiles that are cut short where their standard says how they end."""
    if header.compression not in {_FAX_4, _JPEG}:
        return
    for place, size in header.blocks:
        last = data[place : place + size].rstrip(b"\0")[-_LAST_BYTES:]
        whole = last.endswith(_END_OF_JPEG)
        if header.compression == _FAX_4:
            bits = "".join(format(byte, "08b") for byte in last)
            whole = _END_OF_FAX in bits or _END_OF_FAX in _mirrored(last)
        if not whole:
            kind = "fax" if header.compression == _FAX_4 else "JPEG"
            raise InvalidImage(
                f"the {kind} data in the TIFF is cut short; send the original again, or save it as "
                "PNG"
            )


def _mirrored(last: bytes) -> str:
    """Bits of bytes that are filled from their least one up (FillOrder 2)."""
    return "".join(format(byte, "08b")[::-1] for byte in last)


def _deep(
    file: TiffFile,
    picture: TiffPicture,
    header: TiffHeader,
    facts: ImageFacts,
    options: DecodingOptions,
) -> DecodedImage:
    if (header.photometric, header.samples) not in _DEEP_LAYOUTS:
        raise InvalidImage(
            f"a {header.bits}-bit TIFF of this layout is not read (photometric "
            f"{header.photometric}, {header.samples} channels); save it as grey or RGB"
        )
    alpha = None
    if picture.combined:
        color = _stacked([decode_deep(file.beginning_with(at))[0] for at in picture.pages])
    elif not header.interleaved and header.samples > 1:
        planes = range(header.samples)
        at = picture.pages[0]
        decoded = [decode_deep(file.plane(at, plane, header.samples))[0] for plane in planes]
        color, alpha = _stacked(decoded[:_COLOURS]), None
        if header.samples > _COLOURS:
            alpha = decoded[_COLOURS][..., 0]
    else:
        color, alpha = decode_deep(file.beginning_with(picture.pages[0]))
    if header.extra == _NO_ALPHA:
        alpha = None
    declared = file.declared_bits
    if declared is None and header.most_sample is not None:
        declared = header.most_sample.bit_length()
    if color.dtype.kind != _KINDS[header.kind]:
        raise ValueError("its samples are of another kind than it says")
    deep = DeepPicture(
        color,
        alpha,
        header.bits,
        declared=declared,
        premultiplied=header.extra == _PREMULTIPLIED,
        white_is_zero=header.photometric == _WHITE_IS_ZERO,
    )
    pixels, made = render_deep(deep, options)
    return DecodedImage(pixels, made.added_to(facts))


def _channels(file: TiffFile, picture: TiffPicture, options: DecodingOptions) -> RgbImage:
    first, *others = picture.pages
    pixels = _grey(file, first, options)
    for channel, at in enumerate(others, start=1):
        pixels[..., channel] = _grey(file, at, options)[..., 0]
    return pixels


def _grey(file: TiffFile, at: int, options: DecodingOptions) -> RgbImage:
    with TiffImageFile(BytesIO(file.beginning_with(at))) as image:
        return flatten(image, options.background).pixels


def _stacked(planes: list[Pixels]) -> Pixels:
    return np.concatenate(planes, axis=2)

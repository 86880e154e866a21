"""What is kept of a large image, so that its file is decoded and equalised once."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from cam_engine.images.decoded import ImageFacts
from cam_engine.images.png import encode_png
from cam_engine.maps.explainer import NetworkInput
from cam_engine.options import DecodingOptions
from cam_engine.pictures.picture_set import ShownImage
from cam_engine.results import RgbImage

_LARGE_BYTES = 4 * 2**20


class ImageKey(NamedTuple):
    """What decides how an image is decoded and prepared: its file's digest and its options."""

    sha256: str
    decoding: DecodingOptions
    clahe: bool
    input_size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LargeImage:
    """One image in place of its file: a tenth of a second instead of seconds.

    original, enhanced: lossless PNGs at the pictures' size, enhanced None where CLAHE is off.
    network_input: what the network gets. facts: what was done to make its pixels.
    """

    size: tuple[int, int]
    original: bytes
    enhanced: bytes | None
    network_input: NetworkInput
    facts: ImageFacts

    @property
    def shown(self) -> ShownImage:
        """Its pixels, decoded."""
        enhanced = None if self.enhanced is None else _pixels(self.enhanced)
        return ShownImage(_pixels(self.original), enhanced)

    @property
    def bytes_used(self) -> int:
        """Bytes held."""
        inputs = self.network_input.pixels.nbytes
        if self.network_input.plain is not None:
            inputs += self.network_input.plain.nbytes
        return len(self.original) + len(self.enhanced or b"") + inputs


def is_large(pixels: RgbImage) -> bool:
    """Whether decoding the image again would be felt."""
    return pixels.nbytes > _LARGE_BYTES


def keep(network_input: NetworkInput, shown: ShownImage, facts: ImageFacts) -> LargeImage:
    """shown: the pixels at the pictures' size."""
    enhanced = None if shown.enhanced is None else encode_png(shown.enhanced)
    return LargeImage(
        size=(shown.original.shape[0], shown.original.shape[1]),
        original=encode_png(shown.original),
        enhanced=enhanced,
        network_input=network_input,
        facts=facts,
    )


def _pixels(png: bytes) -> RgbImage:
    with PngImageFile(io.BytesIO(png)) as image:
        return np.array(image)

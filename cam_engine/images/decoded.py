"""A decoded picture, and the one record of what decoding did to it.

The record holds words of short lists and numbers only, so that a process that has read hostile
bytes can answer with it; sentences are made of it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from cam_engine.results import RgbImage

Format = Literal["", "JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"]
Samples = Literal["unsigned", "signed", "float"]
Scaling = Literal[
    "none", "type", "declared", "folder", "image", "contradicted", "signed", "unit", "min-max"
]
Alpha = Literal["none", "opaque", "empty", "beneath", "white", "black"]

_EIGHT = 8
_UPRIGHT = 1
_MOST_NUMBER = 2**32
_TRANSPARENCY: Mapping[str, str] = MappingProxyType(
    {
        "empty": "Transparency of 0 everywhere was ignored",
        "beneath": "Transparency: the colours beneath it were read",
        "white": "Transparency was laid on white",
        "black": "Transparency was laid on black",
    }
)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a file held and what was done to its pixels before CLAHE.

    bits, samples: of a sample in the file. scaling: by what samples became 0..255: "none" (8 bits
    or fewer, as they are), "type" (its type's range), "declared" (the depth that the file names),
    "folder" or "image" (the least usual depth that holds the samples of the folder, of the image),
    "contradicted" (as "image", since samples lie above the depth that the file names), "signed"
    (the range of so many bits below and above 0), "unit" (0..1) or "min-max" (the image's own).
    scaled_bits: that depth, where it is one. least_bits: the least usual depth that holds the
    samples, where the file names none; None for others.
    alpha: "none", "opaque" everywhere, "empty" (0 everywhere, ignored), or what was taken where it
    is transparent. page: the one read, from 1, of `pages`; full_pages: those that are no reduced
    copies. combined: three pages became red, green and blue. animated: the first frame was read.
    orientation: of EXIF, 1..8, already applied.
    """

    format: Format = ""
    bits: int = _EIGHT
    samples: Samples = "unsigned"
    scaling: Scaling = "none"
    scaled_bits: int | None = None
    least_bits: int | None = None
    alpha: Alpha = "none"
    page: int = 1
    pages: int = 1
    full_pages: int = 1
    combined: bool = False
    animated: bool = False
    orientation: int = _UPRIGHT

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must not miss, as sentences; none for an ordinary picture."""
        return tuple(
            notice
            for notice in (self._scaled, self._transparency, self._page)
            if notice is not None
        )

    @property
    def words(self) -> str:
        """For a person: "TIFF, 16 bits; scaled by 12 bits (the folder's largest sample)"."""
        kind = "" if self.samples == "unsigned" else f"{self.samples} "
        said = [f"{self.format}, {kind}{self.bits} bits"]
        if self.scaling == "type":
            said.append(f"scaled by all {self.scaled_bits} bits")
        elif self.scaling == "declared":
            said.append(f"scaled by {self.scaled_bits} bits, as the file says")
        if self.orientation != _UPRIGHT:
            said.append(f"turned upright (orientation {self.orientation})")
        return "; ".join([*said, *self.notices])

    @property
    def _scaled(self) -> str | None:
        by = f"{self.bits} bits scaled by {self.scaled_bits} bits"
        if self.scaling in {"folder", "image"}:
            whole = self.scaled_bits == self.bits
            return None if whole else f"{by} (the {self.scaling}'s largest sample)"
        if self.scaling == "signed" and self.scaled_bits == _EIGHT:
            return "Signed 8-bit samples: 128 was added"
        if self.scaling == "min-max":
            samples = "Float" if self.samples == "float" else f"{self.bits}-bit"
            return f"{samples} samples scaled by the image's own min and max"
        return {
            "signed": f"Signed samples below 0: scaled by {self.scaled_bits} bits around 0",
            "contradicted": f"Samples above the declared depth: scaled by {self.scaled_bits} bits",
        }.get(self.scaling)

    @property
    def _transparency(self) -> str | None:
        return _TRANSPARENCY.get(self.alpha)

    @property
    def _page(self) -> str | None:
        if self.animated:
            return f"The first frame of an animated {self.format} was read"
        number = f"page {self.page} of {self.pages}"
        if self.combined:
            return f"Channels of {number} read as red, green and blue"
        if self.full_pages > 1 or self.page != 1:
            return f"P{number[1:]} was read"
        return None


UNKNOWN = ImageFacts()


class DecodedImage(NamedTuple):
    """(H, W, 3) uint8 RGB, upright and C-contiguous, and what was done to make it."""

    pixels: RgbImage
    facts: ImageFacts


_WORDS: Mapping[str, tuple[str, ...]] = {
    "format": get_args(Format),
    "samples": get_args(Samples),
    "scaling": get_args(Scaling),
    "alpha": get_args(Alpha),
}
_FLAGS = frozenset({"combined", "animated"})
_OPTIONAL = frozenset({"scaled_bits", "least_bits"})


def facts_from_json(values: Mapping[str, Any]) -> ImageFacts:
    """Facts from `asdict`'s form, of which nothing is believed. Raises ValueError or TypeError."""
    checked: dict[str, Any] = {}
    for name in (field.name for field in fields(ImageFacts)):
        if name not in values:
            continue
        value = values[name]
        if name in _WORDS:
            if value not in _WORDS[name]:
                raise ValueError(f"{name} is none of those that there are")
            checked[name] = value
        elif name in _FLAGS:
            checked[name] = value is True
        elif name in _OPTIONAL and value is None:
            checked[name] = None
        else:
            checked[name] = min(max(0, int(value)), _MOST_NUMBER)
    return ImageFacts(**checked)


def facts_to_json(facts: ImageFacts) -> dict[str, Any]:
    """As `facts_from_json` reads it."""
    return asdict(facts)


def counted(notices: Iterable[Iterable[str]]) -> Iterator[tuple[int, str]]:
    """(how many images it was said of, notice), in the order they were first said."""
    counts: dict[str, int] = {}
    for of_image in notices:
        for said in of_image:
            counts[said] = counts.get(said, 0) + 1
    yield from ((count, notice) for notice, count in counts.items())

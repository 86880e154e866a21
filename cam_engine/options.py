"""What a caller may choose for an explanation, checked once, at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from cam_engine.errors import InvalidOption
from cam_engine.method_facts import (
    DEFAULT_METHOD,
    METHOD_FACTS,
    SCORES,
    FusionChoice,
    Method,
    Score,
    fusions_in_words,
    scores_in_words,
)

Taps = Literal["rectified", "raw"]
Colormap = Literal["inferno", "viridis", "turbo", "magma", "cividis", "jet"]
Blend = Literal["adaptive", "uniform"]
PaperFormat = Literal["png", "pdf"]
Pick = Literal["balanced", "first", "random", "errors"]
Intensity = Literal["type", "depth", "min-max"]
Background = Literal["white", "black", "beneath"]
PrecisionName = Literal["auto", "float32", "bfloat16"]

METHODS: tuple[str, ...] = tuple(METHOD_FACTS)
FUSIONS: tuple[str, ...] = get_args(FusionChoice)
COLORMAPS: tuple[str, ...] = get_args(Colormap)
PICKS: tuple[str, ...] = get_args(Pick)
STAGES: tuple[str, ...] = ("early", "mid", "late")
INTENSITIES: tuple[str, ...] = get_args(Intensity)
BACKGROUNDS: tuple[str, ...] = get_args(Background)
MOST_PAGES = 65_536

# What each option means, in the words that the command lines and the API share.
IN_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "target": "class to explain: index or name; default: the predicted one",
        "score": f"what is asked of the class. {scores_in_words()}",
        "fusion": f"how the fused map is made. {fusions_in_words()}",
        "taps": "raw: block outputs and gradients as they are, to compare with other work",
        "clahe": "equalise local contrast before the network sees it",
        "alpha": "opacity where the map is highest, 0..1",
        "blend": "adaptive: opacity grows with the map, so that unlit tissue stays visible",
        "intensity": "more than 8 bits a sample are scaled by the camera's depth, the type's "
        "range, or each image's own minimum and maximum",
        "background": "what is read where an image is transparent: the colours beneath, as "
        "training by Pillow does, or white or black",
        "page": "of a TIFF of several pages; default: the first that is no reduced copy",
    }
)
_DEEPEST_BITS = 64


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidOption(f"{name} {value!r} is unknown; choose one of {', '.join(allowed)}")


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How files become 8-bit RGB.

    intensity: of more than 8 bits a sample: by the range of their "type", by the "depth" that the
    file names or its samples need, or by each image's own "min-max".
    background: what is read where an image is transparent: the colours "beneath", as
    `PIL.Image.convert("RGB")` does, or "white" or "black".
    page: of a TIFF, from 1; None: the first that is no reduced copy of another.
    depth_bits: the depth that images have which name none, where it is known of their folder.
    """

    intensity: Intensity = "depth"
    background: Background = "beneath"
    page: int | None = None
    depth_bits: int | None = None

    def __post_init__(self) -> None:
        """Refuse unknown values by name. Raises InvalidOption."""
        _one_of("intensity", self.intensity, INTENSITIES)
        _one_of("background", self.background, BACKGROUNDS)
        if self.page is not None and not 1 <= self.page <= MOST_PAGES:
            raise InvalidOption(f"page must lie between 1 and {MOST_PAGES:,}, got {self.page}")
        if self.depth_bits is not None and not 1 <= self.depth_bits <= _DEEPEST_BITS:
            raise InvalidOption(f"depth_bits must lie between 1 and 64, got {self.depth_bits}")


DEFAULT_DECODING = DecodingOptions()


@dataclass(frozen=True, slots=True)
class CamOptions:
    """How maps are made and drawn.

    method: the CAM formula of all layers but `fused`, which has its own.
    layers: "early", "mid", "late", a stage's name such as "layer3", or any dotted module name.
    fused: also make the fused map, a geometric mean of an early, a mid and a late map.
    fusion: of which formulas, see `FUSION_FACTS` and `fusion_for`.
    score: of what the gradients are: the class's "logit", or its "margin" over the mean of the
    others, weighted by their softmax.
    target: class to explain: index, name, or None for the predicted class.
    taps: "rectified" (default), or "raw" block outputs, and gradients that are not averaged where
    what comes next reads one cell in several; to compare with other work.
    clahe: equalise the L channel of LAB (clip limit 2.0, 8x8 tiles) before the network sees it.
    alpha: opacity of the overlay, 0..1; with blend "adaptive" the opacity where the map is 1.
    decoding: how files become pixels.
    """

    method: Method = DEFAULT_METHOD
    layers: tuple[str, ...] = STAGES
    fused: bool = False
    fusion: FusionChoice = "auto"
    score: Score = "logit"
    target: int | str | None = None
    taps: Taps = "rectified"
    clahe: bool = True
    colormap: Colormap = "inferno"
    alpha: float = 0.6
    blend: Blend = "adaptive"
    decoding: DecodingOptions = DEFAULT_DECODING

    def __post_init__(self) -> None:
        """Refuse unknown or contradictory values by name. Raises InvalidOption."""
        _one_of("method", self.method, METHODS)
        _one_of("fusion", self.fusion, FUSIONS)
        _one_of("score", self.score, tuple(SCORES))
        _one_of("taps", self.taps, get_args(Taps))
        _one_of("colormap", self.colormap, COLORMAPS)
        _one_of("blend", self.blend, get_args(Blend))
        if not 0.0 <= self.alpha <= 1.0:
            raise InvalidOption(f"alpha must lie between 0 and 1, got {self.alpha}")
        if not self.layers and not self.fused:
            raise InvalidOption("no layer asked for: name at least one, or ask for the fused map")
        repeated = sorted({name for name in self.layers if self.layers.count(name) > 1})
        if repeated:
            raise InvalidOption(f"layers asked for twice: {', '.join(repeated)}")


@dataclass(frozen=True, slots=True)
class FigureStyle:
    """Which files are made of an image.

    save_maps: also each map as 16-bit grey PNG. paper_format "pdf": a paper figure beside the main
    PNG. paper_dpi: with "png", the main figure itself is the paper figure at that resolution.
    """

    save_maps: bool = False
    paper_format: PaperFormat = "png"
    paper_dpi: int | None = None

    @property
    def paper_png(self) -> bool:
        """True where the main PNG is the paper figure."""
        return self.paper_format == "png" and self.paper_dpi is not None

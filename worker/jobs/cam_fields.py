"""How maps are made and drawn: one schema, whose words every entrance shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cam_engine.method_facts import DEFAULT_METHOD, FusionChoice, Method, Score, methods_in_words
from cam_engine.options import (
    IN_WORDS,
    MOST_PAGES,
    Background,
    Blend,
    CamOptions,
    Colormap,
    DecodingOptions,
    Intensity,
    Taps,
)

_OWN = CamOptions()

LayerName = Annotated[str, Field(min_length=1, max_length=200)]
ClassTarget = Annotated[
    Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1, max_length=200)],
    Field(description=IN_WORDS["target"]),
]


class CamFields(BaseModel):
    """What every request for maps may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method | None = Field(
        None,
        description=f"CAM method of all but the fused map; default {DEFAULT_METHOD}. "
        f"{methods_in_words()}",
    )
    fusion: FusionChoice = Field(_OWN.fusion, description=IN_WORDS["fusion"])
    score: Score = Field(_OWN.score, description=IN_WORDS["score"])
    target: ClassTarget | None = None
    taps: Taps = Field(_OWN.taps, description=IN_WORDS["taps"])
    clahe: bool = Field(_OWN.clahe, description=IN_WORDS["clahe"])
    colormap: Colormap = _OWN.colormap
    alpha: float = Field(_OWN.alpha, ge=0, le=1, allow_inf_nan=False, description=IN_WORDS["alpha"])
    blend: Blend = Field(_OWN.blend, description=IN_WORDS["blend"])
    intensity: Intensity = Field(_OWN.decoding.intensity, description=IN_WORDS["intensity"])
    background: Background = Field(_OWN.decoding.background, description=IN_WORDS["background"])
    page: Annotated[int, Field(ge=1, le=MOST_PAGES)] | None = Field(
        None, description=IN_WORDS["page"]
    )

    def options_for(self, layers: tuple[str, ...], *, fused: bool) -> CamOptions:
        """The engine's options for these layers. Raises InvalidOption."""
        return CamOptions(
            method=self.method or DEFAULT_METHOD,
            layers=layers,
            fused=fused,
            fusion=self.fusion,
            score=self.score,
            target=self.target,
            taps=self.taps,
            clahe=self.clahe,
            colormap=self.colormap,
            alpha=self.alpha,
            blend=self.blend,
            decoding=DecodingOptions(self.intensity, self.background, self.page),
        )


def split_names(value: object) -> object:
    """Commas and blanks separate the entries of a list in a variable."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def whole(value: object) -> object:
    """To JSON Schema 3.0 is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""How maps are made and drawn: one schema, whose words every entrance shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cam_engine.method_facts import DEFAULT_METHOD, FUSED_METHOD, Method, methods_in_words
from cam_engine.options import (
    MOST_PAGES,
    Background,
    Blend,
    CamOptions,
    Colormap,
    DecodingOptions,
    Intensity,
    Taps,
)

LayerName = Annotated[str, Field(min_length=1, max_length=200)]
ClassTarget = Annotated[
    Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1, max_length=200)],
    Field(description="class to explain: index or name; default: the predicted one"),
]


class CamFields(BaseModel):
    """What every request for maps may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Method | None = Field(
        None,
        description=f"CAM method; default {DEFAULT_METHOD}. The fused map always uses "
        f"{FUSED_METHOD}. {methods_in_words()}",
    )
    target: ClassTarget | None = None
    taps: Taps = Field("rectified", description="raw: block outputs as they are")
    clahe: bool = Field(True, description="equalise local contrast before the network sees it")
    colormap: Colormap = "inferno"
    alpha: float = Field(
        0.6, ge=0, le=1, allow_inf_nan=False, description="opacity where the map is highest"
    )
    blend: Blend = Field("adaptive", description="adaptive: opacity grows with the map")
    intensity: Intensity = Field(
        "depth",
        description="more than 8 bits a sample are scaled by the camera's depth, the type's range, "
        "or each image's own minimum and maximum",
    )
    background: Background = Field(
        "beneath",
        description="what is read where an image is transparent: the colours beneath, as training "
        "by Pillow does, or white or black",
    )
    page: Annotated[int, Field(ge=1, le=MOST_PAGES)] | None = Field(
        None, description="of a TIFF of several pages; default: the first that is no reduced copy"
    )

    def options_for(self, layers: tuple[str, ...], *, fused: bool) -> CamOptions:
        """The engine's options for these layers. Raises InvalidOption."""
        return CamOptions(
            method=self.method or DEFAULT_METHOD,
            layers=layers,
            fused=fused,
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

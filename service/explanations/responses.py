"""What JSON answers hold."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from pydantic import BaseModel, Field

from cam_engine.images.decoded import Alpha, ImageFacts, Samples, Scaling, facts_to_json
from cam_engine.pictures.recipes import border_energy
from cam_engine.results import ClassScore, FloatMap, LayerMap
from service.explanations.requests import ExplanationOptions


class Score(BaseModel):
    """A class and its probability."""

    index: int = Field(description="0-based, in the order of training")
    name: str
    probability: float = Field(description="softmax, 0..1")


class Layer(BaseModel):
    """One layer's map in numbers."""

    name: str = Field(description="early, mid, late, fused, or the module asked for")
    label: str = Field(description="the stage or module in the network")
    method: str = Field(description="the formula really used")
    grid: tuple[int, int] = Field(description="native height and width, in cells")
    maximum: float = Field(description="of the raw map before scaling, in logits")
    empty: bool = Field(description="no positive evidence for the class in this layer")
    border_energy: float | None = Field(
        description="share of the map in the outer tenth at each edge; null where empty"
    )


class NativeLayer(Layer):
    """The same with view=native, which also has the map itself."""

    values: str = Field(
        description="base64 of little-endian float32, 0..1: the map's cells, row by row"
    )
    recipe: dict[str, str] = Field(
        description="how the map was made: the text chunks of a picture of it, by keyword"
    )


class Model(BaseModel):
    """Which model answered."""

    id: str
    name: str
    architecture: str
    sha256: str = Field(description="of the model's file")


class Decoding(BaseModel):
    """What an image's file held, and what was done to make 8-bit RGB of it."""

    format: str
    bits: int = Field(description="a sample in the file")
    samples: Samples
    scaling: Scaling = Field(
        description="by what samples became 0..255: none (8 bits, as they are), the type's range, "
        "the depth that the file declares, that which the samples of the folder or the image need, "
        "contradicted (as image, since samples lie above the declared depth), signed (around 0), "
        "unit (0..1), min-max (the image's own)"
    )
    scaled_bits: int | None = Field(description="that depth, where it is one")
    alpha: Alpha = Field(
        description="none, opaque everywhere, empty (0 everywhere, ignored), or what was read "
        "where it is transparent"
    )
    page: int = Field(description="the one read, from 1")
    pages: int
    combined: bool = Field(description="three pages were its channels")
    animated: bool = Field(description="the first frame was read")
    orientation: int = Field(description="of EXIF, 1 to 8, already applied")
    words: str = Field(description="all of it in words")


class Image(BaseModel):
    """Which image was explained."""

    name: str
    sha256: str = Field(description="of the image's file")
    true_class: str | None = Field(
        description="the model's class that the image's folder means; null where it means none"
    )
    decoding: Decoding


class EncodedPicture(BaseModel):
    """A picture in a JSON answer."""

    media_type: str
    base64: str


class ExplainedImage(BaseModel):
    """One image's explanation."""

    image: Image
    prediction: Score
    target: Score = Field(description="the class that the maps explain")
    top_classes: list[Score]
    unenhanced: Score | None = Field(description="prediction without CLAHE; null where it is off")
    clahe_changed_class: bool
    notices: list[str] = Field(
        description="what was assumed of the model or the image's pixels and is doubtful, as "
        "sentences"
    )
    picture_size: tuple[int, int] = Field(description="height and width of its pictures, in pixels")
    layers: list[NativeLayer | Layer]
    pictures: dict[str, EncodedPicture] = Field(description="those asked for by `pictures`")


class ExplanationAnswer(ExplainedImage):
    """POST /v1/explanations as application/json."""

    digest: str
    model: Model
    layer: str = Field(description="the layer that single pictures show")
    method: str = Field(description="the formula really used for that layer")
    options: ExplanationOptions
    links: dict[str, str]


class SheetAnswer(BaseModel):
    """The same for an experiment's contact sheet."""

    digest: str
    model: Model
    experiment: str
    layer: str
    options: ExplanationOptions
    images: list[ExplainedImage]
    links: dict[str, str]


def decoding(facts: ImageFacts) -> Decoding:
    """What was done to an image's pixels, as JSON has it."""
    values = facts_to_json(facts)
    return Decoding(
        **{name: values[name] for name in Decoding.model_fields if name in values},
        words=facts.words,
    )


def score(value: ClassScore) -> Score:
    """A class score as JSON has it."""
    return Score(index=value.index, name=value.name, probability=value.probability)


def native(facts: Layer, value: LayerMap, recipe: Mapping[str, str]) -> NativeLayer:
    """A layer's facts with its map; recipe: by keyword, as pictures of the layer carry it."""
    cells = base64.b64encode(value.values.astype("<f4").tobytes()).decode()
    return NativeLayer(**dict(facts), values=cells, recipe=dict(recipe))


def layer(value: LayerMap, full: FloatMap) -> Layer:
    """A layer's facts; full: its (H, W) map at the pictures' size."""
    return Layer(
        name=value.name,
        label=value.label,
        method=value.method,
        grid=value.grid,
        maximum=value.maximum,
        empty=value.empty,
        border_energy=border_energy(full),
    )

"""What JSON answers hold."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from pydantic import BaseModel, Field

from cam_engine.decoded import Alpha, ImageFacts, Samples, Scaling, facts_to_json
from cam_engine.records import border_energy
from cam_engine.results import ClassScore, FloatMap, LayerMap
from cam_engine.skipped import Reason, Skipped
from service.problems import PROBLEMS
from service.schemas import ExplanationOptions


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


class LayerSummary(BaseModel):
    """A layer of a model that need not be loaded."""

    name: str
    label: str
    grid: tuple[int, int]


class ModelProblem(BaseModel):
    """Why a model cannot be used."""

    code: str
    detail: str


class ModelSummary(BaseModel):
    """GET /v1/models/{id}."""

    id: str
    experiment: str
    name: str
    architecture: str | None
    classes: list[str] | None = Field(description="null where the file names none")
    layers: list[LayerSummary] = Field(description="[] until known")
    input_size: tuple[int, int] | None = Field(description="height and width, in pixels")
    val_acc: float | None = Field(description="0..1, as the training measured it")
    epoch: int | None
    loaded: bool
    default: bool = Field(description="used where a request names no model")
    size_bytes: int
    problem: ModelProblem | None = Field(description="why it cannot be used; null where it can")
    links: dict[str, str]


class ModelList(BaseModel):
    """GET /v1/models."""

    models: list[ModelSummary]


class SkippedKind(BaseModel):
    """What was left out for one reason."""

    reason: Reason
    count: int
    examples: list[str] = Field(description="names of some, or the endings of files' names")


class SkippedFiles(BaseModel):
    """What was left out where images, models or experiments were looked for."""

    total: int
    words: str = Field(description="for a person; empty where nothing was left out")
    kinds: list[SkippedKind]


class SplitSummary(BaseModel):
    """A split's images."""

    split: str
    images: int
    classes: dict[str, int] = Field(
        description="images by class folder; folders that are named alike are one class"
    )
    skipped: SkippedFiles


class ExperimentSummary(BaseModel):
    """GET /v1/experiments/{path}."""

    path: str
    name: str
    classes: list[str]
    models: list[str] = Field(description="ids")
    images: int
    splits: list[SplitSummary]
    skipped: SkippedFiles = Field(description="of images in all splits, and of models")
    links: dict[str, str]


class ExperimentList(BaseModel):
    """GET /v1/experiments."""

    experiments: list[ExperimentSummary] = Field(description="the newest run's first")
    skipped: SkippedFiles = Field(description="experiments that lead out of the data root")


class ImageSummary(BaseModel):
    """An image of an experiment: `path` is what POST /v1/explanations takes as `image`."""

    path: str
    name: str
    split: str
    true_class: str | None = Field(
        description="its class folder; one name for all folders that are named alike"
    )


class ImagePrediction(BaseModel):
    """What a model predicts for a test image; nulls and `problem` where it cannot be read."""

    image: str
    true_class: str | None = Field(
        description="the model's class that the image's folder means; null where it means none"
    )
    folder: str | None = Field(description="the image's class folder")
    predicted: str | None
    probability: float | None
    correct: bool | None = Field(description="null also where no class folder names the truth")
    problem: str | None = Field(description="code of what is wrong with the image")


class PredictionPage(BaseModel):
    """GET /v1/experiments/{path}/predictions."""

    model: str
    predictions: list[ImagePrediction]
    folders_of_no_class: dict[str, int] = Field(
        description="of all test images, those in folders that are no class of the model's"
    )
    total: int
    offset: int
    limit: int


class ImagePage(BaseModel):
    """GET /v1/experiments/{path}/images."""

    images: list[ImageSummary]
    total: int
    offset: int
    limit: int
    skipped: SkippedFiles = Field(description="of the splits that were asked for")
    links: dict[str, str] = Field(description="`next` and `previous` where there are such pages")


class WrongField(BaseModel):
    """One wrong field of a request."""

    field: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(pattern="^urn:gradcam:problem:[a-z-]+$")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="a sentence to act on")
    instance: str = Field(description="the path that was asked for")
    code: str = Field(json_schema_extra={"enum": [*PROBLEMS]})
    request_id: str
    errors: list[WrongField] = Field([], description="where single fields are wrong")


def decoding(facts: ImageFacts) -> Decoding:
    """What was done to an image's pixels, as JSON has it."""
    values = facts_to_json(facts)
    return Decoding(
        **{name: values[name] for name in Decoding.model_fields if name in values},
        words=facts.words,
    )


def skipped_files(skipped: Skipped) -> SkippedFiles:
    """What was left out as JSON has it."""
    kinds = [
        SkippedKind(reason=one.reason, count=one.count, examples=list(one.examples))
        for one in skipped.kinds
    ]
    return SkippedFiles(total=skipped.total, words=skipped.words, kinds=kinds)


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

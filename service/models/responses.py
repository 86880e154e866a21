"""What JSON answers about the data root hold: experiments, models, images, predictions."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cam_engine.experiments.skipped import Reason, Skipped


class LayerSummary(BaseModel):
    """A layer of a model that need not be loaded."""

    name: str
    label: str
    grid: tuple[int, int]


class ModelProblem(BaseModel):
    """Why a model cannot be used."""

    code: str
    detail: str


class ModelReading(BaseModel):
    """What was read of a model's file, and where each fact is from."""

    architecture: str
    naming: str = Field(
        description="of its weights: torchvision's, timm's, transformers', or the file's own"
    )
    head: str = Field(description="dotted name of its last layer")
    head_layers: str = Field(description="of its head, in their order")
    mean: tuple[float, float, float] = Field(description="of R, G and B, 0..1")
    std: tuple[float, float, float]
    sources: dict[str, str] = Field(description="of architecture, class_names, input_size, ...")
    notices: list[str] = Field(description="what was assumed, as sentences")
    remarks: list[str] = Field(description="what was left aside, as sentences")


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
    read: ModelReading | None = Field(description="what its file was read as; null until loaded")
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


def skipped_files(skipped: Skipped) -> SkippedFiles:
    """What was left out as JSON has it."""
    kinds = [
        SkippedKind(reason=kind.reason, count=kind.count, examples=list(kind.examples))
        for kind in skipped.kinds
    ]
    return SkippedFiles(total=skipped.total, words=skipped.words, kinds=kinds)

"""What requests may hold: one schema of options, shared by every entrance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.config import JsonDict

from cam_engine.options import STAGES, CamOptions
from service.http.problems import FieldError, ServiceError
from worker.jobs.cam_fields import CamFields, LayerName, whole

FUSED = "fused"

View = Literal["overlay", "heatmap", "panel", "map", "array", "maps", "native"]
Picture = Literal["overlay", "heatmap", "panel", "map"]
Bits = Literal[8, 16]


def _number(value: object) -> object:
    """Form fields are text; a number in them counts as one."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value


def _listed(value: object) -> object:
    """Form fields name several pictures with commas between."""
    return value.split(",") if isinstance(value, str) else value


Schema = TypeVar("Schema", bound=BaseModel)
ModelId = Annotated[str, Field(min_length=1, max_length=500)]


class ExplanationOptions(CamFields):
    """Options of one explanation: CamFields, and what of it is answered."""

    view: View = Field(
        "overlay",
        description="what the answer shows: overlay, heatmap, panel (all layers), map (grey PNG), "
        "array (npy, float32), maps (npy, uint16, all layers) or native (JSON, all layers at their "
        "own grids)",
    )
    layer: LayerName | None = Field(
        None,
        description="fused, early, mid, late, or a module's name; "
        "default: fused, but late where a method is given",
    )
    bits: Bits = Field(16, description="of view=map")
    pictures: tuple[Picture, ...] = Field(
        (),
        max_length=4,
        strict=False,
        description="in JSON answers: pictures as base64; forms repeat the field, or use commas",
    )

    @property
    def shown_layer(self) -> str:
        """The layer that single pictures show."""
        return self.layer or (FUSED if self.method is None else "late")

    def cam_options(self) -> CamOptions:
        """The engine's options: all stages and the fused map, so that facts cover every layer."""
        wanted = self.shown_layer
        extra = () if wanted in {*STAGES, FUSED} else (wanted,)
        return self.options_for((*STAGES, *extra), fused=True)


class UploadFields(ExplanationOptions):
    """The fields of a multipart upload beside its `image`."""

    model: ModelId | None = Field(None, description="id from /v1/models; default: see /v1/models")

    _integers = field_validator("bits", "page", mode="before")(_number)
    _pictures = field_validator("pictures", mode="before")(_listed)


# What the fields of a body say together, for the OpenAPI document.
_ONE_IMAGE: JsonDict = {
    "title": "One image",
    "required": ["image"],
    "properties": {"image": {"type": "string"}, "max_images": {"type": "null"}},
}
_CONTACT_SHEET: JsonDict = {
    "title": "Contact sheet",
    "required": ["experiment"],
    "properties": {
        "experiment": {"type": "string"},
        "image": {"type": "null"},
        "view": {"const": "overlay"},
    },
}


class StoredImageRequest(ExplanationOptions):
    """The JSON body: an image below the data root, or an experiment's contact sheet."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"anyOf": [_ONE_IMAGE, _CONTACT_SHEET]}
    )

    experiment: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None, description="path from /v1/experiments"
    )
    model: ModelId | None = Field(
        None, description="id from /v1/models, or with an experiment its cls_* folder"
    )
    image: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None, description="path of an image below the experiment, or below the data root"
    )
    max_images: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="of a contact sheet, classes in turn; default: one a class"
    )

    _integers = field_validator("bits", "target", "max_images", "page", mode="before")(whole)


def parse(schema: type[Schema], values: Mapping[str, Any]) -> Schema:
    """Check a request's fields. Raises ServiceError "invalid-request", field by field."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from error


def invalid_request(problems: Sequence[Mapping[str, Any]]) -> ServiceError:
    """What pydantic found wrong, as an answer that names each field."""
    errors = tuple(
        FieldError(field=str(next(iter(problem["loc"]), "body")), detail=_words(problem))
        for problem in problems
    )
    said = "; ".join(f"{problem.field}: {problem.detail}" for problem in errors[:4])
    return ServiceError("invalid-request", said, errors=errors)


def _words(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "this field is unknown; see /docs for those that there are"
    return str(problem["msg"])

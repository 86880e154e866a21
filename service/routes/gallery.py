"""What galleries of an experiment's images show: predictions and thumbnails."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from cam_engine.errors import CamError
from cam_engine.experiments.data_root import check_form
from cam_engine.options import CamOptions
from service.components import Components
from service.executors import call_in
from service.http.admission import while_listening
from service.http.documented import BASIC, IF_NONE_MATCH, Documented, header, problems
from service.http.problems import ServiceError
from service.http.requested import has_already
from service.models import responses
from service.models.catalog import stamp_of
from service.models.predictions import Order, PredictedImage, PredictedPage
from service.models.thumbnails import jpeg_thumbnail
from service.routes.access import Parts, authorised

router = APIRouter(prefix="/v1", tags=["experiments"], dependencies=[Depends(authorised)])

_PATHS = ("path-outside-root", "experiment-not-found", "invalid-request")
_BUSY = ("queue-full", "deadline-exceeded", "shutting-down", "out-of-memory")
_MODEL = (
    "model-not-found",
    "model-ambiguous",
    "checkpoint-invalid",
    "checkpoint-unsafe",
    "architecture-unknown",
    "weights-mismatch",
    "class-names-mismatch",
    "non-finite-output",
)
_CACHED = {
    "ETag": header("strong", required=True, pattern='^"[0-9a-f]{32}"$'),
    "Cache-Control": header("how long it may be shown unasked", required=True),
}
_THUMBNAIL: Documented = {
    200: {
        "description": "A JPEG",
        "headers": _CACHED,
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    },
    304: {"description": "As the one at hand", "headers": _CACHED},
}


class PredictionQuery(BaseModel):
    """Whose predictions, and for which of the test images."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=1000, description="id of a model")
    offset: int = Field(0, ge=0, le=10_000_000)
    limit: int = Field(64, ge=1, le=64)
    order: Order = Field(
        "listed",
        description="listed: as the images are listed, class by class; mixed: as if shuffled, but "
        "always alike, so that the first pages are already like the whole",
    )


class ThumbnailQuery(BaseModel):
    """How large a thumbnail."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(160, ge=16, le=320, description="pixels of the longer side at most")


@router.get(
    "/experiments/{path:path}/predictions",
    summary="What a model predicts for an experiment's test images",
    responses=problems(*BASIC, *_PATHS, *_MODEL, *_BUSY),
)
async def list_predictions(
    path: str, query: Annotated[PredictionQuery, Query()], request: Request, parts: Parts
) -> responses.PredictionPage:
    """With CLAHE, as explanations are by default; in the order of the images unless told."""
    with parts.admission.place():
        work = parts.predictions.page(path, query.model, query.offset, query.limit, query.order)
        page = await while_listening(request, work, parts.settings.request_timeout_seconds)
    return _answer(page, query)


@router.get(
    "/experiments/{path:path}/thumbnails/{image:path}",
    openapi_extra={"parameters": [IF_NONE_MATCH]},
    summary="A small picture of an image",
    response_class=Response,
    responses={
        **_THUMBNAIL,
        **problems(*BASIC, *_PATHS, "image-not-found", "invalid-image", "image-too-large", *_BUSY),
    },
)
async def thumbnail(
    path: str,
    image: str,
    query: Annotated[ThumbnailQuery, Query()],
    request: Request,
    parts: Parts,
) -> Response:
    """Never larger than the image itself; `image` as GET /v1/experiments/{path}/images has it."""
    settings = parts.settings
    with parts.admission.place():
        work = call_in(parts.preparing, _thumbnail, parts, path, image, query.size, request)
        return await while_listening(request, work, settings.request_timeout_seconds)


def _thumbnail(parts: Components, path: str, image: str, size: int, request: Request) -> Response:
    check_form(image)  # not one that only the prefix makes safe
    catalog = parts.catalog
    experiment = catalog.experiment(path)
    file = catalog.data.inside(f"{experiment.id}/{image}")
    if not file.is_file():
        raise ServiceError("image-not-found", f"there is no image {image!r} in {path}")
    digest = hashlib.sha256(f"{stamp_of(file)} {size}".encode()).hexdigest()[:32]
    headers = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=300"}
    if has_already(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        data = catalog.data.read_image(file, parts.limits)
        options = parts.depths.added_to(
            CamOptions(), [f"{experiment.id}/{image}"], experiment
        ).decoding
        picture = parts.decoding.decode(data, parts.limits, options).pixels
    except CamError as error:
        raise type(error)(f"{file.name}: {error}") from error
    data = jpeg_thumbnail(picture, size)
    return Response(data, media_type="image/jpeg", headers=headers)


def _correct(image: PredictedImage) -> bool | None:
    if image.true_class is None or image.prediction.name is None:
        return None
    return image.prediction.name == image.true_class


def _answer(page: PredictedPage, query: PredictionQuery) -> responses.PredictionPage:
    predictions = [
        responses.ImagePrediction(
            image=image.path,
            true_class=image.true_class,
            folder=image.folder,
            predicted=image.prediction.name,
            probability=image.prediction.probability,
            correct=_correct(image),
            problem=image.prediction.problem,
        )
        for image in page.images
    ]
    return responses.PredictionPage(
        model=page.model,
        predictions=predictions,
        folders_of_no_class=dict(page.folders_of_no_class),
        total=page.total,
        offset=query.offset,
        limit=query.limit,
    )

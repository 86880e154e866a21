"""The instant overlay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response

from service.components import Components
from service.explanations import responses
from service.explanations.answers import Answer
from service.explanations.representations import JSON, NPY, PNG, ZIP, entity_tag, negotiate
from service.explanations.requests import (
    ExplanationOptions,
    StoredImageRequest,
    UploadFields,
    parse,
)
from service.explanations.view_tokens import ViewScope, out_of_scope
from service.http.admission import while_listening
from service.http.bodies import MULTIPART, media_type, read_json, read_upload
from service.http.documented import (
    BASIC,
    IF_NONE_MATCH,
    REFERENCE,
    VIEW_TOKENS,
    Documented,
    header,
    problems,
)
from service.http.problems import ServiceError
from service.http.requested import base_path, has_already
from service.http.work import Work
from service.routes.access import Parts, authorised_to_view, without_query

router = APIRouter(prefix="/v1", tags=["explanations"], dependencies=[Depends(authorised_to_view)])

_Answer = TypeVar("_Answer")
_IMAGES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SCHEMAS = [responses.ExplanationAnswer, responses.SheetAnswer]
_CACHING = {
    "ETag": header("weak", required=True, pattern='^W/"[0-9a-f]{32}-[a-z]+"$'),
    "Vary": header("Accept, and Origin for pages of other origins", required=True),
    "Cache-Control": header("to be asked about each time", required=True),
}
_NAME = "percent-encoded"
_DIGEST = "[0-9a-f]{64}$"
_HEADERS = {
    **_CACHING,
    "Content-Location": header("the answer's own address", required=True, pattern=_DIGEST),
    "Content-Disposition": header("a name for the file", required=True),
    "Server-Timing": header("milliseconds of decode, queue, compute and encode", required=True),
    "X-Gradcam-Model": header(f"the model's id, {_NAME}", required=True),
    "X-Gradcam-Layer": header(f"the layer shown, {_NAME}", required=True),
    "X-Gradcam-Layers": header(f"all layers, with commas between, each {_NAME}", required=True),
    "X-Gradcam-Method": header("the formula really used", required=True),
    "X-Gradcam-Images": header("of a contact sheet: how many", pattern="^[1-9][0-9]*$"),
    "X-Gradcam-Prediction": header(f"the class predicted, {_NAME}; of one image, as all below"),
    "X-Gradcam-Probability": header("its probability", pattern=r"^[01]\.[0-9]{6}$"),
    "X-Gradcam-Target": header(f"the class explained, {_NAME}"),
    "X-Gradcam-Target-Probability": header("its probability", pattern=r"^[01]\.[0-9]{6}$"),
    "X-Gradcam-Grid": header("the layer's height and width", pattern="^[0-9]+x[0-9]+$"),
    "X-Gradcam-Empty": header("no positive evidence", enum=["true", "false"]),
    "X-Gradcam-Clahe-Changed-Class": header("against without CLAHE", enum=["true", "false"]),
    "X-Gradcam-Notices": header(
        f"what was assumed of model or image, with commas between, each {_NAME}"
    ),
}
_AGAIN = {
    "explanation": {  # of answers in JSON; pictures say it as Content-Location
        "operationId": "get_explanation",
        "parameters": {"digest": "$response.body#/digest"},
        "description": "The same answer again, in any representation",
    }
}
_ANSWERS: Documented = {
    200: {
        "description": "The picture, JSON, an array or a zip, by `Accept` and `view`",
        "headers": _HEADERS,
        "content": {
            PNG: _BINARY,
            JSON: {
                "schema": {
                    "anyOf": [
                        {"$ref": REFERENCE.format(model=represented.__name__)}
                        for represented in _SCHEMAS
                    ]
                }
            },
            NPY: _BINARY,
            ZIP: _BINARY,
        },
    }
}
_COMPUTING = (
    "malformed-body",
    "request-timeout",
    "body-too-large",
    "image-too-large",
    "unsupported-media-type",
    "not-acceptable",
    "path-outside-root",
    "model-not-found",
    "no-models-found",
    "experiment-not-found",
    "image-not-found",
    "no-images-found",
    "model-ambiguous",
    "invalid-request",
    "invalid-option",
    "invalid-image",
    "page-not-found",
    "layer-not-found",
    "layer-not-spatial",
    "method-not-possible",
    "class-not-found",
    "too-many-images",
    "checkpoint-invalid",
    "checkpoint-unsafe",
    "architecture-unknown",
    "weights-mismatch",
    "class-names-mismatch",
    "non-finite-output",
    "queue-full",
    "deadline-exceeded",
    "out-of-memory",
    "shutting-down",
)


def _upload_schema() -> dict[str, Any]:
    schema = UploadFields.model_json_schema()
    image = {
        "type": "string",
        "format": "binary",
        "description": "JPEG, PNG, WebP, BMP, TIFF or GIF",
    }
    fields = {name: _without_null(field) for name, field in schema["properties"].items()}
    return {**schema, "properties": {"image": image, **fields}, "required": ["image"]}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Forms have no null: a field is there or not."""
    choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    match choices:
        case []:
            return rest
        case [one]:
            return {**one, **rest}
        case _:
            return {**rest, "anyOf": choices}


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": _upload_schema(),
                "encoding": {"image": {"contentType": ", ".join(_IMAGES)}},
            },
            JSON: {"schema": StoredImageRequest.model_json_schema()},
        },
    }
}


@router.post(
    "/explanations",
    dependencies=[Depends(without_query)],
    operation_id="create_explanation",
    summary="Where did the model look?",
    response_class=Response,
    openapi_extra=_BODY,
    responses={
        200: {**_ANSWERS[200], "links": _AGAIN},
        **problems(*BASIC, *VIEW_TOKENS, "view-token-scope", *_COMPUTING),
    },
)
async def create_explanation(request: Request, parts: Parts) -> Response:
    """Explain an uploaded image (multipart) or one of the data root (JSON).

    With an experiment alone, one image a class as a contact sheet. The answer is a PNG unless
    `Accept` names application/json or application/zip.
    """
    work: Work = request.state.work
    start = time.perf_counter()
    deadline = parts.settings.request_timeout_seconds
    computing, options = await _body_read(request, parts, deadline)
    with parts.admission.place():  # not before: who sends slowly would keep others out
        media = negotiate(options.view, request.headers.get("accept"))

        async def answered() -> Response:
            answer = await computing(media, work)
            drawn = _response(request, parts, answer, media)
            return await parts.kept.keep(answer, _view_scope(request), drawn)

        spent = time.perf_counter() - start
        return await while_listening(request, answered(), deadline, spent)


@router.get(
    "/explanations/{digest}",
    operation_id="get_explanation",
    openapi_extra={"parameters": [IF_NONE_MATCH]},
    summary="The same answer again",
    response_class=Response,
    responses={
        **_ANSWERS,
        304: {
            "description": "The representation is the one of If-None-Match",
            "headers": _CACHING,
        },
        **problems(
            *BASIC,
            *VIEW_TOKENS,
            "explanation-not-found",
            "explanation-gone",
            "not-acceptable",
            "queue-full",
            "deadline-exceeded",
            "shutting-down",
        ),
    },
)
async def get_explanation(digest: str, request: Request, parts: Parts) -> Response:
    """By the `Content-Location` of the POST, not computed again; in any representation."""
    answer = await parts.kept.again(digest, _view_scope(request))
    media = negotiate(answer.options.view, request.headers.get("accept"))
    tag = entity_tag(answer, media)
    if has_already(request, tag):
        address = {"Content-Location": request.url.path}
        return Response(status_code=304, headers={**_caching(tag), **address})

    async def answered() -> Response:
        whole = await parts.explaining.completed(answer, media, request.state.work)
        drawn = _response(request, parts, whole, media)
        return await (drawn if whole is answer else parts.kept.keep(whole, None, drawn))

    with parts.admission.place():
        deadline = parts.settings.request_timeout_seconds
        return await while_listening(request, answered(), deadline)


_BASE_IMAGE_HEADERS = {
    **_CACHING,
    "Server-Timing": header("milliseconds of decode, queue, compute and encode", required=True),
}


@router.get(
    "/explanations/{digest}/image",
    operation_id="get_explained_image",
    openapi_extra={"parameters": [IF_NONE_MATCH]},
    summary="The image beneath the overlay",
    response_class=Response,
    responses={
        200: {
            "description": "PNG, at the size of the explanation's pictures",
            "headers": _BASE_IMAGE_HEADERS,
            "content": {PNG: _BINARY},
        },
        304: {"description": "The image is the one of If-None-Match", "headers": _CACHING},
        **problems(
            *BASIC,
            *VIEW_TOKENS,
            "invalid-request",
            "image-not-found",
            "explanation-not-found",
            "explanation-gone",
            "queue-full",
            "deadline-exceeded",
            "shutting-down",
        ),
    },
)
async def get_explained_image(
    digest: str, request: Request, parts: Parts, enhanced: bool = False
) -> Response:
    """As decoded, or after CLAHE with `enhanced=true`, refused where CLAHE was off.

    Overlays are drawn over the image as decoded, whose longer side is at most 2048 pixels.
    """
    answer = await parts.kept.again(digest, _view_scope(request))
    tag = f'W/"{answer.digest[:32]}-{"enhanced" if enhanced else "original"}"'
    if has_already(request, tag):
        return Response(status_code=304, headers=_caching(tag))
    work: Work = request.state.work

    async def drawn() -> Response:
        png = await parts.explaining.base_image(answer, work, enhanced=enhanced)
        headers = {**_caching(tag), "Server-Timing": work.timings.header()}
        return Response(png, media_type=PNG, headers=headers)

    with parts.admission.place():
        return await while_listening(request, drawn(), parts.settings.request_timeout_seconds)


async def _body_read(
    request: Request, parts: Components, deadline_seconds: float
) -> tuple[Callable[[str, Work], Awaitable[Answer]], ExplanationOptions]:
    """What is to be computed, from a body of either type."""
    kind = media_type(request)
    scope = _view_scope(request)
    if scope is not None and kind != JSON:
        raise out_of_scope("a view token is good for images of its experiment; name one in JSON")
    most_bytes = parts.settings.max_upload_bytes
    if kind == MULTIPART:
        upload = await _in_time(read_upload(request, most_bytes, parts.arrivals), deadline_seconds)
        fields = parse(UploadFields, upload.fields)
        return partial(parts.explaining.upload, upload.data, upload.name, fields), fields
    if kind == JSON:
        stored = parse(StoredImageRequest, await _in_time(read_json(request), deadline_seconds))
        if scope is not None:
            scope.check(stored)
        return partial(parts.explaining.stored, stored), stored
    raise ServiceError(
        "unsupported-media-type",
        f"send the image as {MULTIPART} (curl -F image=@cell.jpg), or name one in {JSON}",
        {"Accept-Post": f"{MULTIPART}, {JSON}"},
    )


def _view_scope(request: Request) -> ViewScope | None:
    scope: ViewScope | None = request.state.view_scope
    return scope


async def _in_time(reading: Awaitable[_Answer], deadline_seconds: float) -> _Answer:
    try:
        async with asyncio.timeout(deadline_seconds):
            return await reading
    except TimeoutError as error:
        raise ServiceError(
            "request-timeout", f"the body had not come whole after {deadline_seconds:g} seconds"
        ) from error


async def _response(request: Request, parts: Components, answer: Answer, media: str) -> Response:
    work: Work = request.state.work
    base = base_path(request)
    drawn = await parts.explaining.draw(answer, media, base, work)
    headers = {
        **drawn.headers,
        **_caching(entity_tag(answer, media)),
        "Content-Location": f"{base}/v1/explanations/{answer.digest}",
        "Server-Timing": work.timings.header(),
    }
    return Response(drawn.body, media_type=drawn.media_type, headers=headers)


def _caching(tag: str) -> dict[str, str]:
    return {"ETag": tag, "Vary": "Accept", "Cache-Control": "private, no-cache"}

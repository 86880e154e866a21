"""The instant overlay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response

from service import responses
from service.admission import while_listening
from service.answers import Answer
from service.components import Components
from service.explaining import Work
from service.problems import ServiceError
from service.representations import JSON, NPY, PNG, ZIP, entity_tag, negotiate
from service.routes.access import Parts, authorised, without_query
from service.routes.documented import BASIC, REFERENCE, Documented, problems
from service.schemas import ExplanationOptions, StoredImageRequest, UploadFields, parse
from service.uploads import MULTIPART, media_type, read_json, read_upload

router = APIRouter(prefix="/v1", tags=["explanations"], dependencies=[Depends(authorised)])

_Answer = TypeVar("_Answer")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SCHEMAS = [responses.ExplanationAnswer, responses.SheetAnswer]
_ANSWERS: Documented = {
    200: {
        "description": "The picture, JSON, an array or a zip, by `Accept` and `view`",
        "content": {
            PNG: _BINARY,
            JSON: {
                "schema": {
                    "anyOf": [{"$ref": REFERENCE.format(model=one.__name__)} for one in _SCHEMAS]
                }
            },
            NPY: _BINARY,
            ZIP: _BINARY,
        },
    }
}
_COMPUTING = (
    "invalid-request",
    "not-acceptable",
    "image-too-large",
    "invalid-image",
    "queue-full",
    "deadline-exceeded",
)


def _upload_schema() -> dict[str, Any]:
    schema = UploadFields.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, BMP or TIFF"}
    return {**schema, "properties": {"image": image, **schema["properties"]}, "required": ["image"]}


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {"schema": _upload_schema()},
            JSON: {"schema": StoredImageRequest.model_json_schema()},
        },
    }
}


@router.post(
    "/explanations",
    dependencies=[Depends(without_query)],
    summary="Where did the model look?",
    response_class=Response,
    openapi_extra=_BODY,
    responses={
        **_ANSWERS,
        **problems(
            *BASIC,
            *_COMPUTING,
            "malformed-body",
            "request-timeout",
            "unsupported-media-type",
            "model-not-found",
            "experiment-not-found",
            "image-not-found",
            "path-outside-root",
            "model-ambiguous",
            "layer-not-found",
            "class-not-found",
            "too-many-images",
            "checkpoint-invalid",
        ),
    },
)
async def create_explanation(request: Request, parts: Parts) -> Response:
    """Explain an uploaded image (multipart) or one of the data root (JSON).

    With an experiment alone, one image a class as a contact sheet. The answer is a PNG unless
    `Accept` names application/json or application/zip.
    """
    work: Work = request.state.work
    with parts.admission.place():
        start = time.perf_counter()
        deadline = parts.settings.request_timeout_seconds
        computing, options = await _body_read(request, parts, work, deadline)
        media = negotiate(options.view, request.headers.get("accept"))

        async def answered() -> Response:
            answer = await computing()
            parts.answers.put(answer)
            return await _response(request, parts, answer, media)

        left = deadline - (time.perf_counter() - start)
        return await while_listening(request, answered(), max(left, 0.0))


@router.get(
    "/explanations/{digest}",
    summary="The same answer again",
    response_class=Response,
    responses={
        **_ANSWERS,
        304: {"description": "The representation is the one of If-None-Match"},
        **problems(
            *BASIC, "explanation-not-found", "explanation-gone", "not-acceptable", "queue-full"
        ),
    },
)
async def get_explanation(digest: str, request: Request, parts: Parts) -> Response:
    """By the `Content-Location` of the POST, from memory; any representation may be asked for."""
    answer = parts.answers.get(digest)
    media = negotiate(answer.options.view, request.headers.get("accept"))
    tag = entity_tag(answer, media)
    if _matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=_caching(tag))
    with parts.admission.place():
        deadline = parts.settings.request_timeout_seconds
        response = _response(request, parts, answer, media)
        return await while_listening(request, response, deadline)


async def _body_read(
    request: Request, parts: Components, work: Work, deadline_seconds: float
) -> tuple[Callable[[], Awaitable[Answer]], ExplanationOptions]:
    """What is to be computed, from a body of either type."""
    kind = media_type(request)
    most_bytes = parts.settings.max_upload_bytes
    if kind == MULTIPART:
        upload = await _in_time(read_upload(request, most_bytes), deadline_seconds)
        fields = parse(UploadFields, upload.fields)
        return partial(parts.explaining.upload, upload.data, upload.name, fields, work), fields
    if kind == JSON:
        stored = parse(StoredImageRequest, await _in_time(read_json(request), deadline_seconds))
        return partial(parts.explaining.stored, stored, work), stored
    raise ServiceError(
        "unsupported-media-type",
        f"send the image as {MULTIPART} (curl -F image=@cell.jpg), or name one in {JSON}",
        {"Accept-Post": f"{MULTIPART}, {JSON}"},
    )


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
    base = str(request.scope.get("root_path", ""))
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


def _matches(given: str, tag: str) -> bool:
    tags = {one.strip().removeprefix("W/") for one in given.split(",")}
    return tag in tags or "*" in tags

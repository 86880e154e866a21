"""View tokens, made for a portal's page by the portal's server."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.explanations.requests import ModelId, parse
from service.explanations.view_tokens import ViewScope
from service.http.bodies import JSON, read_json
from service.http.documented import BASIC, VIEW_TOKENS, problems
from service.routes.access import Parts, authorised, without_query
from worker.jobs.cam_fields import whole

router = APIRouter(prefix="/v1", tags=["view tokens"], dependencies=[Depends(authorised)])


class ViewTokenRequest(BaseModel):
    """What the token's holder may see, and for how many seconds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    experiment: Annotated[str, Field(min_length=1, max_length=500)]
    model: ModelId | None = None
    image: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    seconds: Annotated[int, Field(ge=60, le=3600)] = 600

    _integers = field_validator("seconds", mode="before")(whole)


class ViewTokenAnswer(BaseModel):
    """The token, to be sent as Authorization: Bearer."""

    token: str
    expires_at: datetime


@router.post(
    "/view-tokens",
    status_code=201,
    dependencies=[Depends(without_query)],
    operation_id="create_view_token",
    summary="A short-lived token for one experiment's explanations",
    response_model=ViewTokenAnswer,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ViewTokenRequest.model_json_schema()}},
        }
    },
    responses=problems(
        *BASIC,
        *VIEW_TOKENS,
        "view-token-scope",
        "malformed-body",
        "request-timeout",
        "body-too-large",
        "unsupported-media-type",
        "invalid-request",
    ),
)
async def create_view_token(request: Request, parts: Parts) -> JSONResponse:
    """For a caller with a key; a token makes no further tokens."""
    wanted = parse(ViewTokenRequest, await read_json(request))
    expires_at = int(time.time()) + wanted.seconds
    scope = ViewScope(request.state.caller, wanted.experiment, wanted.model, wanted.image)
    answer = ViewTokenAnswer(
        token=parts.view_tokens.make(scope, expires_at),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )
    headers = {"Cache-Control": "no-store"}
    return JSONResponse(answer.model_dump(mode="json"), status_code=201, headers=headers)

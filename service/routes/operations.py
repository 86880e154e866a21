"""Health, readiness and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from service.http.documented import BASIC, GUARD, problems
from service.http.problems import ServiceError
from service.routes.access import Parts, authorised

router = APIRouter(tags=["operations"])


class Status(BaseModel):
    """An answer to a probe."""

    status: str


@router.get(
    "/healthz",
    summary="Is the process alive?",
    response_model=Status,
    responses=problems(*GUARD),
)
async def healthz() -> JSONResponse:
    """200 as long as requests are answered at all."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Are the configured models warm?",
    response_model=Status,
    responses=problems(*GUARD, "warming-up", "shutting-down"),
)
async def readyz(parts: Parts) -> JSONResponse:
    """503 until the pinned models and the default one are loaded and have run once.

    And again as soon as the process has been told to end, while it still answers.
    """
    if parts.admission.draining:
        raise ServiceError("shutting-down", "the service is being stopped", {"Retry-After": "1"})
    readiness = parts.readiness
    if not readiness.ready:
        reasons = [f"{name} cannot be used: {why}" for name, why in readiness.failed.items()]
        reasons += [f"{name} is being loaded" for name in sorted(readiness.waiting)]
        raise ServiceError("warming-up", "; ".join(reasons), {"Retry-After": "1"})
    return JSONResponse({"status": "ready"})


_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get(
    "/metrics",
    summary="For Prometheus",
    dependencies=[Depends(authorised)],
    response_class=Response,
    responses={**_METRICS, **problems(*BASIC)},
)
async def metrics(parts: Parts) -> Response:
    """All metrics as text."""
    return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)

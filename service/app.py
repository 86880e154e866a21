"""The application: `uvicorn --factory service.app:create_app`, or `gradcam serve`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from cam_engine.errors import CamError
from cam_engine.pictures.recipes import DISTRIBUTION
from service.components import build
from service.explanations.requests import invalid_request
from service.http.heads import Heads
from service.http.middleware import (
    REQUEST_ID,
    ExactOrigins,
    FrontDoor,
    LastResort,
    RequestContext,
    problem_response,
)
from service.http.origins import PageGuard, TrustedPages
from service.http.problems import ServiceError, of_cam_error
from service.openapi import describe
from service.pages.files import static_files
from service.routes import (
    catalog,
    docs,
    embed,
    explanations,
    gallery,
    jobs,
    operations,
    pages,
    view_tokens,
)
from service.settings import Settings
from service.watching import tracing
from worker.jobs import logs

_EXPOSED = (
    "Content-Disposition",
    "Content-Location",
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "Server-Timing",
    REQUEST_ID,
    "X-Gradcam-Clahe-Changed-Class",
    "X-Gradcam-Empty",
    "X-Gradcam-Grid",
    "X-Gradcam-Images",
    "X-Gradcam-Layer",
    "X-Gradcam-Layers",
    "X-Gradcam-Method",
    "X-Gradcam-Model",
    "X-Gradcam-Notices",
    "X-Gradcam-Prediction",
    "X-Gradcam-Probability",
    "X-Gradcam-Target",
    "X-Gradcam-Target-Probability",
)
_ALLOWED = ("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", REQUEST_ID)
_METHODS = ("DELETE", "GET", "HEAD", "POST")
_ROUTING_CODES = {404: "not-found", 405: "method-not-allowed"}
_ROUTING_WORDS = {
    404: "there is nothing at this address; see /docs for all addresses",
    405: "this address does not take this method; see the Allow header",
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application from the settings (default: from the environment).

    Nothing is loaded before it starts. Raises pydantic's ValidationError for wrong settings and
    InvalidOption for those that cannot work.
    """
    settings = settings or Settings()
    logs.configure(settings)
    parts = build(settings)
    static_files()  # read now, not within a request

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with parts.running():
            yield

    app = FastAPI(
        title="gradcam-service",
        version=version(DISTRIBUTION),
        description=(
            "Shows where a trained image classifier looked. Post an image, get an overlay."
        ),
        lifespan=lifespan,
        redirect_slashes=False,  # it would send uploads twice, to whatever the Host header says
        telemetry=tracing.telemetry(tracing=settings.tracing),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # ours looks into the data root for examples, off the event loop
    )
    app.state.components = parts
    for routes in (operations, explanations, gallery, catalog, jobs, view_tokens):
        app.include_router(routes.router)
    app.include_router(jobs.plans)
    for routes in (docs, pages, embed):
        app.include_router(routes.router)
    describe(app, parts)
    _answer_errors(app, str(parts.catalog.root))
    app.add_middleware(Heads)
    app.add_middleware(LastResort)
    app.add_middleware(FrontDoor, admission=parts.admission, metrics=parts.metrics)
    app.add_middleware(
        ExactOrigins,
        allow_origins=settings.cors_origins,
        allow_methods=_METHODS,
        allow_headers=_ALLOWED,
        expose_headers=_EXPOSED,
        max_age=600,
    )
    trusted = TrustedPages(
        settings.hosts, settings.cors_origins, any_host=bool(parts.keys) and not settings.hosts
    )
    app.add_middleware(
        PageGuard,
        trusted=trusted,
        metrics=parts.metrics,
        root_path=settings.root_path,
    )
    app.add_middleware(
        RequestContext,
        metrics=parts.metrics,
        root_path=settings.root_path,
        admission=parts.admission,
    )
    return app


def _answer_errors(app: FastAPI, root: str) -> None:
    """Every error as a problem, with its code counted where it is a refusal."""

    def respond(request: Request, error: ServiceError) -> Response:
        app.state.components.metrics.rejected.labels(error.code).inc()
        return problem_response(error, request.url.path, request.state.request_id)

    @app.exception_handler(ServiceError)
    async def refused(request: Request, error: ServiceError) -> Response:
        return respond(request, error)

    @app.exception_handler(CamError)
    async def failed(request: Request, error: CamError) -> Response:
        return respond(request, of_cam_error(error, root))

    @app.exception_handler(RedisError)
    async def without_redis(request: Request, _error: RedisError) -> Response:
        detail = "the store of jobs does not answer; try again in some seconds"
        return respond(request, ServiceError("jobs-unavailable", detail, {"Retry-After": "5"}))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # The first part of a place says query or path, which the field's name does without.
        problems = [{**problem, "loc": problem["loc"][1:]} for problem in error.errors()]
        return respond(request, invalid_request(problems))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        code = _ROUTING_CODES.get(error.status_code, "malformed-body")
        detail = _ROUTING_WORDS.get(error.status_code, str(error.detail))
        allow = {"Allow": _methods(app, request.scope)} if error.status_code == 405 else {}
        headers = {**(error.headers or {}), **allow}
        return respond(request, ServiceError(code, detail, headers=headers))


def _methods(app: FastAPI, scope: Scope) -> str:
    """Of all routes at the address: the router names those of the first one only."""
    methods = {
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    }
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))

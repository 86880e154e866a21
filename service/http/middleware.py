"""Around every request: its id, its log line, its metrics, security headers, and a last resort."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.admission import Admission
from service.http.problems import MEDIA_TYPE, ServiceError, problem_object
from service.http.work import Work
from service.watching.metrics import Metrics

_log = structlog.get_logger(__name__)

REQUEST_ID = "X-Request-ID"
GUARDED_ROUTE = "/v1/explanations"
NO_FRAMES = "frame-ancestors 'none'"
SECURITY_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": f"default-src 'none'; {NO_FRAMES}",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CLIENT_GONE = 499  # nginx's word for it, in logs and metrics only
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})


def problem_response(error: ServiceError, path: str, request_id: str) -> JSONResponse:
    """The error as application/problem+json."""
    return JSONResponse(
        problem_object(error, path, request_id),
        status_code=error.type.status,
        headers=dict(error.headers),
        media_type=MEDIA_TYPE,
    )


class LastResort:
    """ASGI middleware: whatever is raised below it becomes an answer, and a line in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = False

        async def send_noticing(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noticing)
        except ClientDisconnect:
            raise
        except Exception:
            _log.exception("unexpected error")
            if begun or scope["type"] != "http":
                raise  # only a broken connection says that the answer is not whole
            error = ServiceError(
                "internal-error", "an unexpected error; its cause is in the log, by request_id"
            )
            answer = problem_response(error, scope["path"], scope["state"]["request_id"])
            await answer(scope, receive, send)


class FrontDoor:
    """ASGI middleware: under overload, refuses explanations before any work goes into them.

    What is refused must cost next to nothing, or refusing takes the time that answers need.
    """

    def __init__(self, app: ASGIApp, admission: Admission, metrics: Metrics) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it in."""
        guarded = scope["type"] == "http" and scope["method"] == "POST"
        if not guarded or not scope["path"].endswith(GUARDED_ROUTE):
            await self._app(scope, receive, send)
            return
        refused = self._admission.refusal()
        if refused is None:
            await self._app(scope, receive, send)
            return
        self._metrics.rejected.labels(refused.code).inc()
        state = scope["state"]
        state["refused_at"] = GUARDED_ROUTE
        answer = problem_response(refused, scope["path"], state["request_id"])
        await answer(scope, receive, send)


class ExactOrigins(CORSMiddleware):
    """CORS whose refusals are problems as all others."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        error = ServiceError(
            "origin-not-allowed",
            f"{bytes(response.body).decode()}: see GRADCAM_CORS_ORIGINS for the origins, and the "
            "documentation for methods and headers",
        )
        known = structlog.contextvars.get_contextvars()
        return problem_response(error, known.get("path", ""), known.get("request_id", ""))

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Send on with CORS's headers; Vary names nothing twice that the route has named."""

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                named = (name.strip() for name in headers.get("Vary", "").split(","))
                headers["Vary"] = ", ".join(dict.fromkeys(named))
            await send(message)

        await super().send(message, send_on, request_headers)


class RequestContext:
    """ASGI middleware around all others."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, root_path: str, admission: Admission | None = None
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._admission = admission
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        work = Work()
        scope.setdefault("state", {}).update(request_id=request_id, work=work)
        if self._root_path:
            scope["root_path"] = self._root_path
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id, path=scope["path"])
        start = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if self._admission is not None and self._admission.draining:
                    headers["Connection"] = "close"  # the next request is another process's
                if NO_FRAMES not in headers["Content-Security-Policy"]:
                    del headers["X-Frame-Options"]  # it cannot name who may
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or _CLIENT_GONE
        finally:
            self._record(scope, status or _CLIENT_GONE, time.perf_counter() - start, work)

    def _record(self, scope: Scope, status: int, seconds: float, work: Work) -> None:
        refused_at = scope["state"].get("refused_at")
        route = refused_at or getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(method, route).observe(seconds)
        timings = work.timings
        spent = {
            f"{name}_ms": round(1000 * getattr(timings, name), 1)
            for name in ("decode", "queue", "compute", "encode")
            if getattr(timings, name)
        }
        # Under overload, refusals are counted; a line for each would be work again.
        write = _log.debug if route in _QUIET_ROUTES or refused_at else _log.info
        write(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 1),
            **({"model": work.model_id} if work.model_id else {}),
            **({"batch_size": timings.batch_size} if timings.batch_size else {}),
            **spent,
        )

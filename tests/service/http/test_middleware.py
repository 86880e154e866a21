"""What goes round every request, round small applications in this process."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import CapturingLogger

from service.http.admission import Admission
from service.http.middleware import (
    SECURITY_HEADERS,
    ExactOrigins,
    FrontDoor,
    LastResort,
    RequestContext,
)
from service.watching.metrics import Metrics
from tests.service.asking import as_client

PORTAL = "https://portal.example"


async def echo(request: Request) -> Response:
    """Says what came, and has "worked" on it."""
    timings = request.state.work.timings
    timings.decode, timings.batch_size = 0.0123, 3
    request.state.work.model_id = "a/b"
    base = request.scope.get("root_path", "")
    return PlainTextResponse(f"{base} {request.state.request_id}")


async def framed(_request: Request) -> Response:
    return PlainTextResponse("x", headers={"Content-Security-Policy": "frame-ancestors 'self'"})


async def broken(_request: Request) -> Response:
    raise RuntimeError("a secret of the inside")


async def left(_request: Request) -> Response:
    raise ClientDisconnect


ROUTES = [
    Route("/v1/echo/{name}", echo, methods=["GET", "POST"]),
    Route("/v1/explanations", echo, methods=["GET", "POST"]),
    Route("/healthz", echo),
    Route("/framed", framed),
    Route("/broken", broken),
    Route("/left", left),
]


def client(app: ASGIApp, metrics: Metrics | None = None, root_path: str = "") -> httpx.Client:
    around = RequestContext(app, metrics or Metrics(), root_path)
    return as_client(TestClient(around, base_url="http://localhost", raise_server_exceptions=False))


def app() -> ASGIApp:
    return Router(routes=ROUTES)


def count(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_process_that_is_to_end_lets_its_connections_go() -> None:
    admission = Admission(1, Metrics())
    around = RequestContext(app(), Metrics(), "", admission)
    asked = as_client(TestClient(around, base_url="http://localhost"))
    assert "connection" not in asked.get("/v1/echo/x").headers
    admission.draining = True
    assert asked.get("/v1/echo/x").headers["connection"] == "close"


@pytest.mark.parametrize("given", ["a", "A-1_b.c", "x" * 64])
def test_a_request_keeps_its_id(given: str) -> None:
    answer = client(app()).get("/v1/echo/x", headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given
    assert answer.text == f" {given}"


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "ä", "a\tb"])
def test_another_gets_a_new_one(given: str) -> None:
    headers = {b"X-Request-ID": given.encode()}
    first, second = (client(app()).get("/v1/echo/x", headers=headers) for _ in range(2))
    ids = [answer.headers["x-request-id"] for answer in (first, second)]
    assert all(re.fullmatch("[0-9a-f]{32}", id_) for id_ in ids)
    assert ids[0] != ids[1]


def test_every_answer_has_the_headers_and_keeps_its_own() -> None:
    plain = client(app()).get("/nowhere")
    assert {name: plain.headers[name] for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
    answer = client(app()).get("/framed")
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert "x-frame-options" not in answer.headers
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_base_path_is_that_of_the_settings() -> None:
    assert client(app(), root_path="/tools").get("/v1/echo/x").text.startswith("/tools ")


def test_requests_are_counted_by_route_not_by_address() -> None:
    metrics = Metrics()
    limited = client(app(), metrics)
    for path in ("/v1/echo/a", "/v1/echo/b", "/nowhere"):
        limited.get(path)
    limited.request("BREW", "/v1/echo/a")
    name, times = "gradcam_http_requests_total", "gradcam_http_request_seconds_count"
    echo_route = "/v1/echo/{name}"
    assert count(metrics, name, method="GET", route=echo_route, status="200") == 2
    assert count(metrics, times, method="GET", route=echo_route) == 2
    assert count(metrics, name, method="GET", route="unmatched", status="404") == 1
    assert count(metrics, name, method="other", route=echo_route, status="405") == 1


def test_a_client_that_has_gone_is_counted_as_gone() -> None:
    metrics = Metrics()
    client(app(), metrics).get("/left")
    counted = count(
        metrics, "gradcam_http_requests_total", method="GET", route="/left", status="499"
    )
    assert counted == 1


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What is logged, whatever other tests have set up."""
    captured = CapturingLogger()
    monkeypatch.setattr("service.http.middleware._log", captured)
    return captured


def test_a_line_of_the_log_says_what_the_work_was(log: CapturingLogger) -> None:
    client(app()).get("/v1/echo/x")
    client(app()).get("/healthz")
    client(app()).get("/nowhere")
    first, quiet, unknown = log.calls
    assert first.kwargs.pop("ms") >= 0
    assert (first.method_name, first.args) == ("info", ("request",))
    assert first.kwargs == {
        "method": "GET",
        "route": "/v1/echo/{name}",
        "status": 200,
        "model": "a/b",
        "batch_size": 3,
        "decode_ms": 12.3,
    }
    assert quiet.method_name == "debug"
    assert set(unknown.kwargs) == {"method", "route", "status", "ms"}


def test_what_is_raised_becomes_an_answer_that_says_nothing_of_the_inside(
    log: CapturingLogger,
) -> None:
    answer = client(LastResort(app())).get("/broken", headers={"X-Request-ID": "r1"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["instance"], body["request_id"]) == (
        "internal-error",
        "/broken",
        "r1",
    )
    assert body["detail"] == "an unexpected error; its cause is in the log, by request_id"
    assert "secret" not in answer.text
    said = [(call.method_name, call.args) for call in log.calls]
    assert said == [("exception", ("unexpected error",)), ("info", ("request",))]


def test_an_answer_that_has_begun_is_broken_off() -> None:
    async def begun(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    around = RequestContext(LastResort(begun), Metrics(), "")
    with pytest.raises(RuntimeError, match="in the middle"):
        TestClient(around, base_url="http://localhost").get("/")


def full(metrics: Metrics) -> tuple[httpx.Client, Admission]:
    admission = Admission(1, metrics)
    return client(FrontDoor(app(), admission, metrics), metrics), admission


def test_under_overload_explanations_alone_are_refused(log: CapturingLogger) -> None:
    metrics = Metrics()
    full_client, admission = full(metrics)
    assert full_client.post("/v1/explanations").status_code == 200
    with admission.place():
        refused = full_client.post("/v1/explanations", headers={"X-Request-ID": "r2"})
        assert full_client.get("/v1/explanations").status_code == 200
        assert full_client.post("/v1/echo/x").status_code == 200
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    body: dict[str, Any] = refused.json()
    assert (body["code"], body["instance"], body["request_id"]) == (
        "queue-full",
        "/v1/explanations",
        "r2",
    )
    assert count(metrics, "gradcam_rejected_requests_total", code="queue-full") == 1
    counted = {"method": "POST", "route": "/v1/explanations", "status": "503"}
    assert count(metrics, "gradcam_http_requests_total", **counted) == 1
    assert [call.method_name for call in log.calls] == ["info", "debug", "info", "info"]


def origins() -> httpx.Client:
    return client(ExactOrigins(app(), allow_origins=[PORTAL], allow_methods=["GET"]))


def preflight(origin: str, method: str = "GET") -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "X-Request-ID": "r3"}
    return origins().options("/v1/echo/x", headers=headers)


def test_a_preflight_that_is_refused_says_why() -> None:
    assert preflight(PORTAL).status_code == 200
    refused = preflight("https://evil.example")
    assert refused.status_code == 400
    body = refused.json()
    assert (body["code"], body["instance"], body["request_id"]) == (
        "origin-not-allowed",
        "/v1/echo/x",
        "r3",
    )
    assert body["detail"] == (
        "Disallowed CORS origin: see GRADCAM_CORS_ORIGINS for the origins, and the documentation "
        "for methods and headers"
    )
    assert preflight(PORTAL, "DELETE").json()["detail"].startswith("Disallowed CORS method: ")


def test_what_is_no_request_is_handed_on_as_it_is() -> None:
    came: list[tuple[Scope, Receive, Send]] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        came.append((scope, receive, send))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        assert message

    scope: Scope = {"type": "lifespan"}
    asyncio.run(RequestContext(inside, Metrics(), "/tools")(scope, receive, send))
    assert came == [(scope, receive, send)]
    assert scope == {"type": "lifespan"}

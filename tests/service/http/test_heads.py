"""HEAD wherever GET is: its status and its headers, and no body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from processes.jobs import Stack, stack
from processes.serving import Server
from service.http.heads import Heads
from tests.service.asking import (
    CB,
    LIFECYCLE,
    RING,
    metric,
    post_image,
    sound,
)
from tests.service.conftest import ORIGIN
from tests.service.raw_http import connected

# Of each request alone, or of how a body is sent.
_OWN = {"date", "server-timing", "transfer-encoding", "x-request-id"}


def same_headers(client: httpx.Client, path: str, headers: dict[str, str] | None = None) -> int:
    """HEAD has what GET has, apart from the body; answers the status."""
    got = client.get(path, headers=headers)
    head = client.head(path, headers=headers)
    assert head.status_code == got.status_code, path
    assert head.content == b""
    assert _kept(head) == _kept(got), path
    return got.status_code


def _kept(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in _OWN}


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/experiment", "/compare", "/jobs", "/embed/viewer", "/docs", "/openapi.json"),
        *("/static/app.css", "/static/none.css", "/favicon.ico"),
        *("/healthz", "/readyz", "/v1/experiments", "/v1/models", f"/v1/models/{CB}"),
        *(f"/v1/experiments/{LIFECYCLE}", f"/v1/experiments/{LIFECYCLE}/images"),
        f"/v1/experiments/{LIFECYCLE}/thumbnails/{RING}",
        *("/v1/models/none", "/v1/experiments?x=1", "/v2/models", "/v1/jobs"),
        "/v1/explanations",
    ],
)
def test_head_answers_as_get_does(http: httpx.Client, path: str) -> None:
    same_headers(http, path)


def test_head_of_the_metrics_has_no_body(http: httpx.Client) -> None:
    head = http.head("/metrics")  # whose length is another one each time
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("accept", ["image/png", "application/json", "application/zip"])
def test_head_of_an_explanation(http: httpx.Client, cell: Path, accept: str) -> None:
    made = sound(post_image(http, cell, model=CB))
    path = made.headers["content-location"]
    assert same_headers(http, path, {"Accept": accept}) == 200
    tag = http.head(path, headers={"Accept": accept}).headers["etag"]
    assert same_headers(http, path, {"Accept": accept, "If-None-Match": tag}) == 304
    assert same_headers(http, f"{path}/image") == 200


def test_a_connection_goes_on_after_a_head(http: httpx.Client) -> None:
    with connected(str(http.base_url)) as connection:
        for line in (b"HEAD /v1/models", b"HEAD /static/app.css", b"GET /healthz"):
            connection.sendall(line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        while data.count(b"HTTP/1.1 200") < 3 and (piece := connection.recv(65536)):
            data += piece
    heads = data.split(b"HTTP/1.1 200 OK\r\n")
    assert [head.partition(b"\r\n\r\n")[2] for head in heads[1:3]] == [b"", b""]


def test_the_allow_header_names_head(http: httpx.Client) -> None:
    assert http.put("/v1/models").headers["allow"] == "GET, HEAD"
    assert http.put("/static/app.css").headers["allow"] == "GET, HEAD"
    assert http.get("/v1/explanations").headers["allow"] == "POST"
    assert http.head("/v1/explanations").headers["allow"] == "POST"


def test_heads_are_counted_by_their_route(http: httpx.Client) -> None:
    counted = {"method": "HEAD", "route": "/v1/models", "status": "200"}
    before = metric(http, "gradcam_http_requests_total", **counted)
    http.head("/v1/models")
    assert metric(http, "gradcam_http_requests_total", **counted) == before + 1


def test_other_origins_may_ask_for_heads_with_a_key(secured: Server) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "HEAD",
        "Access-Control-Request-Headers": "X-API-Key",
    }
    with secured.client() as client:
        response = sound(client.options("/v1/models", headers=asked))
    assert "HEAD" in response.headers["access-control-allow-methods"]


@pytest.fixture(scope="module")
def waiting(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service with a Redis, on a copy of a bundled experiment."""
    with stack(sample_run, tmp_path_factory.mktemp("jobs"), images=4) as made:
        yield made


def test_head_of_a_job_its_files_and_what_streams(waiting: Stack) -> None:
    with waiting.server.client() as client:
        job = waiting.submit(models=["focal"], max_images=1)
        own = job["links"]["self"]
        for path in ("/v1/jobs", own, f"{own}/items", f"{own}/files/none.png"):
            same_headers(client, path)
        # It is queued for ever: the stream of its events does not end by itself.
        head = client.head(f"{own}/events")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
        waiting.add_worker()
        waiting.wait(job["id"])
        for path in (own, f"{own}/events", f"{own}/archive", f"{own}/files/summary.csv"):
            assert same_headers(client, path) == 200


def answered(method: str, kind: str = "http") -> tuple[list[Scope], list[Message], Scope]:
    """What an application round which HEAD is answered was asked, what it sent, and the scope."""
    asked: list[Scope] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope)
        scope["route"] = "a route"
        assert await receive() == {"type": "http.request"}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        for piece in (b"some", b"more"):
            await send({"type": "http.response.body", "body": piece, "more_body": piece == b"some"})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": kind, "method": method, "path": "/x"}
    asyncio.run(Heads(app)(scope, receive, send))
    return asked, sent, scope


def test_head_is_asked_as_get_and_its_body_is_left_out() -> None:
    (asked,), sent, scope = answered("HEAD")
    assert (asked["method"], asked["path"]) == ("GET", "/x")
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]},
        {"type": "http.response.body", "body": b""},
    ]
    assert (scope["method"], scope["route"]) == ("HEAD", "a route")  # for logs and metrics


@pytest.mark.parametrize(("method", "kind"), [("GET", "http"), ("HEAD", "websocket")])
def test_all_else_is_as_it_was(method: str, kind: str) -> None:
    (asked,), sent, scope = answered(method, kind)
    assert asked is scope
    assert [message.get("body") for message in sent] == [None, b"some", b"more"]

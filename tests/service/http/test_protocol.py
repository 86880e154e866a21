"""Clients that send slowly, or never the rest, keep nobody else waiting and are let go of."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from processes.eventually import eventually
from processes.serving import Server
from service.app import create_app
from service.http import bodies as uploads
from service.http.admission import Arrivals
from service.http.problems import ServiceError
from service.http.protocol import PatientProtocol
from service.settings import Settings
from service.watching.metrics import Metrics
from tests.service.asking import post_image, sound
from tests.service.raw_http import connected, has_answered, read_answer, upload_body, upload_head

_HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
_POST = (
    b"POST /v1/view-tokens HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n"
)
_WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class _Brief(PatientProtocol):
    most_header_bytes = 4096


class _Hasty(_Brief):
    header_seconds = 0.3


class _Brisk(_Brief):
    header_seconds = 3.0  # for a whole request to be read on a busy machine


@contextmanager
def _serving(app: ASGIApp, protocol: type[PatientProtocol]) -> Iterator[str]:
    config = uvicorn.Config(app, port=0, http=protocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # so that nobody is refused before uvicorn is there
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def app(sample_run: Path) -> FastAPI:
    return create_app(Settings(data=sample_run))


@pytest.fixture(scope="module")
def hurried(app: ASGIApp) -> Iterator[str]:
    """The address of a service in this process that waits only 0.3 s for headers."""
    with _serving(app, _Hasty) as url:
        yield url


@pytest.fixture(scope="module")
def brisk(app: ASGIApp) -> Iterator[str]:
    """That of one that waits 3 s."""
    with _serving(app, _Brisk) as url:
        yield url


@pytest.fixture(scope="module")
def calm(app: ASGIApp) -> Iterator[str]:
    """That of one that waits as long as usual."""
    with _serving(app, _Brief) as url:
        yield url


@pytest.mark.parametrize("begun", [b"", b"G", b"\r\n", _HALF, b"GET /healthz HTTP/1.1\r\n"])
def test_half_of_the_headers_is_not_waited_for(hurried: str, begun: bytes) -> None:
    with connected(hurried) as connection:
        connection.sendall(begun)
        assert read_answer(connection).status == 408
        assert connection.recv(1) == b""


@pytest.mark.parametrize("begun", [b"\r\n", _HALF])
def test_nor_is_that_of_the_next_request(brisk: str, begun: bytes) -> None:
    with connected(brisk) as connection:
        connection.sendall(_WHOLE)
        assert read_answer(connection).status == 200
        connection.sendall(begun)
        assert read_answer(connection).status == 408


def test_many_of_them_are_all_let_go_of(brisk: str) -> None:
    with ExitStack() as opened:
        several = [opened.enter_context(connected(brisk)) for _ in range(100)]
        for connection in several:
            connection.sendall(_HALF)
        with connected(brisk) as other:
            other.sendall(_WHOLE)
            assert read_answer(other).status == 200
        assert {read_answer(connection).status for connection in several} == {408}


def test_headers_without_end_are_cut_off(calm: str) -> None:
    with connected(calm) as connection:
        connection.sendall(_HALF + 5000 * b"x")
        answer = read_answer(connection)
    assert answer.status == 431
    problem = json.loads(answer.body)
    assert problem["code"] == "headers-too-large"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_headers_that_come_in_pieces_are_counted_together(calm: str) -> None:
    with connected(calm) as connection:
        connection.sendall(_HALF)
        for _ in range(40):
            if has_answered(connection, 0.02):
                break
            connection.sendall(200 * b"x")
        assert read_answer(connection).status == 431


def test_headers_of_some_length_are_read(calm: str) -> None:
    with connected(calm) as connection:
        for _ in range(3):  # counted for each request anew
            connection.sendall(_HALF + 2000 * b"x" + b"\r\n\r\n")
            assert read_answer(connection).status == 200


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (upload_head(5000), upload_body(b"x" * 3000)[:-100]),
        (
            _POST,
            b"{",
        ),
    ],
    ids=["upload", "json"],
)
def test_a_body_that_stops_coming_is_given_up(
    calm: str, monkeypatch: pytest.MonkeyPatch, head: bytes, body: bytes
) -> None:
    monkeypatch.setattr(uploads, "_GRACE_SECONDS", 0.2)
    with connected(calm) as connection:
        connection.sendall(head + body)
        answer = read_answer(connection)
    assert answer.status == 408
    assert b"bytes a second" in answer.body


def test_slow_uploads_take_no_place(narrow: Server, cell: Path) -> None:
    body = upload_body(cell.read_bytes())
    with ExitStack() as opened, narrow.client() as client:
        slow = [opened.enter_context(connected(narrow.url)) for _ in range(12)]
        for connection in slow:
            connection.sendall(upload_head(len(body)) + body[:-50])
        sound(post_image(client, cell))
        slow[0].sendall(body[-50:])
        assert read_answer(slow[0]).status == 200


def test_what_comes_at_once_is_bounded_for_all_together() -> None:
    arrivals = Arrivals(100, Metrics())
    with arrivals.body() as first:
        first(60)
        with arrivals.body() as second:
            second(40)
            with pytest.raises(ServiceError, match="more is being sent"):
                second(1)
        first(40)
    with arrivals.body() as third:
        third(100)


def test_an_upload_is_refused_while_too_much_comes(
    app: FastAPI, calm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = Arrivals(4000, Metrics())
    monkeypatch.setattr(app.state.components, "arrivals", arrivals)
    with connected(calm) as slow, connected(calm) as other:
        slow.sendall(upload_head(9000) + upload_body(b"x" * 3000)[:-100])
        eventually("the body has begun", lambda: arrivals._bytes > 2000)
        other.sendall(upload_head(len(body := upload_body(b"x" * 3000))) + body)
        answer = read_answer(other)
    assert answer.status == 503
    assert b"queue-full" in answer.body

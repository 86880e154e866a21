"""The end of a process: said at once, and without the loss of a request."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from cam_engine.commands import exit_status
from processes.eventually import eventually
from processes.serving import running
from service.commands.draining import DrainingServer
from service.http.admission import Admission
from service.http.protocol import PatientProtocol
from service.watching.metrics import Metrics
from tests.service.asking import assert_problem, metric, post_image, sound
from tests.service.raw_http import connected, upload_body, upload_head

_ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
Loop = Literal["asyncio", "uvloop"]


async def _app(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


class _Halting(DrainingServer):
    """Stands still when it is told to end, until it may go on: meanwhile the kernel takes calls."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config, Admission(1, Metrics()), 0)
        self.halt = threading.Event()
        self.halted = threading.Event()
        self.go_on = threading.Event()

    async def on_tick(self, counter: int) -> bool:
        if self.halt.is_set():
            self.halted.set()
            self.go_on.wait(30)
            return True
        return await super().on_tick(counter)


@contextmanager
def halting(loop: Loop) -> Iterator[tuple[_Halting, tuple[str, int]]]:
    config = uvicorn.Config(
        _app, port=0, http=PatientProtocol, loop=loop, log_config=None, lifespan="off"
    )
    server = _Halting(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually("it listens", lambda: server.started)
    try:
        yield server, server.servers[0].sockets[0].getsockname()
    finally:
        server.halt.set()
        server.go_on.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connections_that_nobody_has_looked_at_yet_are_answered(loop: Loop) -> None:
    with ExitStack() as opened, halting(loop) as (server, address):
        early = opened.enter_context(socket.create_connection(address))
        eventually("it is accepted", lambda: server.server_state.connections)
        server.halt.set()
        assert server.halted.wait(30)
        clients = [opened.enter_context(socket.create_connection(address)) for _ in range(20)]
        for client in clients[:10]:
            client.sendall(_ASKED)
        server.go_on.set()
        eventually("it takes no more", lambda: not server.servers[0].is_serving())
        for client in (early, *clients[10:]):  # their requests were on their way
            client.sendall(_ASKED)
        for client in (early, *clients):
            client.settimeout(30)
            answer = b""
            while piece := client.recv(1000):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert answer.endswith(b"ok")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


def test_connections_on_which_nothing_is_asked_do_not_keep_it() -> None:
    with ExitStack() as opened, halting("uvloop") as (server, address):
        silent = opened.enter_context(socket.create_connection(address))
        eventually("it is accepted", lambda: server.server_state.connections)
        server.halt.set()
        server.go_on.set()
        silent.settimeout(30)
        assert silent.recv(10) == b""


@pytest.mark.system
def test_it_says_so_at_once_and_takes_requests_for_a_while(
    sample_run: Path, tmp_path: Path, cell: Path
) -> None:
    with running(sample_run, tmp_path, drain_seconds="3") as server:
        with server.client() as client, ThreadPoolExecutor(1) as pool:
            assert "connection" not in sound(post_image(client, cell)).headers
            server.process.send_signal(signal.SIGTERM)
            eventually("it says so", lambda: client.get("/readyz").status_code == 503)
            answer = assert_problem(client.get("/readyz"), "shutting-down")
            assert "stopped" in answer["detail"]
            posted = pool.submit(post_image, client, cell)
            assert sound(posted.result()).headers["connection"] == "close"
            sound(client.get("/healthz"))
            assert server.process.poll() is None
        assert server.process.wait(60) == exit_status.DONE
        with pytest.raises(httpx.ConnectError):
            httpx.get(server.url)


@pytest.mark.system
def test_somebody_at_a_terminal_does_not_wait_for_proxies(sample_run: Path, tmp_path: Path) -> None:
    with running(sample_run, tmp_path, drain_seconds="600") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == exit_status.DONE


@pytest.mark.system
@pytest.mark.parametrize("seconds", ["0", "600"])
def test_a_second_signal_ends_it_at_once(
    sample_run: Path, tmp_path: Path, cell: Path, seconds: str
) -> None:
    body = upload_body(cell.read_bytes())
    with (
        running(
            sample_run, tmp_path, drain_seconds=seconds, request_timeout_seconds="600"
        ) as server,
        connected(server.url) as upload,
    ):
        upload.sendall(upload_head(len(body)) + body[:-100])
        with server.client() as client:
            arriving = "gradcam_uploads_arriving"
            eventually("it has begun", lambda: metric(client, arriving) == 1)
            server.process.send_signal(signal.SIGTERM)
            if seconds == "600":
                eventually("it drains", lambda: client.get("/readyz").status_code == 503)
            else:
                eventually("it ends", lambda: "taking no more" in server.log_file.read_text())
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == exit_status.INTERRUPTED

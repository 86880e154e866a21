"""What can be reached from where without keys, and how much of a body is read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from processes.eventually import eventually_answers
from processes.serving import Server
from tests.service.asking import assert_problem, facts, post_image, sound
from tests.service.raw_http import connected, has_answered, read_answer, upload_head

pytestmark = pytest.mark.system

LIMIT_BYTES = 256 * 2**10


def test_an_upload_that_says_it_is_too_large_is_refused_before_it_comes(odd: httpx.Client) -> None:
    with connected(str(odd.base_url)) as connection:
        connection.sendall(upload_head(10 * LIMIT_BYTES))
        assert has_answered(connection, 5)
        assert read_answer(connection).status == 413


def test_an_upload_without_length_is_refused_while_it_comes(odd: httpx.Client) -> None:
    piece = b"%x\r\n" % 65536 + b"0" * 65536 + b"\r\n"
    part = (
        b'--eight-and-twenty\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    )
    sent = 0
    with connected(str(odd.base_url)) as connection:
        connection.sendall(upload_head(None) + b"%x\r\n%b\r\n" % (len(part), part))
        while not has_answered(connection, 0.02):
            connection.sendall(piece)
            sent += 65536
            assert sent < 100 * LIMIT_BYTES, "the body is read on and on"
        answer = read_answer(connection)
    assert answer.status == 413
    assert b'"image-too-large"' in answer.body
    assert sent < 12 * LIMIT_BYTES  # what the sockets' buffers hold, and no more


def serve_command(root: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data", str(root)]
    return subprocess.run(
        [*command, *arguments],
        env=environment | {f"GRADCAM_{name.upper()}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_serving_to_everybody_without_keys_is_refused(sample_run: Path) -> None:
    done = serve_command(sample_run, "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "GRADCAM_API_KEYS" in done.stderr
    assert "GRADCAM_AUTH=off" in done.stderr
    assert "Traceback" not in done.stderr


def own_address() -> str:
    """An address of this machine that is not its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(("192.0.2.1", 9))  # nothing is sent: only the route is looked up
        except OSError:
            pytest.skip("this machine has no network")
        address = str(sender.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has no address but its loopback")
    return address


@contextmanager
def factory(root: Path, scratch: Path) -> Iterator[int]:
    """`uvicorn --factory` on all addresses, without keys; its port."""
    with socket.create_server(("", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    environment |= {"GRADCAM_DATA": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "uvicorn", "--factory", "service.app:create_app"]
    with (scratch / "uvicorn.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "0.0.0.0", "--port", str(port)],
            env=environment,
            stderr=log,
            stdout=log,
        )
    try:
        eventually_answers(f"http://127.0.0.1:{port}/healthz", process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_on_all_addresses_without_keys_only_loopback_is_answered(
    sample_run: Path, tmp_path: Path, cell: Path
) -> None:
    address = own_address()
    with factory(sample_run, tmp_path) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as near:
            assert facts(near.get("/v1/models"))["models"]
        forged = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "Host": "localhost"}
        with httpx.Client(base_url=f"http://{address}:{port}", timeout=60) as far:
            sound(far.get("/healthz"))
            assert_problem(post_image(far, cell), "api-key-required")
            for headers in ({}, forged, {"X-API-Key": "anything"}):
                response = far.get("/v1/models", headers=headers)
                assert_problem(response, "api-key-required")
                assert "GRADCAM_API_KEYS" in response.json()["detail"]


def test_keys_are_off_only_where_that_is_said_in_words(open_to_all: Server) -> None:
    port = open_to_all.url.rsplit(":", 1)[1]
    response = httpx.get(f"http://{own_address()}:{port}/v1/experiments")
    assert facts(response)["experiments"]

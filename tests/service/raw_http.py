"""HTTP by hand: addresses as they are written, bodies that come in pieces or never end."""

from __future__ import annotations

import re
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

BOUNDARY = "eight-and-twenty"


@dataclass(frozen=True)
class RawAnswer:
    """A status, headers by lower-case name, and what came of the body."""

    status: int
    headers: dict[str, str]
    body: bytes


@contextmanager
def connected(url: str, seconds: float = 20.0) -> Iterator[socket.socket]:
    """A connection to the server."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection(
        (parts.hostname, parts.port or 80), timeout=seconds
    ) as connection:
        yield connection


def get(url: str, path: str) -> RawAnswer:
    """GET an address that is sent as it stands."""
    with connected(url) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("latin-1"))
        return read_answer(connection)


def upload_head(length: int | None, *headers: str) -> bytes:
    """The request line and headers of a multipart upload; length None: chunked."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (
        "POST /v1/explanations HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        size,
        *headers,
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def upload_body(image: bytes) -> bytes:
    """A multipart body with the image."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def read_answer(connection: socket.socket) -> RawAnswer:
    """Read one answer with a Content-Length, or up to the connection's end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, v in (re.split(r":\s*", line, maxsplit=1) for line in lines)}
    length = int(headers.get("content-length", "0"))
    while len(body) < length and (piece := connection.recv(65536)):
        body += piece
    return RawAnswer(int(status.split()[1]), headers, body)


def has_answered(connection: socket.socket, seconds: float = 0.0) -> bool:
    """Whether something can be read."""
    return bool(select.select([connection], [], [], seconds)[0])

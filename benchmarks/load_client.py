"""A client that costs little: prepared request bytes over keep-alive connections, on asyncio."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

OK, BUSY = 200, 503
_BOUNDARY = "load-7f1c0d"
_LIMIT_BYTES = 2**20
_PNG = b"\x89PNG\r\n\x1a\n"


def file_name(number: int) -> str:
    """Every request's image has a name of its own, so that no two requests are the same."""
    return f"cell-{number:010d}"


@dataclass(frozen=True, slots=True)
class Post:
    """A multipart upload, ready but for the name of its file."""

    before: bytes
    after: bytes

    def named(self, name: str) -> bytes:
        """The whole request; the name must be as long as those of `file_name`."""
        return b"%b%b%b" % (self.before, name.encode(), self.after)


def multipart_post(url: str, image: bytes, fields: Mapping[str, str]) -> Post:
    """`POST url` with a file `image` and text fields."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="')
    opening = "".join(parts).encode()
    after = b'"\r\nContent-Type: application/octet-stream\r\n\r\n%b\r\n--%b--\r\n' % (
        image,
        _BOUNDARY.encode(),
    )
    length = len(opening) + len(file_name(0)) + len(after)
    address = urlsplit(url)
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    return Post(head.encode() + opening, after)


class Uploads:
    """Endless requests: the images in turn, no name twice."""

    def __init__(self, url: str, images: Sequence[bytes], fields: Mapping[str, str]) -> None:
        self.url = url
        self.posts = [multipart_post(url, image, fields) for image in images]
        self._numbers = itertools.count()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        number = next(self._numbers)
        return self.posts[number % len(self.posts)].named(file_name(number))


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. Times in seconds, of time.perf_counter; `asked` is when it was due."""

    status: int
    asked: float
    answered: float
    body: bytes | None = None

    @property
    def seconds(self) -> float:
        return self.answered - self.asked


class Connection:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        address = urlsplit(url)
        host, port = address.hostname, address.port
        return cls(*await asyncio.open_connection(host, port, limit=_LIMIT_BYTES))

    @property
    def open_still(self) -> bool:
        """False once the server has closed it, as servers do with idle connections."""
        return not self._reader.at_eof()

    async def send(self, request: bytes, due: float | None = None) -> Reply:
        """Send it and read the answer. Raises OSError or EOFError for a broken connection."""
        asked = time.perf_counter() if due is None else due
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        body = await self._reader.readexactly(_content_length(head))
        answered = time.perf_counter()
        status = int(head[9:12])
        if status == OK and not body.startswith(_PNG):
            raise ValueError(f"the answer is no PNG: {body[:100]!r}")
        return Reply(status, asked, answered, body)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"the answer has no Content-Length: {head[:300]!r}")


@dataclass(frozen=True, slots=True)
class Run:
    """What came of sending: the answers without their bodies, in the order of their coming.

    start: of time.perf_counter. client_seconds: processor time that the client itself took.
    """

    start: float
    replies: tuple[Reply, ...]
    client_seconds: float

    def seconds_of(self, status: int) -> list[float]:
        """Response times of the answers with that status."""
        return [reply.seconds for reply in self.replies if reply.status == status]

    @property
    def per_second(self) -> float:
        """200s a second, from the start to the last of them; 0 without any."""
        good = [reply.answered for reply in self.replies if reply.status == OK]
        return len(good) / (max(good) - self.start) if good else 0.0

    def good_within(self, begin: float, end: float) -> int:
        """200s that were answered so many seconds after the start."""
        return sum(
            begin <= reply.answered - self.start < end
            for reply in self.replies
            if reply.status == OK
        )


async def one_by_one(url: str, requests: Sequence[bytes]) -> list[Reply]:
    """One client: the next request once the last is answered. Answers keep their bodies."""
    connection = await Connection.open(url)
    try:
        return [await connection.send(request) for request in requests]
    finally:
        await connection.close()


async def closed_loop(uploads: Uploads, clients: int, count: int) -> Run:
    """So many clients, each sending its next request once its last is answered; count in all."""
    left = itertools.islice(uploads, count)
    replies: list[Reply] = []
    connections = [await Connection.open(uploads.url) for _ in range(clients)]

    async def client(connection: Connection) -> None:
        for request in left:
            reply = _light(await connection.send(request))
            replies.append(reply)

    cost, start = time.process_time(), time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(client(connection))
    finally:
        await _close(connections)
    return Run(start, tuple(replies), time.process_time() - cost)


async def open_loop(uploads: Uploads, per_second: float, seconds: float, connections: int) -> Run:
    """Requests at a steady rate, whatever becomes of them; each on a connection that is free.

    More connections are opened where the given number is not enough. Response times count from
    the moment that a request was due. All answers are waited for.
    """
    replies: list[Reply] = []
    free = deque([await Connection.open(uploads.url) for _ in range(connections)])

    async def send(request: bytes, due: float) -> None:
        connection = free.popleft() if free else await Connection.open(uploads.url)
        if not connection.open_still:
            await connection.close()
            connection = await Connection.open(uploads.url)
        replies.append(_light(await connection.send(request, due)))
        free.append(connection)

    cost, start = time.process_time(), time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(round(per_second * seconds)):
                due = start + number / per_second
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(send(next(uploads), due))
    finally:
        await _close(free)
    return Run(start, tuple(replies), time.process_time() - cost)


def _light(reply: Reply) -> Reply:
    return Reply(reply.status, reply.asked, reply.answered)


async def _close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        await connection.close()

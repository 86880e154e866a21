"""Who gets in: a bounded number at once, each with a deadline and a client that still listens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from service.http.problems import ServiceError
from service.watching.metrics import Metrics

_Answer = TypeVar("_Answer")
_RETRY_AFTER = {"Retry-After": "1"}


class Admission:
    """Counts requests that are computed or wait; beyond the limit it refuses at once.

    draining: the process is to end, and others should be asked from now on. ending: it takes no
    connections any more. closing: all requests are answered.
    """

    def __init__(self, most_in_flight: int, metrics: Metrics) -> None:
        self._most = most_in_flight
        self._metrics = metrics
        self._in_flight = 0
        self.draining = False
        self.ending = False
        self.closing = False

    def refusal(self) -> ServiceError | None:
        """Why nobody gets in at this moment; None where there is a place."""
        if self.closing:
            return ServiceError("shutting-down", "the service is being stopped", _RETRY_AFTER)
        if self._in_flight < self._most:
            return None
        return ServiceError(
            "queue-full",
            f"{self._most} requests are being answered, which is all that fit; "
            "try again in a second",
            _RETRY_AFTER,
        )

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for as long as it lasts. Raises ServiceError "queue-full" or "shutting-down"."""
        refused = self.refusal()
        if refused is not None:
            raise refused
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._in_flight += by
        self._metrics.in_flight.set(self._in_flight)


class Arrivals:
    """Bytes of bodies that have begun to come and are not whole yet, bounded for all together.

    They wait in memory and on the disk. Places are for what is computed: slow senders take none.
    """

    def __init__(self, most_bytes: int, metrics: Metrics) -> None:
        self._most_bytes = most_bytes
        self._metrics = metrics
        self._bytes = 0

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """While a body comes: call what it gives with the length of each chunk.

        That raises ServiceError "queue-full" where too much is coming at once.
        """
        mine = 0

        def came(count: int) -> None:
            nonlocal mine
            mine += count
            self._bytes += count
            if self._bytes > self._most_bytes:
                raise ServiceError(
                    "queue-full",
                    "more is being sent at once than this service holds; try again in a second",
                    _RETRY_AFTER,
                )

        self._metrics.arriving.inc()
        try:
            yield came
        finally:
            self._metrics.arriving.dec()
            self._bytes -= mine


async def while_listening(
    request: Request, work: Awaitable[_Answer], deadline_seconds: float, spent_seconds: float = 0.0
) -> _Answer:
    """The work's answer; it is cancelled at the deadline, or when the client goes away.

    spent_seconds: what of the deadline has gone by already.

    The request's body must have been read. Raises ServiceError "deadline-exceeded", or
    ClientDisconnect.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        left = max(0.0, deadline_seconds - spent_seconds)
        done, _ = await asyncio.wait(
            {task, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        if task in done:
            return task.result()
        if gone in done:
            raise ClientDisconnect
        raise ServiceError(
            "deadline-exceeded",
            f"the answer took longer than {deadline_seconds:g} seconds; try again",
            _RETRY_AFTER,
        )
    finally:
        for awaited in (task, gone):
            awaited.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

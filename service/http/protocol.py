"""HTTP/1.1 connections whose requests begin in time and in few bytes."""

from __future__ import annotations

import asyncio
import json
import uuid
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.middleware import REQUEST_ID, SECURITY_HEADERS
from service.http.problems import MEDIA_TYPE, ServiceError, problem_object

_HEADER_SECONDS = 10.0
_MOST_HEADER_BYTES = 64 * 2**10
_LAST_SECONDS = 1.0


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, with an end to its patience.

    uvicorn waits for ever for the rest of a request's headers, and keeps as many bytes of them as
    come. A connection whose next request has not shown all its headers within `header_seconds` of
    being opened, or of their first byte, is answered 408 and closed; more than `most_header_bytes`
    of them, 431. Between requests uvicorn's own keep-alive timeout holds.

    When the server ends, uvicorn closes connections on which nothing was asked yet, whose request
    may be on its way. They have `last_seconds` for it here, and are closed after its answer.
    """

    last_seconds = _LAST_SECONDS
    header_seconds = _HEADER_SECONDS
    most_header_bytes = _MOST_HEADER_BYTES

    _given_up: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _is_last = False

    def connection_made(  # type: ignore[override]  # as the class above has it
        self, transport: asyncio.Transport
    ) -> None:
        """A client has connected: it has so long to ask something."""
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; those before its headers are whole are counted."""
        idle = self.cycle is None or self.cycle.response_complete
        if self._given_up is None and idle:
            self._await_headers()
        if self._given_up is not None:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._given_up is not None and self._header_bytes > self.most_header_bytes:
            self._refuse(
                ServiceError(
                    "headers-too-large",
                    f"a request's headers may have {self.most_header_bytes} bytes",
                )
            )

    def on_headers_complete(self) -> None:
        """The request is known: what is left of it is the application's to wait for."""
        self._stop_waiting()
        super().on_headers_complete()
        if self._is_last and self._asked is not None:
            self._asked.keep_alive = False

    def shutdown(self) -> None:
        """The server takes no more connections, and this one is to end soon."""
        if self._asked is not None:
            super().shutdown()
            return
        self._is_last = True
        self.loop.call_later(self.last_seconds, self._close_unless_asked)

    @property
    def _asked(self) -> RequestResponseCycle | None:
        """The last request, if there was one: uvicorn says that there always was."""
        return self.cycle

    def _close_unless_asked(self) -> None:
        if self._asked is None and not self.transport.is_closing():
            self._stop_waiting()
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        self._header_bytes = 0
        error = ServiceError(
            "request-timeout",
            f"the request's headers had not come within {self.header_seconds:g} seconds",
        )
        self._given_up = self.loop.call_later(self.header_seconds, self._refuse, error)

    def _stop_waiting(self) -> None:
        if self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None

    def _refuse(self, error: ServiceError) -> None:
        """Answer before the application knows of a request, and close."""
        self._stop_waiting()
        if self.transport.is_closing():
            return
        request_id = uuid.uuid4().hex
        body = json.dumps(problem_object(error, "/", request_id)).encode()
        reason = HTTPStatus(error.type.status).phrase
        lines = (
            f"HTTP/1.1 {error.type.status} {reason}",
            f"Content-Type: {MEDIA_TYPE}",
            f"Content-Length: {len(body)}",
            f"{REQUEST_ID}: {request_id}",
            *(f"{name}: {value}" for name, value in SECURITY_HEADERS.items()),
            "Connection: close",
        )
        head = "".join(f"{line}\r\n" for line in lines)
        self.transport.write(f"{head}\r\n".encode("ascii") + body)
        self.transport.close()

"""uvicorn's server, with an end at which no request is lost behind a proxy."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from types import FrameType

import structlog
import uvicorn

from cam_engine.commands import exit_status
from service.http.admission import Admission

_log = structlog.get_logger(__name__)


class DrainingServer(uvicorn.Server):
    """Ends in steps.

    At SIGTERM `/readyz` is 503, and requests are still taken for `drain_seconds`, so that whoever
    asks it sends them elsewhere. Then it takes no more connections: those that have come already
    are answered, even where nobody had looked at them yet. Ctrl-C skips the first step. A second
    signal ends the process at once.
    """

    def __init__(self, config: uvicorn.Config, admission: Admission, drain_seconds: float) -> None:
        super().__init__(config)
        self._admission = admission
        self._drain_seconds = drain_seconds
        self._ends_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self._admission.draining:
            os._exit(exit_status.INTERRUPTED)
        self._admission.draining = True
        if sig == signal.SIGTERM and self._drain_seconds > 0:
            self._ends_at = time.monotonic() + self._drain_seconds
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to end now; asked ten times a second."""
        if self._ends_at is not None and time.monotonic() >= self._ends_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer those that there are, and end."""
        self._admission.draining = self._admission.ending = True
        _log.info("taking no more connections", open=len(self.server_state.connections))
        last = self._taken()
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in last:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _taken(self) -> list[socket.socket]:
        """Connections that the kernel holds for the next accept.

        It resets them when the socket is closed, after their clients have sent their requests: a
        proxy cannot know whether those were begun.
        """
        taken = []
        for listener in (each for server in self.servers for each in server.sockets):
            with socket.socket(fileno=os.dup(listener.fileno())) as listening:
                listening.setblocking(False)
                while True:
                    try:
                        connection, _ = listening.accept()
                    except OSError:  # there are no more
                        break
                    connection.setblocking(False)
                    taken.append(connection)
        return taken

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return protocol

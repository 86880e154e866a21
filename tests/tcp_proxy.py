"""A TCP proxy that can go deaf (connections stay open, and nothing comes through) or close."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

_PIECE = 65536
_PAUSE_SECONDS = 0.05


class Proxy:
    """Forwards a port of its own to another one on this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._ended = False
        self._closed = False
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended = True
        self._open.set()
        self._listener.close()

    def drop_everything(self) -> None:
        """What is sent from now on is lost, on old connections and on new ones."""
        self._open.clear()

    def let_through(self) -> None:
        """Forward again; connections that lost something are closed."""
        self._open.set()

    def cut(self) -> None:
        """Close all connections; new ones are served."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def close(self) -> None:
        """End all connections, and new ones at once, as where nothing serves."""
        self._closed = True
        self.cut()

    def open(self) -> None:
        """Serve again."""
        self._closed = False

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
                if self._closed:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                continue
            self._connections += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        lost = False
        try:
            while piece := source.recv(_PIECE):
                if not self._open.is_set():
                    lost = True
                    while not self._open.is_set():
                        time.sleep(_PAUSE_SECONDS)
                if lost:
                    break
                sink.sendall(piece)
        except OSError:
            pass
        finally:
            source.close()
            sink.close()

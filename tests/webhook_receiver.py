"""A real receiver of webhooks for tests: it keeps what came and answers as it is told."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = f"whsec_{base64.b64encode(bytes(range(24))).decode()}"


@dataclass
class Receiver:
    """What came, and what is answered."""

    status: int = 204
    location: str = ""
    received: list[tuple[dict[str, str], str]] = field(default_factory=list)
    address: str = ""
    hang: threading.Event | None = None


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    """A real HTTP server for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append((headers, body))
            if receiver.hang is not None:
                receiver.hang.wait(30)
            self.send_response(receiver.status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            receiver.received.append(({}, "GET"))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    receiver.address = f"http://127.0.0.1:{server.server_port}/ended"
    try:
        yield receiver
    finally:
        if receiver.hang is not None:
            receiver.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()

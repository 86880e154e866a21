"""A real Redis: started on a Unix socket or a port, killed and started again at will."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from processes.eventually import eventually
from service.commands.up import redis_command

_START_SECONDS = 20.0


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RedisServer:
    """One server, with an append-only file in its folder."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = redis_command(self.folder / "s", self.folder)
        command[command.index("--port") + 1] = str(self.port)
        at = command.index("--unixsocket")
        del command[at : at + 4]
        # Ctrl-C in a terminal is for who started it, and who then ends it in its turn.
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, process_group=0)
        with redis.Redis.from_url(self.url) as client:
            eventually(
                "redis-server answers",
                client.ping,
                seconds=_START_SECONDS,
                not_yet=redis.RedisError,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """It takes connections and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=20)


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """A server for as long as the block lasts."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()

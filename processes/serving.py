"""A real service process: started, waited for, and stopped again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from processes.eventually import eventually

_START_SECONDS = 240.0
_LISTENING = re.compile(r"running on (http://[^\s\"]+)")


@dataclass(frozen=True)
class Server:
    """A running service: its address, its process, and the file that its log goes to."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    def log(self) -> list[dict[str, Any]]:
        """The log's lines so far."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client for it."""
        return httpx.Client(base_url=self.url, timeout=60, **options)

    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(data: Path, scratch: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    """`gradcam serve` on a free port, ready; settings become GRADCAM_ variables."""
    with listening(data, scratch, *arguments, **settings) as server:
        _wait_until_ready(server)
        yield server


@contextmanager
def listening(data: Path, scratch: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    """The same as soon as it takes connections: its models may not be loaded yet."""
    log_file = scratch / f"service-{time.monotonic_ns()}.log"
    variables = {f"GRADCAM_{name.upper()}": value for name, value in settings.items()}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    environment = {**inherited, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data", str(data)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            stderr=log,
            env=environment,
            process_group=0,  # Ctrl-C is for who started it
        )
    try:
        yield Server(_address(process, log_file), process, log_file)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes], log_file: Path) -> str:
    def look() -> re.Match[str] | None:
        ended = process.poll() is not None  # asked first: what it says last is read all the same
        match = _LISTENING.search(log_file.read_text())
        assert match or not ended, f"the service did not start:\n{log_file.read_text()}"
        return match

    match = eventually(
        "the service listens", look, seconds=_START_SECONDS, evidence=log_file.read_text
    )
    return match[1]


def _wait_until_ready(server: Server) -> None:
    eventually(
        "the service is ready",
        lambda: httpx.get(f"{server.url}/readyz").is_success,
        seconds=_START_SECONDS,
        evidence=server.log_file.read_text,
    )

"""The processes of a load test, each on its core: the service and its peer."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes.eventually import eventually_answers
from processes.serving import Server, running

PEER_PACKAGES = ("litserve", "torchcam")
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the client, another for all that answers."""

    client: int
    server: int

    @classmethod
    def choose(cls) -> Cores:
        """The first two of those that this process may use. Raises RuntimeError without two."""
        if not hasattr(os, "sched_setaffinity"):
            raise RuntimeError("the load test pins processes to cores, which needs Linux")
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise RuntimeError("the load test needs two cores: one for the client, one to serve")
        return cls(client=cores[0], server=cores[1])

    @contextmanager
    def serving(self) -> Iterator[None]:
        """What is started meanwhile stays on the server's core, on one thread."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.server})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A checkpoint below a data root, and the id by which the service knows it."""

    checkpoint: Path

    @property
    def data(self) -> Path:
        return self.checkpoint.parents[1]

    @property
    def id(self) -> str:
        return f"{self.data.resolve().name}/{self.checkpoint.parent.name}"


@contextmanager
def service(model: ServedModel, cores: Cores, scratch: Path, **settings: str) -> Iterator[Server]:
    """`gradcam serve`, warm, on the server's core."""
    with ExitStack() as stack:
        with cores.serving():
            process = running(model.data, scratch, device="cpu", default_model=model.id, **settings)
            server = stack.enter_context(process)
        yield server


def missing_packages(wanted: Sequence[str] = PEER_PACKAGES) -> list[str]:
    """Those of the packages that are not installed; by default, what the comparison needs."""
    return [name for name in wanted if importlib.util.find_spec(name) is None]


@dataclass(frozen=True, slots=True)
class Peer:
    """LitServe, stopped whenever it is not its turn: it polls while it is idle."""

    url: str
    group: int

    @contextmanager
    def awake(self) -> Iterator[None]:
        os.killpg(self.group, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.group, signal.SIGSTOP)


@contextmanager
def peer(model: ServedModel, cores: Cores, scratch: Path) -> Iterator[Peer]:
    """The same model behind LitServe, on the server's core."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.load_peer", str(model.checkpoint), str(port)]
    log_file = scratch / f"peer-{port}.log"
    with log_file.open("wb") as log, cores.serving():
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        eventually_answers(
            f"{url}/health", process, seconds=_START_SECONDS, evidence=log_file.read_text
        )
        started = Peer(f"{url}/predict", process.pid)
        os.killpg(process.pid, signal.SIGSTOP)
        yield started
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

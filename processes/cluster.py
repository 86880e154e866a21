"""The example cluster as plain processes: nginx, two services, workers and one Redis.

`python -m processes.cluster --data results` runs it until Ctrl-C, as `make cluster` does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from processes.eventually import eventually, eventually_answers
from processes.jobs import Stack, environment_of
from processes.redis_server import RedisServer, free_port, running_redis
from processes.serving import Server, running

EXAMPLE = Path(__file__).parents[1] / "examples/cluster"
_DRAIN_SECONDS = "1"
_SECRET = "only-for-processes-of-one-machine"  # noqa: S105 (nobody else reaches them)


def nginx_binary() -> str | None:
    """Debian has it where users' PATHs do not lead."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@dataclass
class Replica:
    """One service process at a port of its own, which it has again after each start."""

    data: Path
    scratch: Path
    settings: dict[str, str]
    port: int = field(default_factory=free_port)
    server: Server | None = None
    _running: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.server is not None
        return self.server.process

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        words = ("--port", str(self.port))
        self.server = self._running.enter_context(
            running(self.data, self.scratch, *words, **self.settings)
        )

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.process.terminate()
        status = self.process.wait(60)
        self.close()
        return status

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.close()

    def close(self) -> None:
        """End it if it runs."""
        self._running.close()


@dataclass
class Cluster:
    """The running parts; url: nginx's."""

    url: str
    replicas: list[Replica]
    redis: RedisServer

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)

    def restart_in_turn(self) -> list[int]:
        """Each service, once nginx asks all again; their exit statuses."""
        statuses = []
        for replica in self.replicas:
            self.wait_until_all_are_asked()
            statuses.append(replica.stop())
            replica.start()
        self.wait_until_all_are_asked()
        return statuses

    def wait_until_all_are_asked(self) -> None:
        """Nginx leaves one out for a while that did not answer."""
        ports = {str(replica.port) for replica in self.replicas}
        asked: set[str] = set()

        def look() -> bool:
            address = httpx.get(f"{self.url}/healthz").headers["x-gradcam-replica"]
            asked.add(address.rsplit(":", 1)[1])
            return asked == ports

        eventually("all replicas are asked", look, seconds=60)


@contextmanager
def cluster(
    data: Path, scratch: Path, *, workers: int = 2, port: int | None = None, **settings: str
) -> Iterator[Cluster]:
    """All of it, ready; settings become GRADCAM_ variables of services and workers."""
    with ExitStack() as closing:
        redis_folder = scratch / "redis"
        redis_folder.mkdir()
        redis = closing.enter_context(running_redis(redis_folder))
        shared = {"redis_url": redis.url, **settings}
        own = {"view_secret": _SECRET, "drain_seconds": _DRAIN_SECONDS, **shared}
        replicas = [Replica(data, scratch, own) for _ in range(2)]
        for replica in replicas:
            closing.callback(replica.close)
        with ThreadPoolExecutor(len(replicas)) as pool:
            list(pool.map(Replica.start, replicas))
        first = replicas[0].server
        assert first is not None
        stack = Stack(data, scratch, redis, first, environment_of(data, shared))
        closing.callback(stack.stop_workers)
        for _ in range(workers):
            stack.add_worker()
        url = closing.enter_context(_nginx(scratch, replicas, port or free_port()))
        yield Cluster(url, replicas, redis)


@contextmanager
def _nginx(scratch: Path, replicas: list[Replica], port: int) -> Iterator[str]:
    """The example's nginx before these replicas; its address."""
    binary = nginx_binary()
    assert binary is not None, "no nginx (apt install nginx-light)"
    folder = scratch / "nginx"
    folder.mkdir()
    example = (EXAMPLE / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(example.replace("listen 8080;", f"listen 127.0.0.1:{port};"))
    [line] = {
        line.partition(" ")[2].partition(" ")[2]
        for line in (EXAMPLE / "replicas.conf").read_text().splitlines()
    }
    addresses = [f"server 127.0.0.1:{replica.port} {line}\n" for replica in replicas]
    (folder / "replicas.conf").write_text("".join(addresses))
    # A master of root has workers of another user, who cannot write here.
    user = ["-g", "user root;"] if os.geteuid() == 0 else []
    command = [binary, "-p", f"{folder}/", "-c", str(folder / "nginx.conf"), *user]
    log_file = folder / "error.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stderr=log, process_group=0)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually_answers(f"{url}/healthz", process, evidence=log_file.read_text)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def main() -> int:
    """Run it until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="results folder")
    parser.add_argument("--port", type=int, default=8080, help="nginx's")
    arguments = parser.parse_args()
    if nginx_binary() is None:
        print("no nginx is installed: apt install nginx-light")
        return 2
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    with tempfile.TemporaryDirectory(prefix="gradcam-cluster-") as scratch:
        data = arguments.data.absolute()
        with cluster(data, Path(scratch), port=arguments.port) as made:
            for replica in made.replicas:
                print(f"a service at {replica.url}")
            print(f"nginx before them at {made.url}; Ctrl-C ends all", flush=True)
            stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

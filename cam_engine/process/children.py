"""Processes of our own that work for this one, one piece of work at a time each.

A child has a socket for messages and a file in memory for what is large. It ends with its socket:
when it is killed, when its pool is closed, and when this process ends, however it does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Generic, TypeVar

_START_SECONDS = 120.0
# Nothing else of the environment: it may hold keys and passwords.
_INHERITED = frozenset({"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PATH"})


class TooSlow(Exception):
    """A child did not answer in time."""


class Child:
    """One process; used by one thread at a time. After anything that is raised it is of no use."""

    def __init__(self, module: str) -> None:
        """module: is run as a program with the descriptors of its socket and its file.

        It sends one message once it can take others.
        """
        # -P: the folder that this was started in is not one to import from.
        self._command = (sys.executable, "-P", "-m", module)
        self._file = _shared_file()
        self._connection, theirs = Pipe()
        descriptors = (theirs.fileno(), self._file.fileno())
        self._process = subprocess.Popen(  # noqa: S603 (a command of our own)
            [*self._command, *map(str, descriptors)],
            pass_fds=descriptors,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # libraries complain of images there; the reply says it
        )
        theirs.close()
        self._ready = False

    @property
    def pid(self) -> int:
        """Its number among the system's processes."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def file(self) -> int:
        """Descriptor of the file that both have open."""
        return self._file.fileno()

    def ask(self, message: bytes, longest_reply: int, seconds: float | None = None) -> bytes:
        """What it says to the message. Raises TooSlow; EOFError or OSError where it ended."""
        self._wait_until_ready()
        self._connection.send_bytes(message)
        if not self._connection.poll(seconds):
            raise TooSlow
        return self._connection.recv_bytes(longest_reply)

    def status(self) -> int:
        """Waits for its end: 0 or more as it said itself, else less the signal's number."""
        return self._process.wait()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._file.close()

    def _wait_until_ready(self) -> None:
        try:
            if not self._ready and self._connection.poll(_START_SECONDS):
                self._connection.recv_bytes()
                self._ready = True
        except (EOFError, OSError):
            pass
        if not self._ready:
            raise RuntimeError(f"a process did not start: try `{' '.join(self._command)}`")


def answer_messages(descriptors: Sequence[str], answer: Callable[[bytes, int], bytes]) -> None:
    """What a Child's program does, until its socket ends: a reply to each message.

    descriptors: of the socket and the file, as the program is given them. answer: from a message
    and the file's descriptor to a reply.
    """
    connection, file = Connection(int(descriptors[0])), int(descriptors[1])
    # Ctrl-C, and a service manager that tells all processes to stop, mean who started this one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection.send_bytes(b"ready")
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            return
        reply = answer(message, file)
        try:
            connection.send_bytes(reply)
        except OSError:
            return


_C = TypeVar("_C", bound=Child)


class Children(Generic[_C]):
    """So many children of one kind; safe in any thread.

    They are started when they are first needed, or by `start`, and end with this object, at the
    latest with the process that made it.
    """

    def __init__(self, make: Callable[[], _C], size: int) -> None:
        self.size = size
        self._make = make
        self._places = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: deque[_C] = deque()
        self._all: set[_C] = set()
        self._closed = False
        self._end = weakref.finalize(self, _kill, self._all)

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that there are at this moment."""
        with self._lock:
            return [child.pid for child in self._all]

    def start(self) -> None:
        """Have all started, without waiting for them."""
        with self._lock:
            for _ in range(self.size - len(self._all)):
                self._idle.append(self._add())

    @contextmanager
    def one(self) -> Iterator[_C]:
        """A child for this thread alone, in its turn; after an error another takes its place."""
        with self._places:
            child = self._take()
            try:
                yield child
            except BaseException:
                self._replace(child)
                raise
            with self._lock:
                self._idle.append(child)

    def close(self) -> None:
        """End all of them, also those that are at work."""
        with self._lock:
            self._closed = True
            self._idle.clear()
            self._end()

    def _take(self) -> _C:
        """The one that was at work last, whose memory is warm; dead ones are replaced."""
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                self._remove(child)
            return self._add()

    def _replace(self, child: _C) -> None:
        with self._lock:
            self._remove(child)
            if not self._closed:
                self._idle.appendleft(self._add())

    def _add(self) -> _C:
        if self._closed:
            raise RuntimeError("the pool of processes is closed")
        child = self._make()
        self._all.add(child)
        return child

    def _remove(self, child: _C) -> None:
        self._all.discard(child)
        child.kill()


def read_exactly(file: int, buffer: memoryview, start: int = 0) -> None:
    """Fill the buffer from there on in the file. Raises ValueError where the file is shorter."""
    at = 0
    while at < len(buffer):
        count = os.preadv(file, [buffer[at:]], start + at)
        if count == 0:
            raise ValueError("the file is shorter than was said")
        at += count


def write_all(file: int, data: memoryview, start: int = 0) -> None:
    """Write all of it from there on in the file."""
    at = 0
    while at < len(data):
        at += os.pwrite(file, data[at:], start + at)


def _kill(children: set[_C]) -> None:
    while children:
        children.pop().kill()


def _shared_file() -> IO[bytes]:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("gradcam"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED}
    path = os.pathsep.join([root, *filter(None, sys.path)])
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

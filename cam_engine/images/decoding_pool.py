"""Decodes images of untrusted origin in processes of their own, each ended at its limits.

A decoder is native code that cannot be interrupted: in a thread, an image made to be dear holds the
thread, and the memory is the whole program's. See docs/decisions/0017-decoding-processes.md.
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
from multiprocessing import Pipe
from pathlib import Path
from typing import IO

import numpy as np

from cam_engine.errors import CamError, ImageTooLarge, InvalidImage, PageNotFound
from cam_engine.images.decoded import DecodedImage
from cam_engine.images.decoding_process import (
    Refusal,
    Reply,
    Task,
    read_exactly,
    read_reply,
    write_all,
)
from cam_engine.images.limits import DEFAULT_LIMITS, ImageLimits, check_bytes
from cam_engine.options import DEFAULT_DECODING, DecodingOptions

DEFAULT_SECONDS = 5.0
_START_SECONDS = 120.0
_PATIENCE = 4.0
_LONGEST_REPLY_BYTES = 2**16
_REFUSALS: dict[str, type[CamError]] = {
    kind.code: kind for kind in (InvalidImage, ImageTooLarge, PageNotFound)
}
# -P: the folder that this was started in is not one to import from.
_COMMAND = (sys.executable, "-P", "-m", "cam_engine.images.decoding_process")
# Nothing else of the environment: it may hold keys and passwords.
_INHERITED = frozenset({"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PATH"})


def default_processes() -> int:
    """By cores, 2 to 4: one decodes thousands of crops a second, but a large image holds it."""
    return max(2, min(4, os.cpu_count() or 2))


class DecodingPool:
    """Processes that decode images; safe in any thread.

    They are started when they are first needed, or by `start`, and end with the pool, at the latest
    with the process that made it.
    """

    def __init__(
        self,
        processes: int | None = None,
        seconds: float = DEFAULT_SECONDS,
        clock_seconds: float | None = None,
    ) -> None:
        """`processes`: how many images are decoded at once; default: by cores.

        seconds: of a processor that one image may take. clock_seconds: the same by the clock, which
        also runs while others have the processors; default: four times as many.
        """
        self.size = processes or default_processes()
        self._seconds = seconds
        self._clock_seconds = clock_seconds or _PATIENCE * seconds
        self._places = threading.BoundedSemaphore(self.size)
        self._lock = threading.Lock()
        self._idle: deque[_Process] = deque()
        self._all: set[_Process] = set()
        self._closed = False
        self._end = weakref.finalize(self, _kill, self._all)

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that there are at this moment."""
        with self._lock:
            return [process.pid for process in self._all]

    def start(self) -> None:
        """Have all processes started, without waiting for them."""
        with self._lock:
            for _ in range(self.size - len(self._all)):
                self._idle.append(self._add())

    def decode(
        self,
        data: bytes,
        limits: ImageLimits = DEFAULT_LIMITS,
        options: DecodingOptions = DEFAULT_DECODING,
    ) -> DecodedImage:
        """What `decoding.decode` answers and raises; waits for its turn.

        Beyond its seconds, or where the decoder crashes, its process is ended and another takes its
        place. Raises InvalidImage then.
        """
        check_bytes(len(data), limits)
        with self._places:
            process = self._take()
            try:
                answer = process.decode(data, limits, options, self._seconds, self._clock_seconds)
            except BaseException:
                self._replace(process)
                raise
            with self._lock:
                self._idle.append(process)
        if isinstance(answer, CamError):
            raise answer
        return answer

    def close(self) -> None:
        """End all processes, also those that are at work."""
        with self._lock:
            self._closed = True
            self._idle.clear()
            self._end()

    def _take(self) -> _Process:
        """The one that was at work last, whose memory is warm; dead ones are replaced."""
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                self._remove(process)
            return self._add()

    def _replace(self, process: _Process) -> None:
        with self._lock:
            self._remove(process)
            if not self._closed:
                self._idle.appendleft(self._add())

    def _add(self) -> _Process:
        if self._closed:
            raise RuntimeError("the pool of decoding processes is closed")
        process = _Process()
        self._all.add(process)
        return process

    def _remove(self, process: _Process) -> None:
        self._all.discard(process)
        process.kill()


def _kill(processes: set[_Process]) -> None:
    while processes:
        processes.pop().kill()


class _Process:
    """One process, with a socket for messages and a file in memory for images."""

    def __init__(self) -> None:
        self._file = _shared_file()
        self._connection, theirs = Pipe()
        descriptors = (theirs.fileno(), self._file.fileno())
        self._process = subprocess.Popen(  # noqa: S603 (a command of our own)
            [*_COMMAND, *map(str, descriptors)],
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
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(
        self,
        data: bytes,
        limits: ImageLimits,
        options: DecodingOptions,
        seconds: float,
        clock_seconds: float,
    ) -> DecodedImage | CamError:
        """The pixels, or why it was refused. After anything that is raised it cannot be used."""
        self._wait_until_ready()
        file = self._file.fileno()
        write_all(file, memoryview(data))
        task = Task(len(data), limits.max_bytes, limits.max_pixels, seconds, options)
        try:
            self._connection.send_bytes(task.to_bytes())
            if not self._connection.poll(clock_seconds):
                raise _took_too_long(clock_seconds)
            reply = read_reply(self._connection.recv_bytes(_LONGEST_REPLY_BYTES))
        except (EOFError, OSError) as error:
            raise self._ended(seconds) from error
        except (KeyError, TypeError, ValueError) as error:
            raise _nonsense() from error
        answer = self._answer(reply, limits)
        os.ftruncate(file, 0)
        return answer

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._file.close()

    def _wait_until_ready(self) -> None:
        try:
            if not self._ready and self._connection.poll(_START_SECONDS):
                self._connection.recv_bytes(_LONGEST_REPLY_BYTES)
                self._ready = True
        except (EOFError, OSError):
            pass
        if not self._ready:
            command = " ".join(_COMMAND)
            raise RuntimeError(f"a process that decodes images did not start: try `{command}`")

    def _answer(self, reply: Reply, limits: ImageLimits) -> DecodedImage | CamError:
        if isinstance(reply, Refusal):
            return _REFUSALS.get(reply.code, InvalidImage)(reply.message)
        # What has read hostile bytes is not believed.
        if not 0 < reply.height * reply.width <= limits.max_pixels:
            raise _nonsense()
        image = np.empty((reply.height, reply.width, 3), np.uint8)
        read_exactly(self._file.fileno(), image.reshape(-1).data)
        return DecodedImage(image, reply.facts)

    def _ended(self, seconds: float) -> InvalidImage:
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return _took_too_long(seconds)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        return InvalidImage(
            f"the decoder ended {how} while it read this image; save it again as PNG"
        )


def _nonsense() -> InvalidImage:
    return InvalidImage("the decoder answered nonsense; save the image again as PNG")


def _took_too_long(seconds: float) -> InvalidImage:
    return InvalidImage(
        f"decoding it took longer than {seconds:g} s; save it again as PNG or baseline JPEG, or "
        "make it smaller"
    )


def _shared_file() -> IO[bytes]:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("decoding"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED}
    path = os.pathsep.join([root, *filter(None, sys.path)])
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

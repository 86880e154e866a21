"""A process that decodes images for another one, within limits of memory and processor time.

`python -m cam_engine.images.decoding_process SOCKET FILE`, both numbers of inherited descriptors. A
message on the socket says how many bytes of FILE are an image; the answer says that its pixels
stand there instead, or what is wrong with it. Messages are JSON: what has read hostile bytes must
not be able to have a pickle loaded. Ends with the socket. Imports no torch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from cam_engine.errors import CamError
from cam_engine.images.decoded import ImageFacts, facts_from_json
from cam_engine.images.decoding import ImageLimits, decode
from cam_engine.options import DecodingOptions
from cam_engine.process.children import answer_messages, write_all
from cam_engine.process.memory import reuse_large_blocks, trim

_STATUS = Path("/proc/self/status")
_LARGE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Task:
    """The first `size` bytes of the file are to be decoded within the limits.

    seconds: of the processor, after which the process ends by SIGPROF. options: how it is read.
    """

    size: int
    max_bytes: int
    max_pixels: int
    seconds: float
    options: DecodingOptions

    def to_bytes(self) -> bytes:
        """As a message."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> Task:
        """The task of a message."""
        values = json.loads(message)
        return cls(**{**values, "options": DecodingOptions(**values["options"])})


@dataclass(frozen=True, slots=True)
class Pixels:
    """The file holds (height, width, 3) bytes of RGB, made as the facts say."""

    height: int
    width: int
    facts: ImageFacts


@dataclass(frozen=True, slots=True)
class Refusal:
    """The image was refused: a CamError's code and message."""

    code: str
    message: str


Reply = Pixels | Refusal


def read_reply(message: bytes) -> Reply:
    """A reply from its message. Raises ValueError, KeyError or TypeError."""
    fields: dict[str, Any] = json.loads(message)
    if "code" in fields:
        return Refusal(str(fields["code"]), str(fields["message"]))
    facts = facts_from_json(fields["facts"])
    return Pixels(int(fields["height"]), int(fields["width"]), facts)


def _main(descriptors: Sequence[str]) -> None:
    cv2.setNumThreads(1)
    reuse_large_blocks(_LARGE_BYTES)
    idle_bytes = _data_bytes()

    def answer(message: bytes, file: int) -> bytes:
        task = Task.from_bytes(message)
        limits = ImageLimits(task.max_bytes, task.max_pixels)
        _limit_memory(idle_bytes, limits)
        signal.setitimer(signal.ITIMER_PROF, task.seconds)
        reply = _work(file, task.size, limits, task.options)
        signal.setitimer(signal.ITIMER_PROF, 0)
        return json.dumps(asdict(reply)).encode()

    answer_messages(descriptors, answer)


def _work(file: int, size: int, limits: ImageLimits, options: DecodingOptions) -> Reply:
    data = os.pread(file, size, 0)
    os.ftruncate(file, 0)
    try:
        image, facts = decode(data, limits, options)
    except CamError as error:
        return Refusal(error.code, str(error))
    write_all(file, image.reshape(-1).data)
    height, width = image.shape[:2]
    if image.nbytes > _LARGE_BYTES:
        del image
        trim()
    return Pixels(height, width, facts)


def _limit_memory(idle_bytes: int | None, limits: ImageLimits) -> None:
    """Beside what the idle process has: what decoding may take, and the file."""
    if idle_bytes is not None:
        import resource  # noqa: PLC0415 (where there is /proc)

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = idle_bytes + limits.decoding_bytes + 2 * limits.max_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _data_bytes() -> int | None:
    """Private memory of this process, as RLIMIT_DATA counts it; None where only Linux would say."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")), None)


if __name__ == "__main__":
    _main(sys.argv[1:])

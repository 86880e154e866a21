"""A process that looks into checkpoints for another one, within limits that it cannot leave.

It answers a line of JSON on standard input, {"path", "wanted", "nested"}, with one on standard
output: {"said"} or {"code", "detail"}; see `files.scan`. It imports no torch.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import TextIO

from cam_engine.errors import CamError, CheckpointInvalid
from cam_engine.models.files.scan import scan

MOST_ANSWER_CHARACTERS = 1 << 22
CPU_SECONDS = 2

_MEMORY_BYTES = 1 << 30
_OPEN_FILES = 16


def limit_this_process() -> None:
    """Memory, files, and that it can write none."""
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        resource.setrlimit(kind, (most, most))


def limit_next_answer() -> None:
    """Processor time; the kernel ends the process a second after it is over, at the latest."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + CPU_SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer until there are no more requests."""
    for line in requests:
        limit_next_answer()
        answers.write(_answer(json.loads(line)) + "\n")
        answers.flush()


def _answer(request: dict[str, list[str] | str]) -> str:
    path = Path(str(request["path"]))
    try:
        said = scan(path, frozenset(request["wanted"]), frozenset(request["nested"]))
        text = json.dumps({"said": said})
        if len(text) > MOST_ANSWER_CHARACTERS:
            raise CheckpointInvalid(f"{path} says too much beside its weights")
    except CamError as error:
        return json.dumps({"code": error.code, "detail": str(error)})
    except (ValueError, RecursionError, MemoryError) as error:
        reason = type(error).__name__
        detail = f"{path} is damaged, or no PyTorch checkpoint ({reason})"
        return json.dumps({"code": CheckpointInvalid.code, "detail": detail})
    return text


def main() -> None:
    """Until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # is for who asks
    limit_this_process()
    serve(sys.stdin, sys.stdout)

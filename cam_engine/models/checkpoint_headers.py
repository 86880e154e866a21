"""Headers of checkpoints through a process of their own, so that no file can hold this one up.

The process is started at the first file and kept. One that takes too long, or dies of a file, is
replaced, and the file is refused.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

from cam_engine.errors import CamError, CheckpointInvalid, CheckpointNotFound, CheckpointUnsafe
from cam_engine.models.checkpoint_metadata import NESTED, WANTED
from cam_engine.models.files.header_child import CPU_SECONDS, MOST_ANSWER_CHARACTERS
from cam_engine.models.header_reading import CheckpointHeader, header_of

_log = logging.getLogger(__name__)

_WAIT_SECONDS = 20.0  # on a busy machine; what counts is processor time
_PACKAGES = Path(__file__).resolve().parents[2]
_CODE = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from cam_engine.models.files.header_child import main; main()"
)
_ERRORS: dict[str, type[CamError]] = {
    kind.code: kind for kind in (CheckpointInvalid, CheckpointNotFound, CheckpointUnsafe)
}


class CheckpointStalled(CheckpointInvalid):
    """Storage or the machine did not answer in time; nothing wrong was found in the file."""


class HeaderReader:
    """Reads headers one at a time; safe to call from several threads."""

    def __init__(self, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self.started = 0

    def read(self, path: Path) -> CheckpointHeader:
        """The header, as `read_header` gives it.

        Raises what that raises; CheckpointInvalid also for a file that takes more than two seconds
        of a processor, or a gigabyte.
        """
        words = {"path": str(path), "wanted": sorted(WANTED), "nested": sorted(NESTED)}
        with self._lock:
            answer = self._answer(json.dumps(words), path)
        if "said" in answer:
            return header_of(path, answer["said"])
        raise _ERRORS.get(answer["code"], CheckpointInvalid)(answer["detail"])

    @property
    def process(self) -> int | None:
        """Id of the process that is kept; None where none is."""
        return None if self._child is None else self._child.pid

    def _answer(self, request: str, path: Path) -> dict[str, Any]:
        kept = self._child is not None and self._child.poll() is None
        line, late = self._ask(request)
        if not line and kept and self._end() != -signal.SIGXCPU and not late:
            line, late = self._ask(request)  # the one before may have ended by itself
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        if late:
            raise CheckpointStalled(f"{path} could not be looked into in {self._wait_seconds:g} s")
        if self._end() == -signal.SIGXCPU:
            raise CheckpointInvalid(f"{path} takes more than {CPU_SECONDS} s to look into")
        raise CheckpointInvalid(f"{path} is damaged, or no PyTorch checkpoint")

    def _ask(self, request: str) -> tuple[str, bool]:
        """(a whole line or nothing, whether the time was over)."""
        child = self._running()
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self._wait_seconds, end)
        timer.start()
        line = ""
        try:
            if child.stdin is not None and child.stdout is not None:  # as they were asked for
                child.stdin.write(f"{request}\n")
                child.stdin.flush()
                line = child.stdout.readline(MOST_ANSWER_CHARACTERS + 2)
        except (OSError, ValueError) as error:
            _log.debug("the process that looks into checkpoints has ended: %s", error)
        finally:
            timer.cancel()
        return (line if line.endswith("\n") else ""), late.is_set()

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None or self._child.poll() is not None:
            self._end()
            # Without the folder it is started in, the environment's paths and site-packages.
            self._child = subprocess.Popen(  # noqa: S603 (our own interpreter and code)
                [sys.executable, "-I", "-S", "-c", _CODE, str(_PACKAGES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="ascii",
            )
            weakref.finalize(self, _ended, self._child)
            self.started += 1
        return self._child

    def _end(self) -> int | None:
        """The process's status, once it has ended; None where there is none."""
        child, self._child = self._child, None
        return None if child is None else _ended(child)


def _ended(child: subprocess.Popen[str]) -> int:
    """End it, which does nothing to one that has ended."""
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was still to be written to it
                continue
    child.kill()
    return child.wait()

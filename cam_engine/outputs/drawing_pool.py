"""Draws in processes, where threads of one process would wait for each other beside a GPU.

See docs/decisions/0026-drawing-processes.md.
"""

from __future__ import annotations

import json
import pickle
import signal
from typing import Any

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import CamError, OutOfMemory, OutputNotWritable, PathOutsideRoot
from cam_engine.outputs.drawing_process import run_bytes, task_of
from cam_engine.outputs.figure_writer import Figure
from cam_engine.outputs.summaries import row_from_json
from cam_engine.pictures.recipes import RunFacts, Succeeded
from cam_engine.process.children import Child, Children

_FEWEST_CORES = 4
_MOST_PROCESSES = 32
_ATTEMPTS = 3
_LONGEST_REPLY_BYTES = 2**20
_ERRORS: dict[str, type[CamError]] = {
    kind.code: kind for kind in (OutOfMemory, OutputNotWritable, PathOutsideRoot)
}


def drawing_processes(device_type: str, cores: int) -> int:
    """How many processes draw beside a device ("cpu", "cuda"); 0: threads of this process do.

    A network on the CPU takes all cores itself. Beside a GPU all cores but one may draw.
    """
    if device_type == "cpu" or cores < _FEWEST_CORES:
        return 0
    return min(cores - 1, _MOST_PROCESSES)


class DrawingPool:
    """Processes that draw; safe in any thread. They end with it, or with this process."""

    def __init__(self, processes: int) -> None:
        self._drawers = Children(_Drawer, processes)

    @property
    def size(self) -> int:
        """How many images are drawn at once."""
        return self._drawers.size

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that there are at this moment."""
        return self._drawers.pids

    def start(self) -> None:
        """Have all processes started, without waiting for them."""
        self._drawers.start()

    def draw(self, run: bytes, figure: Figure) -> Succeeded:
        """What FigureWriter.write answers and raises; waits for its turn.

        Where a process dies at it, another takes its place and the image is drawn anew, twice.
        Raises RuntimeError then, and for errors that nobody foresaw.
        """
        ended = ""
        for _ in range(_ATTEMPTS):
            try:
                with self._drawers.one() as drawer:
                    reply = drawer.draw(run, figure)
            except _Ended as error:
                ended = str(error)
            else:
                return _row(reply)
        raise RuntimeError(f"{_ATTEMPTS} processes ended while they drew it, the last one {ended}")

    def close(self) -> None:
        """End all processes, also those that are at work."""
        self._drawers.close()


class PooledWriter:
    """Writes as FigureWriter does, in a pool's processes; safe in any thread."""

    def __init__(self, pool: DrawingPool, facts: RunFacts, folder: ConfinedFolder) -> None:
        self._pool = pool
        self._run = run_bytes(facts, folder)

    def write(self, figure: Figure) -> Succeeded:
        """See `DrawingPool.draw`."""
        return self._pool.draw(self._run, figure)


class _Ended(Exception):
    """A process ended while it drew: how, in words."""


class _Drawer(Child):
    """One process."""

    def __init__(self) -> None:
        super().__init__("cam_engine.outputs.drawing_process")

    def draw(self, run: bytes, figure: Figure) -> dict[str, Any]:
        """Its reply. Raises _Ended where it dies at it."""
        message = pickle.dumps(task_of(run, figure, self.file))
        try:
            reply: dict[str, Any] = json.loads(self.ask(message, _LONGEST_REPLY_BYTES))
        except (EOFError, OSError) as error:
            code = self.status()
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
            raise _Ended(how) from error
        return reply


def _row(reply: dict[str, Any]) -> Succeeded:
    """The row of a reply, or the error that it names."""
    if "unexpected" in reply:
        raise RuntimeError(reply["unexpected"])
    if "code" in reply:
        raise _ERRORS.get(reply["code"], CamError)(reply["detail"])
    row = row_from_json(reply)
    if not isinstance(row, Succeeded):
        raise TypeError("the reply is no row of pictures")
    return row

"""A process that draws and writes the pictures of images that another one has explained.

`python -m cam_engine.outputs.drawing_process SOCKET FILE`, both numbers of inherited descriptors. A
message on the socket names the pieces of FILE that are pixels and maps; the answer is the image's
row, or what went wrong. Ends with the socket. Imports no torch.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from cam_engine.confined import ConfinedFolder
from cam_engine.errors import CamError
from cam_engine.outputs.figure_writer import Figure, FigureWriter
from cam_engine.outputs.summaries import row_to_json
from cam_engine.pictures.recipes import RunFacts, to_json
from cam_engine.process.children import answer_messages, read_exactly, write_all
from cam_engine.process.memory import reuse_large_blocks


@dataclass(frozen=True, slots=True)
class Task:
    """One image to be drawn.

    run, figure: pickles of (RunFacts, ConfinedFolder) and of a Figure, both made by the process
    that asks. sizes: in bytes of the figure's arrays, which stand in the file one after the other.
    """

    run: bytes
    figure: bytes
    sizes: tuple[int, ...]


def run_bytes(facts: RunFacts, folder: ConfinedFolder) -> bytes:
    """What tasks of one run share."""
    return pickle.dumps((replace(facts, versions=dict(facts.versions)), folder))


def task_of(run: bytes, figure: Figure, file: int) -> Task:
    """The task, its arrays written into the file."""
    buffers: list[pickle.PickleBuffer] = []
    words = pickle.dumps(figure, protocol=5, buffer_callback=buffers.append)
    sizes, start = [], 0
    for buffer in buffers:
        with buffer.raw() as data:
            write_all(file, data, start)
            sizes.append(data.nbytes)
            start += data.nbytes
    return Task(run, words, tuple(sizes))


def figure_of(task: Task, file: int) -> Figure:
    """The figure, with arrays of its own that hold what is in the file."""
    arrays, start = [], 0
    for size in task.sizes:
        data = bytearray(size)
        read_exactly(file, memoryview(data), start)
        arrays.append(data)
        start += size
    figure = pickle.loads(task.figure, buffers=arrays)  # noqa: S301 (of the process that started us)
    if not isinstance(figure, Figure):
        raise TypeError("the message is no figure")
    return figure


class Drawer:
    """Draws one image after the other; what images of one run share is made once."""

    def __init__(self) -> None:
        self._run = b""
        self._writer: FigureWriter | None = None

    def draw(self, task: Task, file: int) -> dict[str, object]:
        """The row as JSON has it; {"code", "detail"} or {"unexpected"} where there is none."""
        try:
            row = self._writer_of(task.run).write(figure_of(task, file))
        except CamError as error:
            return {"code": error.code, "detail": str(error)}
        except Exception as error:
            return {"unexpected": _described(error)}
        return row_to_json(row)

    def _writer_of(self, run: bytes) -> FigureWriter:
        if self._writer is None or run != self._run:
            facts, folder = pickle.loads(run)  # noqa: S301 (of the process that started us)
            self._run, self._writer = run, FigureWriter(facts, folder)
        return self._writer


def _described(error: Exception) -> str:
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    where = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in frames[-1:])
    return f"{type(error).__name__}{where}: {error}"


def _main(descriptors: Sequence[str]) -> None:
    cv2.setNumThreads(1)
    reuse_large_blocks()
    drawer = Drawer()

    def answer(message: bytes, file: int) -> bytes:
        task = pickle.loads(message)  # noqa: S301 (of the process that started us)
        return to_json(drawer.draw(task, file)).encode()

    answer_messages(descriptors, answer)


if __name__ == "__main__":
    _main(sys.argv[1:])

"""Contenders in processes of their own, as their users start them, which take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks import peers
from cam_engine.models.loading import load_classifier


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a round of one contender."""

    batch_size: int
    seconds: tuple[float, ...]

    @property
    def images_per_second(self) -> float:
        return self.batch_size / statistics.median(self.seconds)

    def ratio_to(self, other: Timing) -> float:
        """How many times as fast as the other, round by round."""
        return statistics.median(o / s for s, o in zip(self.seconds, other.seconds, strict=True))


class Turns:
    """The contenders' processes; of them all, one computes at a time."""

    def __init__(self, processes: dict[str, ProcessPoolExecutor]) -> None:
        self._processes = processes

    def take(self, names: Sequence[str], batch_size: int, rounds: int) -> dict[str, Timing]:
        """One timed pass of each in each round."""
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                answer = self._processes[name].submit(_timed_pass, batch_size)
                seconds[name].append(answer.result())
        return {name: Timing(batch_size, tuple(values)) for name, values in seconds.items()}


@contextmanager
def contenders(checkpoint: Path, device: torch.device) -> Iterator[Turns]:
    """All of them, with this checkpoint's weights on this device."""
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(
                ProcessPoolExecutor(
                    1, get_context("spawn"), initializer=_start, initargs=(name, checkpoint, device)
                )
            )
            for name in peers.CONTENDERS
        }
        for started in [process.submit(_timed_pass, 1) for process in processes.values()]:
            started.result()
        yield Turns(processes)


_work: peers.Work
_device: torch.device


def _start(name: str, checkpoint: Path, device: torch.device) -> None:
    global _work, _device  # the process is this contender
    _work, _device = peers.start(name, load_classifier(checkpoint), device), device


def _timed_pass(batch_size: int) -> float:
    """Seconds of a pass, after one that does not count: others had the caches since the last."""
    torch.manual_seed(0)
    batch = torch.randn(batch_size, 3, 224, 224, device=_device)
    _work(batch)
    _wait()
    start = time.perf_counter()
    _work(batch)
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """Until the device has computed all that it was given."""
    if _device.type == "cuda":
        torch.cuda.synchronize(_device)

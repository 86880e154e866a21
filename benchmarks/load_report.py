"""What a load test measured, as figures held to their bars and as Markdown tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.load_client import BUSY, OK, Run
from benchmarks.speed import held

ABOVE_AT_MOST_MS = 15.0
OF_THE_ENGINE = 0.85
TAIL_AT_MOST = 3.0
OF_LITSERVE = 2.0
OF_THE_PEAK = 0.9
REFUSED_MEDIAN_MS, REFUSED_P99_MS = 50.0, 250.0
GROWTH_AT_MOST_PERCENT = 2.0

STEPS = ("decode", "queue", "compute", "encode")


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all values do not exceed (nearest rank)."""
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no {percent}th percentile of {len(values)} values")
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


@dataclass(frozen=True, slots=True)
class OneClient:
    """Seconds of the same images, one after the other, through the service and without it.

    same: pictures that were the same to the byte. steps: median milliseconds by the service's log.
    """

    service: tuple[float, ...]
    engine: tuple[float, ...]
    same: int
    steps: Mapping[str, float]

    @property
    def above_ms(self) -> float:
        """Median over the images of what the service takes longer for each."""
        pairs = zip(self.service, self.engine, strict=True)
        return 1000 * statistics.median(service - engine for service, engine in pairs)


@dataclass(frozen=True, slots=True)
class Turn:
    """One round: all of them one after the other, the same clients and images.

    plain: the service asked for clahe=false, which is all that LitServe does.
    """

    service: Run
    engine_per_second: float
    unbatched: Run
    plain: Run
    litserve: Run | None
    overload: Run

    @property
    def of_the_engine(self) -> float:
        return self.service.per_second / self.engine_per_second

    @property
    def of_unbatched(self) -> float:
        return self.service.per_second / self.unbatched.per_second

    def of_litserve(self, run: Run) -> float | None:
        return run.per_second / self.litserve.per_second if self.litserve else None


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured of one model. overload_seconds: how long a round's overload lasted."""

    name: str
    one: OneClient
    turns: tuple[Turn, ...]
    overload_seconds: float

    @property
    def goodput_per_second(self) -> float:
        """200s a second under overload, over all rounds; each round's first fifth is left out."""
        begin, end = self.overload_seconds / 5, self.overload_seconds
        good = sum(turn.overload.good_within(begin, end) for turn in self.turns)
        return good / ((end - begin) * len(self.turns))

    @property
    def peak_per_second(self) -> float:
        """200s a second of the closed loop, over all rounds."""
        runs = [turn.service for turn in self.turns]
        seconds = sum(len(run.replies) / run.per_second for run in runs)
        return sum(len(run.replies) for run in runs) / seconds


def one_client_table(all_of: Sequence[Measured]) -> list[str]:
    rows = []
    for name, client in ((measured.name, measured.one) for measured in all_of):
        service, engine = (1000 * statistics.median(t) for t in (client.service, client.engine))
        inside = sum(client.steps.values())
        rows.append(
            [
                name,
                f"{service:.1f}",
                f"{engine:.1f}",
                held(client.above_ms, ABOVE_AT_MOST_MS, at_most=True),
                f"{client.same} of {len(client.service)}",
                *(f"{client.steps[step]:.1f}" for step in STEPS),
                f"{service - inside:.1f}",
            ]
        )
    head = ["network", "service, ms", "engine, ms", "above, ms", "same bytes", *STEPS, "rest"]
    return ["One client:", "", *table(head, rows), ""]


def closed_loop_table(all_of: Sequence[Measured], clients: int) -> list[str]:
    rows = []
    for measured in all_of:
        turns = measured.turns
        seconds = [value for turn in turns for value in turn.service.seconds_of(OK)]
        half, tail = percentile(seconds, 50), percentile(seconds, 99)
        rows.append(
            [
                measured.name,
                f"{median_rate(turn.service for turn in turns):.1f}",
                f"{statistics.median(turn.engine_per_second for turn in turns):.1f}",
                held(statistics.median(turn.of_the_engine for turn in turns), OF_THE_ENGINE),
                f"{1000 * half:.0f}",
                f"{1000 * tail:.0f}",
                held(tail / half, TAIL_AT_MOST, at_most=True),
                f"{median_rate(turn.unbatched for turn in turns):.1f}",
                f"{statistics.median(turn.of_unbatched for turn in turns):.2f}",
            ]
        )
    head = ["network", "service, images/s", "engine, images/s", "of the engine"]
    head += ["median, ms", "p99, ms", "p99 / median", "batching off, images/s", "x batching off"]
    return [f"{clients} clients at once:", "", *table(head, rows), ""]


def litserve_table(all_of: Sequence[Measured], clients: int) -> list[str]:
    rows = []
    for measured in all_of:
        turns = [turn for turn in measured.turns if turn.litserve]
        if not turns:
            return ["LitServe or torchcam is not installed: not compared.", ""]
        whole = [ratio for turn in turns if (ratio := turn.of_litserve(turn.service))]
        plain = [ratio for turn in turns if (ratio := turn.of_litserve(turn.plain))]
        rows.append(
            [
                measured.name,
                f"{median_rate(turn.litserve for turn in turns if turn.litserve):.1f}",
                f"{median_rate(turn.service for turn in turns):.1f}",
                held(statistics.median(whole), OF_LITSERVE),
                f"{median_rate(turn.plain for turn in turns):.1f}",
                held(statistics.median(plain), OF_LITSERVE),
            ]
        )
    head = ["network", "LitServe, images/s", "service, images/s", "x LitServe"]
    head += ["service without CLAHE, images/s", "x LitServe"]
    return [
        f"The same {clients} clients, behind LitServe with torchcam:",
        "",
        *table(head, rows),
        "",
    ]


def median_rate(runs: Iterable[Run]) -> float:
    """Images a second."""
    return statistics.median(run.per_second for run in runs)


def overload_table(all_of: Sequence[Measured], factor: float) -> list[str]:
    rows = []
    for measured in all_of:
        runs = [turn.overload for turn in measured.turns]
        replies = [reply for run in runs for reply in run.replies]
        refused = [value for run in runs for value in run.seconds_of(BUSY)]
        others = sum(reply.status not in {OK, BUSY} for reply in replies)
        asked = len(replies) / (measured.overload_seconds * len(runs))
        half, tail = (
            (1000 * percentile(refused, percent) for percent in (50, 99))
            if refused
            else (math.nan, math.nan)
        )
        rows.append(
            [
                measured.name,
                f"{asked:.1f}",
                f"{measured.goodput_per_second:.1f}",
                held(measured.goodput_per_second / measured.peak_per_second, OF_THE_PEAK),
                str(len(refused)),
                held(half, REFUSED_MEDIAN_MS, at_most=True),
                held(tail, REFUSED_P99_MS, at_most=True),
                str(others),
            ]
        )
    head = ["network", "asked/s", "answered/s", "of the peak", "503s", "503: median, ms"]
    head += ["503: p99, ms", "other answers"]
    return [f"Overload, {factor:g} times what it can take:", "", *table(head, rows), ""]


def memory_table(marks: Sequence[tuple[int, int]]) -> list[str]:
    """marks: (requests so far, resident bytes), the first one after warm-up."""
    (first, before), (last, after) = marks[0], marks[-1]
    growth = 100 * (after / before - 1)
    rows = [[str(count), f"{size / 2**20:.1f}"] for count, size in marks]
    said = held(growth, GROWTH_AT_MOST_PERCENT, at_most=True)
    return [
        f"Resident memory between request {first} and request {last} grows by {said} percent:",
        "",
        *table(["requests", "MiB"], rows),
        "",
    ]


def client_line(all_of: Sequence[Measured]) -> str:
    """What the client itself takes, which is part of every response time."""
    runs = [turn.service for measured in all_of for turn in measured.turns]
    spent = sum(run.client_seconds for run in runs) / sum(len(run.replies) for run in runs)
    return f"The client's own processor time is {1000 * spent:.2f} ms a request."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]

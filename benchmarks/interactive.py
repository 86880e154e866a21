"""What a person waits for an overlay while a job runs on the same machine, and what the job loses.

    python -m benchmarks.interactive [--experiment DIR] [--output docs/performance.md]

`gradcam up` runs everything as it does on one machine. A person asks for the overlay of another
crop every few seconds: first alone, then while a job runs, which goes on for as long without
anybody, in turns.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.documents import replace_block
from benchmarks.jobs import SAMPLE, copy_experiment, measured_by
from benchmarks.speed import held
from processes.eventually import eventually, eventually_answers
from processes.redis_server import free_port

MOST_TIMES_IDLE, LEAST_OF_JOB = 2.0, 0.85
_WARM = 10  # clicks that are not counted


@dataclass(slots=True)
class Found:
    """Seconds that each click took, and images a second of the job in each window of time."""

    network: str
    idle: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    clicked: list[float] = field(default_factory=list)

    @property
    def job_keeps(self) -> float:
        """Median over the rounds of the job's rate with clicks by that without."""
        return statistics.median(c / a for c, a in zip(self.clicked, self.alone, strict=True))


def main() -> None:
    arguments = parse_arguments()
    found = []
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as scratch:
            found.append(measure(arguments, name, Path(scratch)))
    lines = [*head_lines(arguments), *table(found)]
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "interactive", lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--experiment", type=Path, help="folder with cls_<arch>_*/best.pt and crops"
    )
    parser.add_argument("--models", nargs="*", default=["densenet121"], help="parts of names")
    parser.add_argument("--clicks", type=int, default=40, help="idle, and of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-seconds", type=float, default=20.0, help="of the job, not counted")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two clicks")
    parser.add_argument("--images", type=int, default=8000, help="of the job, which must not end")
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    arguments = parser.parse_args()
    if arguments.experiment is None:
        arguments.experiment = sorted(SAMPLE.glob("*/experiments/experiment_*"))[0]
        arguments.models = ["cls_"]
    return arguments


def measure(arguments: argparse.Namespace, name: str, scratch: Path) -> Found:
    """One model, and a job of it."""
    data = scratch / "results"
    folder = copy_experiment(arguments.experiment, data, [name], arguments.images)
    images = sorted((folder / "crops_gt_crops/crops/test").rglob("*.*"))
    found = Found(next(folder.glob("cls_*")).name.removeprefix("cls_"))
    with running(data, scratch) as client:
        person = Person(client, images)
        person.clicks(_WARM, 0.1)
        found.idle = person.clicks(arguments.clicks, arguments.every / 10)
        job = Job(client, folder.relative_to(data).as_posix())
        job.rate(arguments.warm_seconds)  # its worker and its model are loaded
        for _ in range(arguments.rounds):
            seconds = arguments.clicks * arguments.every / arguments.rounds
            found.alone.append(job.rate(seconds))
            before = job.done()
            start = time.monotonic()
            found.beside += person.clicks(arguments.clicks // arguments.rounds, arguments.every)
            found.clicked.append((job.done() - before) / (time.monotonic() - start))
        job.cancel()
    return found


@contextmanager
def running(data: Path, scratch: Path) -> Iterator[httpx.Client]:
    """`gradcam up`, ready."""
    port = free_port()
    words = ["up", "--data", str(data), "--port", str(port), "--state", str(scratch / "state")]
    with (scratch / "up.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "service", *words], stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually_answers(
            f"{url}/readyz", process, evidence=lambda: (scratch / "up.log").read_text()[-2000:]
        )
        with httpx.Client(base_url=url, timeout=120) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


class Person:
    """Asks for one overlay after the other, each of another crop."""

    def __init__(self, client: httpx.Client, images: Sequence[Path]) -> None:
        self._client, self._images = client, cycle(images)

    def clicks(self, count: int, every_seconds: float) -> list[float]:
        """Seconds that each answer took; a click is made every so many seconds."""
        took = []
        for _ in range(count):
            start = time.monotonic()
            image = next(self._images)
            answer = self._client.post(
                "/v1/explanations", files={"image": (image.name, image.read_bytes())}
            )
            answer.raise_for_status()
            took.append(time.monotonic() - start)
            time.sleep(max(0.0, start + every_seconds - time.monotonic()))
        return took


class Job:
    """A job over the experiment, of so many images that it does not end before it is stopped."""

    def __init__(self, client: httpx.Client, experiment: str) -> None:
        self._client = client
        body = {"experiment": experiment, "resume": False, "max_images": None}
        answer = client.post("/v1/jobs", json=body)
        answer.raise_for_status()
        self._id = str(answer.json()["id"])

    def done(self) -> int:
        """Items done so far. Raises RuntimeError once there is nothing more to do."""
        answer = self._client.get(f"/v1/jobs/{self._id}")
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        if job["status"] not in {"queued", "running"}:
            raise RuntimeError(f"the job ended too early ({job['status']}); give more --images")
        return int(job["progress"]["succeeded"])

    def rate(self, seconds: float) -> float:
        """Images a second over so many seconds, once it works."""
        first = eventually("the job works", self.done, seconds=120)
        start = time.monotonic()
        time.sleep(seconds)
        return (self.done() - first) / (time.monotonic() - start)

    def cancel(self) -> None:
        """End it."""
        self._client.post(f"/v1/jobs/{self._id}/cancel").raise_for_status()


def head_lines(arguments: argparse.Namespace) -> list[str]:
    experiment = arguments.experiment
    named = "" if SAMPLE in experiment.parents else f" --experiment {experiment.name}"
    return measured_by(f"python -m benchmarks.interactive{named}")


def table(rows: Sequence[Found]) -> list[str]:
    lines = [
        "One person asks for an overlay every three seconds while a job runs on the same machine; "
        "milliseconds:",
        "",
        "| network | idle: p50 | p95 | beside a job: p50 | p95 | p95 against idle "
        "| the job keeps |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        (idle, slow), (beside, slow_beside) = (
            np.percentile(seconds, (50, 95)) * 1000 for seconds in (row.idle, row.beside)
        )
        lines.append(
            f"| {row.network} | {idle:.0f} | {slow:.0f} | {beside:.0f} | {slow_beside:.0f} "
            f"| {held(slow_beside / slow, MOST_TIMES_IDLE, at_most=True)} "
            f"| {held(row.job_keeps, LEAST_OF_JOB)} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    main()

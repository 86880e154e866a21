"""Jobs with real processes: against the engine alone, on two workers, and over many models.

    python -m benchmarks.jobs [--experiment DIR] [--output docs/performance.md]

Redis, the service and workers run as they do in production; what a worker spends on each chunk
is read from its log.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.documents import replace_block
from benchmarks.speed import held
from cam_engine.experiments.finding import Experiment, ImageItem
from cam_engine.images.decoding import IMAGE_SUFFIXES
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions, FigureStyle
from cam_engine.outputs.files import make_folder
from cam_engine.outputs.pipeline import RunOutcome, RunRequest, run
from cam_engine.pictures.recipes import run_facts
from cam_engine.process.memory import reuse_large_blocks
from processes.eventually import eventually
from processes.jobs import Stack, Worker, stack_on

SAMPLE = Path(__file__).parents[1] / "sample/results"
MANY_MODELS, MANY_IMAGES = 12, 500
CACHED_MODELS = 2  # full long before the first mark: its filling is not taken for a leak
LOOK_SECONDS = 2.0  # looking whether a job has ended takes from the cores that work on it
LEAST_OF_ENGINE, LEAST_OF_TWO, MOST_OVERHEAD, MOST_GROWTH = 0.9, 1.8, 0.02, 0.02


@dataclass(frozen=True, slots=True)
class AgainstEngine:
    """The same images by a job's worker and by the engine in one process, images a second."""

    network: str
    images: int
    job: tuple[float, ...]
    engine: tuple[float, ...]
    job_waits: float
    engine_waits: float

    @property
    def share(self) -> float:
        """Median over the rounds of the job's rate by the engine's."""
        return statistics.median(j / e for j, e in zip(self.job, self.engine, strict=True))


@dataclass(frozen=True, slots=True)
class ManyModels:
    """12 models over 500 images each, on two workers."""

    items: int
    seconds: float
    loads: tuple[int, ...]  # of the worker that loaded most: how often, for each model
    models: int
    overhead: float
    resident: tuple[tuple[float, float], ...]  # (share of the items done, MiB of a worker's child)


def main() -> None:
    arguments = parse_arguments()
    reuse_large_blocks()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        engine = [against_engine(arguments, name, folder / name) for name in arguments.models]
        two = two_workers(arguments, folder / "two") if arguments.models else None
        many = many_models(arguments, folder / "many") if arguments.many_images else None
    lines = head_lines(arguments)
    if two is not None:
        lines += [*engine_table(engine), *two_table(two)]
    if many is not None:
        lines += many_table(many)
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "jobs", lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--experiment", type=Path, help="folder with cls_<arch>_*/best.pt and crops"
    )
    parser.add_argument(
        "--models",
        nargs="*",
        default=["densenet121", "efficientnet_b1"],
        help="parts of names; none: many models only",
    )
    parser.add_argument("--images", type=int, default=400, help="of a job against the engine")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--many-images", type=int, default=MANY_IMAGES, help="0: left out")
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    arguments = parser.parse_args()
    if arguments.experiment is None:
        arguments.experiment = sorted(SAMPLE.glob("*/experiments/experiment_*"))[0]
        arguments.models = arguments.models and ["cls_"]
    return arguments


# The job against the engine.


def against_engine(arguments: argparse.Namespace, name: str, scratch: Path) -> AgainstEngine:
    """In turns, both warm: the job's time is from its start to its end, all summaries written."""
    data = scratch / "results"
    folder = copy_experiment(arguments.experiment, data, [name], arguments.images)
    rates: dict[str, list[float]] = {"job": [], "engine": []}
    waits: list[float] = []
    threads = str(torch.get_num_threads())
    with stack_on(data, scratch, lease_seconds="30", chunk_seconds="40") as made:
        made.environment["OMP_NUM_THREADS"] = threads
        worker = made.add_worker()
        engine = Engine(folder, scratch / "engine")
        made.wait(made.submit(max_images=32)["id"])
        engine.run(32)
        seen = len(chunks(worker))
        for _ in range(arguments.rounds):
            job = made.wait(made.submit(max_images=None)["id"], 1800, LOOK_SECONDS)
            rates["job"].append(job["progress"]["succeeded"] / seconds_of(job))
            outcome = engine.run(None)
            rates["engine"].append(len(outcome.rows) / outcome.seconds)
            waits.append(1 - outcome.computing_seconds / outcome.seconds)
        mine = chunks(worker)[seen:]
    computing = sum(chunk["computing_seconds"] for chunk in mine)
    total = sum(chunk["seconds"] for chunk in mine)
    return AgainstEngine(
        network=name.removeprefix("cls_") or engine.name,
        images=arguments.images,
        job=tuple(rates["job"]),
        engine=tuple(rates["engine"]),
        job_waits=1 - computing / total,
        engine_waits=statistics.median(waits),
    )


class Engine:
    """The engine's own pipeline in this process: decoding, maps, rendering and writing."""

    def __init__(self, experiment: Path, output: Path) -> None:
        self._experiment = Experiment(experiment)
        self._model = self._experiment.models([])[0]
        self._explainer = Explainer(load_classifier(self._model.checkpoint))
        self._output = output
        self.name = self._model.name.removeprefix("cls_")

    def run(self, images: int | None) -> RunOutcome:
        """All pictures of so many images (None: all), as a job makes them."""
        items: list[ImageItem] = self._experiment.images()[:images]
        options, figures = CamOptions(), FigureStyle()
        facts = run_facts(self._model.name, self._explainer, options, figures)
        shutil.rmtree(self._output, ignore_errors=True)
        make_folder(self._output)
        request = RunRequest(tuple(items), self._experiment.folder, self._output, options)
        return run(self._explainer, facts, request)


# Two workers against one.


def two_workers(arguments: argparse.Namespace, scratch: Path) -> tuple[float, float]:
    """Images a second of one and of two workers, each pinned to a core of its own, one thread."""
    data = scratch / "results"
    copy_experiment(arguments.experiment, data, arguments.models, arguments.images)
    first, second = sorted(os.sched_getaffinity(0))[:2]
    rates = []
    with stack_on(data, scratch, lease_seconds="30", chunk_seconds="4") as made:
        for core in (first, second):
            with pinned(core):
                made.add_worker()
            wait_for_workers(made, len(made.workers))
            made.wait(made.submit(max_images=64)["id"], 600)
            made.wait(made.submit(max_images=64)["id"], 600)
            job = made.wait(made.submit(max_images=None)["id"], 1800, LOOK_SECONDS)
            rates.append(job["progress"]["succeeded"] / seconds_of(job))
    return rates[0], rates[1]


# Many models.


def many_models(arguments: argparse.Namespace, scratch: Path) -> ManyModels:
    """12 bundled classifiers over 500 images each, two workers, each pinned to a core."""
    data = scratch / "results"
    source = sorted(SAMPLE.glob("*/experiments/experiment_*"))[0]
    folder = copy_experiment(source, data, ["cls_"], arguments.many_images)
    multiply_models(folder, MANY_MODELS)
    first, second = sorted(os.sched_getaffinity(0))[:2]
    resident: list[tuple[float, float]] = []
    with stack_on(data, scratch, lease_seconds="30", chunk_seconds="40") as made:
        for core in (first, second):
            with pinned(core):
                made.add_worker(cached_models=str(CACHED_MODELS))
        wait_for_workers(made, 2)
        job = made.submit(max_images=None)
        while job["status"] in {"queued", "running"}:
            time.sleep(LOOK_SECONDS)
            job = made.job(job["id"])
            share = job["progress"]["succeeded"] / job["progress"]["total"]
            resident.append((share, max(child_mib(process) for process in made.workers)))
        works = [chunks(worker) for worker in made.workers]
        loads = [loaded_models(worker) for worker in made.workers]
    if job["status"] != "succeeded":
        raise RuntimeError(f"the job did not succeed: {job}")
    busy = sum(chunk["seconds"] for work in works for chunk in work)
    spans = sum(span(work) for work in works)
    return ManyModels(
        items=job["progress"]["total"],
        seconds=seconds_of(job),
        loads=tuple(
            max(load.count(name) for load in loads) for name in sorted(set(loads[0] + loads[1]))
        ),
        models=MANY_MODELS,
        overhead=1 - busy / spans,
        resident=tuple(resident),
    )


def multiply_models(experiment: Path, count: int) -> None:
    """As many classifiers as wanted: the same weights in files that differ."""
    folders = sorted(experiment.glob("cls_*"))
    for number in range(count - len(folders)):
        source = folders[number % len(folders)]
        target = experiment / f"{source.name}_{number:02d}"
        target.mkdir()
        contents = torch.load(source / "best.pt", weights_only=True)
        torch.save({**contents, "epoch": 1000 + number}, target / "best.pt")


# What all of them need.


def copy_experiment(source: Path, data: Path, models: Sequence[str], images: int) -> Path:
    """An experiment of so many test crops, copies of the source's, below a new data root."""
    target = data / "run_20260101_000000" / "experiments" / source.name
    for folder in sorted(source.glob("cls_*")):
        if any(name in folder.name for name in models):
            shutil.copytree(folder, target / folder.name)
    crops = sorted(
        path
        for path in (source / "crops_gt_crops/crops/test").rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
    )
    for number in range(images):
        crop = crops[number % len(crops)]
        folder = target / "crops_gt_crops/crops/test" / crop.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(crop, folder / f"{number:05d}{crop.suffix}")
    return target


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started meanwhile stays on the core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait_for_workers(made: Stack, count: int) -> None:
    """Until so many have told Redis that they are there. Raises TimeoutError."""
    eventually(
        f"{count} workers have started",
        lambda: len(made.store.workers()) >= count,
        seconds=60,
        pause=0.2,
    )


def events(worker: Worker, name: str) -> list[dict[str, Any]]:
    """A worker's log lines of one event."""
    logged = []
    for line in worker.log_file.read_text().splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and event.get("event") == name:
                logged.append(event)
    return logged


def chunks(worker: Worker) -> list[dict[str, Any]]:
    """What it says of each chunk that it did."""
    return events(worker, "chunk done")


def loaded_models(worker: Worker) -> list[str]:
    """Names of models, as often as it loaded them."""
    return [event["model"] for event in events(worker, "model loaded")]


def span(work: Sequence[dict[str, Any]]) -> float:
    """Seconds from the start of a worker's first chunk to the end of its last."""
    ends = [datetime.fromisoformat(event["timestamp"]).timestamp() for event in work]
    return ends[-1] - (ends[0] - float(work[0]["seconds"]))


def child_mib(worker: Worker) -> float:
    """Resident memory of what computes."""
    sizes = [child.memory_info().rss for child in worker.children()]
    return max(sizes, default=0) / 2**20


def seconds_of(job: dict[str, Any]) -> float:
    """From its first chunk's start to its end state."""
    start, end = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (end - start).total_seconds()


# The tables.


def head_lines(arguments: argparse.Namespace) -> list[str]:
    named = (
        "" if SAMPLE in arguments.experiment.parents else " EXPERIMENT=" + arguments.experiment.name
    )
    return measured_by(f"make bench-jobs{named}")


def measured_by(command: str) -> list[str]:
    """On which machine, and by which command."""
    return [
        f"Measured on {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}:",
        "",
        f"    {command}",
        "",
    ]


def engine_table(rows: Sequence[AgainstEngine]) -> list[str]:
    lines = [
        "A job on one worker against the engine's own pipeline in one process, all pictures "
        "written; device waiting: the share of the time in which no network ran:",
        "",
        "| network | images | job, images/s | engine, images/s | of the engine "
        "| device waiting: job | engine |",
        "|---|---|---|---|---|---|---|",
    ]
    lines.extend(
        f"| {row.network} | {row.images} | {statistics.median(row.job):.1f} "
        f"| {statistics.median(row.engine):.1f} | {held(row.share, LEAST_OF_ENGINE)} "
        f"| {row.job_waits:.2f} | {row.engine_waits:.2f} |"
        for row in rows
    )
    return [*lines, ""]


def two_table(rates: tuple[float, float]) -> list[str]:
    one, two = rates
    return [
        f"Two workers, each on a core of its own with one thread: {two:.1f} images/s against "
        f"{one:.1f} of one, {held(two / one, LEAST_OF_TWO)} times.",
        "",
    ]


def many_table(many: ManyModels) -> list[str]:
    half = [mib for share, mib in many.resident if 0.3 <= share < 0.5]
    late = [mib for share, mib in many.resident if share >= 0.9]
    growth = max(late, default=0) / max(half, default=1) - 1
    return [
        f"{many.models} models, {many.items // many.models} images each, two workers: "
        f"{many.items} items in {many.seconds:.0f} s. Each worker loaded each model "
        f"{max(many.loads)} time at most. Between chunks workers waited "
        f"{held(100 * many.overhead, 100 * MOST_OVERHEAD, at_most=True)} percent of the time. "
        f"The larger worker's resident memory was {max(half, default=0):.0f} MiB "
        f"when 30 to 50 percent were done and {max(late, default=0):.0f} MiB at the end: "
        f"{held(100 * growth, 100 * MOST_GROWTH, at_most=True)} percent.",
        "",
    ]


if __name__ == "__main__":
    main()

"""The service under load, against its own engine and against LitServe, in one run.

    python -m benchmarks.load [--experiment DIR] [--output docs/performance.md]

The client is pinned to one core; service, engine and LitServe to another, where they take turns,
so that what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import platform
import random
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks import load_report as report
from benchmarks.documents import replace_block
from benchmarks.load_client import (
    OK,
    Reply,
    Run,
    Uploads,
    closed_loop,
    file_name,
    one_by_one,
    open_loop,
)
from benchmarks.load_engine import BATCH_SIZE, Engine, engine
from benchmarks.load_processes import Cores, Peer, ServedModel, missing_packages, peer, service
from benchmarks.speed import checkpoint_of
from cam_engine.images.decoding import IMAGE_SUFFIXES
from processes.serving import Server

MODELS = ("densenet121", "efficientnet_b1")
SAMPLE = Path(__file__).parents[1] / "sample/results"
CLIENTS = 32
OVERLOAD = 4.0
CONNECTIONS = 128
MEMORY_CLIENTS, MEMORY_PARTS = 16, 10
# Small enough that answers kept to be had again fill it during warm-up.
MEMORY_ANSWERS_BYTES = 16 * 2**20


def main() -> None:
    arguments = parse_arguments()
    cores = Cores.choose()
    os.sched_setaffinity(0, {cores.client})
    images = read_images(arguments.experiment)
    if without := missing_packages():
        say(f"not installed: {', '.join(without)}. LitServe is left out; `make load` installs it")
    with tempfile.TemporaryDirectory() as scratch:
        measured = [
            measure(name, arguments, cores, images, Path(scratch)) for name in arguments.models
        ]
        lines = [*head_lines(arguments.experiment), *tables(measured)]
        if arguments.memory_requests:
            lines += report.memory_table(
                memory(arguments.memory_requests, cores, images, Path(scratch))
            )
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "load", lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--experiment", type=Path, help="folder with cls_<arch>_*/best.pt and crops"
    )
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--requests", type=int, default=256, help="a round's at once; half of it for the slow ones"
    )
    parser.add_argument("--single-images", type=int, default=20, help="a round's, of one client")
    parser.add_argument("--overload-seconds", type=float, default=15.0, help="a round's")
    parser.add_argument("--memory-requests", type=int, default=10_000, help="0: left out")
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    return parser.parse_args()


def read_images(experiment: Path | None) -> list[bytes]:
    """The experiment's crops, else the bundled ones; mixed, always in the same order."""
    for folder in (experiment, SAMPLE):
        if folder is not None:
            crops = [path for path in folder.rglob("crops/**/*") if path.suffix in IMAGE_SUFFIXES]
            if crops:
                random.Random(0).shuffle(crops := sorted(crops))
                return [path.read_bytes() for path in crops]
    raise FileNotFoundError(f"no crops below {SAMPLE}")


def measure(
    name: str,
    arguments: argparse.Namespace,
    cores: Cores,
    images: Sequence[bytes],
    scratch: Path,
) -> report.Measured:
    weights = scratch / "experiment_random"
    model = ServedModel(checkpoint_of(name, arguments.experiment, weights))
    with ExitStack() as stack:
        server = stack.enter_context(service(model, cores, scratch))
        unbatched = stack.enter_context(service(model, cores, scratch, batch_size="1"))
        alone = stack.enter_context(engine(model, cores, images))
        beside = None if missing_packages() else stack.enter_context(peer(model, cores, scratch))
        measurement = one_client(server, model, alone, images, arguments)
        say(f"{name}: one client, {measurement.above_ms:.1f} ms above the engine")
        contest = Contest(server, unbatched, alone, beside, images, model.id)
        contest.warm_up()
        turns = []
        for _ in range(arguments.rounds):
            turns.append(contest.turn(arguments.requests, arguments.overload_seconds))
            say(f"{name}: {CLIENTS} clients, {turns[-1].of_the_engine:.2f} of the engine")
    return report.Measured(name, measurement, tuple(turns), arguments.overload_seconds)


def one_client(
    server: Server,
    model: ServedModel,
    alone: Engine,
    images: Sequence[bytes],
    arguments: argparse.Namespace,
) -> report.OneClient:
    """Service and engine take turns with the same images under the same names."""
    posts = uploads_to(server, images, model.id).posts
    service_seconds: list[float] = []
    engine_seconds: list[float] = []
    same = 0
    for turn in range(-1, arguments.rounds):  # the first one warms up and does not count
        first = max(turn, 0) * arguments.single_images
        numbers = [n % len(images) for n in range(first, first + arguments.single_images)]
        named = [(number, file_name(number)) for number in numbers]
        requests = [posts[number].named(name) for number, name in named]
        replies = asyncio.run(one_by_one(server.url, requests))
        answers = alone.one_by_one(named)
        if turn < 0:
            seen = len(explanation_lines(server))
            continue
        check(replies)
        service_seconds += [reply.seconds for reply in replies]
        engine_seconds += [seconds for seconds, _ in answers]
        digests = [hashlib.sha256(reply.body or b"").hexdigest() for reply in replies]
        same += sum(d == digest for d, (_, digest) in zip(digests, answers, strict=True))
    lines = explanation_lines(server)[seen:]
    steps = {
        step: statistics.median(line.get(f"{step}_ms", 0.0) for line in lines)
        for step in report.STEPS
    }
    return report.OneClient(tuple(service_seconds), tuple(engine_seconds), same, steps)


class Contest:
    """All that take turns on the server's core, with the same clients and images."""

    def __init__(
        self,
        server: Server,
        unbatched: Server,
        alone: Engine,
        beside: Peer | None,
        images: Sequence[bytes],
        model_id: str,
    ) -> None:
        self._service = uploads_to(server, images, model_id)
        self._unbatched = uploads_to(unbatched, images, model_id)
        self._plain = uploads_to(server, images, model_id, clahe="false")
        self._alone = alone
        self._beside = beside
        self._litserve = Uploads(beside.url, images, {}) if beside else None

    def warm_up(self) -> None:
        self._closed(self._service, CLIENTS)
        self._alone.batched(2 * BATCH_SIZE)
        self._closed(self._unbatched, CLIENTS)
        self._closed(self._plain, CLIENTS)
        self._behind_litserve(CLIENTS)

    def turn(self, count: int, overload_seconds: float) -> report.Turn:
        few = max(CLIENTS, count // 2 // CLIENTS * CLIENTS)
        run = self._closed(self._service, count)
        return report.Turn(
            service=run,
            engine_per_second=count / self._alone.batched(count),
            unbatched=self._closed(self._unbatched, few),
            plain=self._closed(self._plain, few),
            litserve=self._behind_litserve(few),
            overload=asyncio.run(
                open_loop(self._service, OVERLOAD * run.per_second, overload_seconds, CONNECTIONS)
            ),
        )

    def _behind_litserve(self, count: int) -> Run | None:
        if self._beside is None or self._litserve is None:
            return None
        with self._beside.awake():
            return self._closed(self._litserve, count)

    def _closed(self, uploads: Uploads, count: int) -> Run:
        run = asyncio.run(closed_loop(uploads, CLIENTS, count))
        check(run.replies)
        return run


def memory(
    count: int, cores: Cores, images: Sequence[bytes], scratch: Path
) -> list[tuple[int, int]]:
    """Resident bytes after each tenth of the requests, the first of which is the warm-up."""
    (checkpoint,) = SAMPLE.glob("*/experiments/*lifecycle/cls_mobilenet_v3_small_cb/best.pt")
    model = ServedModel(checkpoint)
    settings = {"answers_bytes": str(MEMORY_ANSWERS_BYTES)}
    marks = []
    with service(model, cores, scratch, **settings) as server:
        uploads = uploads_to(server, images, model.id)
        for part in range(1, MEMORY_PARTS + 1):
            run = asyncio.run(closed_loop(uploads, MEMORY_CLIENTS, count // MEMORY_PARTS))
            check(run.replies)
            marks.append((part * (count // MEMORY_PARTS), server.resident_bytes()))
            say(f"memory: {marks[-1][0]} requests, {marks[-1][1] / 2**20:.1f} MiB")
    return marks


def uploads_to(server: Server, images: Sequence[bytes], model_id: str, **options: str) -> Uploads:
    return Uploads(f"{server.url}/v1/explanations", images, {"model": model_id, **options})


def explanation_lines(server: Server) -> list[dict[str, Any]]:
    """The log's lines of computed explanations."""
    return [line for line in server.log() if "compute_ms" in line]


def check(replies: Iterable[Reply]) -> None:
    """Raises RuntimeError unless all were answered."""
    statuses = [reply.status for reply in replies]
    if set(statuses) != {OK}:
        raise RuntimeError(f"not all requests were answered: {sorted(set(statuses))}")


def tables(measured: Sequence[report.Measured]) -> list[str]:
    if not measured:
        return []
    return [
        *report.one_client_table(measured),
        *report.closed_loop_table(measured, CLIENTS),
        *report.litserve_table(measured, CLIENTS),
        *report.overload_table(measured, OVERLOAD),
        report.client_line(measured),
        "",
    ]


def head_lines(experiment: Path | None) -> list[str]:
    processor = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    return [
        f"Measured on {processor}, one core for the client and one to serve, "
        f"torch {torch.__version__}:",
        "",
        f"    make load{' EXPERIMENT=' + experiment.name if experiment else ''}",
        "",
    ]


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""A cluster of simulated workers on one real Redis: does each item end once, and what does it cost?

    python -m benchmarks.cluster [--items N --jobs N --workers N ...] [--output docs/performance.md]

Redis, the queue, the records of jobs, their files and the coordinator are the real ones; workers
only pretend to compute. Some are killed meanwhile, and so is Redis, which starts again from its
append-only file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from redis.exceptions import RedisError

from benchmarks.cluster_workers import Ledger, run_process
from benchmarks.documents import replace_block
from cam_engine.process.memory import settle
from processes.redis_server import RedisServer, running_redis
from worker.jobs.contract import JobFolder, JobImage, JobModel, JobRecord, JobRequest, JobState
from worker.jobs.outputs import job_files
from worker.jobs.redis.job_store import JobStore, connect
from worker.jobs.settings import JobSettings
from worker.process import parts

MODELS = 4
LIST_LIMIT = 50
LOOK_SECONDS = 1.0
PROBE_SECONDS = 0.1
SAY_SECONDS = 10.0
LEAST_BUSY, MOST_P99_MS = 0.95, 20.0
_FORK = get_context("fork")  # many processes that share what they have imported


@dataclass(frozen=True, slots=True)
class Options:
    """How large it is; kill: which share of the workers."""

    items: int
    jobs: int
    workers: int
    processes: int
    seconds_per_item: float
    chunk_seconds: float
    lease_seconds: int
    kill: float
    redis_away_seconds: float
    seed: int


@dataclass(slots=True)
class Outcome:
    """What came of it. Seconds by the clock unless they are called CPU; ms of latencies."""

    options: Options
    seconds: float = 0.0
    accepting_seconds: float = 0.0
    redis_away_seconds: float = 0.0
    killed: int = 0
    not_killed: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    succeeded: int = 0
    made: int = 0
    made_once: int = 0
    chunks: int = 0
    busy: float = 0.0
    in_chunks: float = 0.0
    of_the_whole: float = 0.0
    coordinating_cpu: float = 0.0
    advancing_cpu: float = 0.0
    workers_cpu: float = 0.0
    redis_cpu: float = 0.0
    redis_bytes: int = 0
    redis_bytes_ended: int = 0
    aof_bytes: int = 0
    state_ms: tuple[float, float] = (0.0, 0.0)
    list_ms: tuple[float, float] = (0.0, 0.0)
    looks: int = 0
    failed_looks: int = 0

    @property
    def exactly_once(self) -> bool:
        """Whether each item ended once, by the store and by what the workers made.

        And whether all was killed that was to be.
        """
        wanted = self.options.items
        counts = {self.succeeded, self.made, self.made_once, wanted}
        return counts == {wanted} and set(self.statuses) == {"succeeded"} and not self.not_killed


def main() -> None:
    arguments = parse_arguments()
    options = Options(**{name: getattr(arguments, name) for name in Options.__slots__})
    settle()  # as real processes do, and for all that are forked
    with tempfile.TemporaryDirectory() as scratch:
        outcome = Cluster(options, Path(scratch)).run()
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(outcome)))
    lines = report(outcome)
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "cluster", lines)
    sys.exit(0 if outcome.exactly_once else 1)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000, help="of all jobs")
    parser.add_argument("--jobs", type=int, default=300, help=f"each of {MODELS} models")
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--processes", type=int, default=40, help="that the workers are in")
    parser.add_argument("--seconds-per-item", type=float, default=0.2)
    parser.add_argument("--chunk-seconds", type=float, default=40.0, help="GRADCAM_CHUNK_SECONDS")
    parser.add_argument("--lease-seconds", type=int, default=30, help="GRADCAM_LEASE_SECONDS")
    parser.add_argument("--kill", type=float, default=0.05, help="share of the workers (0 to 1)")
    parser.add_argument("--redis-away-seconds", type=float, default=5.0, help="when it is killed")
    parser.add_argument("--seed", type=int, default=0, help="of when what is killed")
    parser.add_argument("--json", type=Path, help="file for what was measured")
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    return parser


def parse_arguments() -> argparse.Namespace:
    made = parser()
    arguments = made.parse_args()
    if arguments.items % MODELS:
        made.error(f"--items must be a multiple of {MODELS}")
    if arguments.workers % arguments.processes:
        made.error("--workers must be a multiple of --processes")
    return arguments


class Cluster:
    """All of it, in processes below this one."""

    def __init__(self, options: Options, scratch: Path) -> None:
        self._options = options
        self._scratch = scratch
        self._folder = scratch / "workers"
        self._folder.mkdir()
        (scratch / "redis").mkdir()
        self._random = random.Random(options.seed)
        self._running: list[BaseProcess] = []
        self._started = 0

    def run(self) -> Outcome:
        outcome = Outcome(self._options)
        with running_redis(self._scratch / "redis") as server:
            self._settings = JobSettings(
                data=self._scratch,
                output_root=self._scratch / "output",
                redis_url=server.url,
                chunk_seconds=self._options.chunk_seconds,
                lease_seconds=self._options.lease_seconds,
                log_level="error",
            )
            watch = Watch(server, outcome)
            jobs = self._accept(outcome)
            prober = self._start(probe, server.url, jobs, self._scratch / "probed", self._over)
            start = time.monotonic()
            self._go_on(watch, jobs, outcome)
            outcome.seconds = time.monotonic() - start
            (self._scratch / "over").touch()
            for process in [prober, *self._running]:
                process.join()
            watch.look()
            outcome.redis_bytes_ended = watch.bytes
            count_items(watch.store, jobs, self._folder, outcome)
        self._sum_up(outcome)
        return outcome

    def _accept(self, outcome: Outcome) -> list[str]:
        """All jobs, as the service accepts them once it has looked their files up."""
        (self._scratch / "output").mkdir()
        store, coordinator, places = parts(self._settings)
        base, larger = divmod(self._options.items // MODELS, self._options.jobs)
        start = time.monotonic()
        jobs = []
        for number in range(self._options.jobs):
            record = record_of(number, base + (number < larger))
            images = images_of(record.image_count)
            output = places.output(record)
            job_files.write_accepted(output, record, images)
            for model in record.models:
                output.acquire(model.name, record.id)
            store.create(record, images)
            coordinator.dispatch()
            jobs.append(record.id)
        outcome.accepting_seconds = time.monotonic() - start
        return jobs

    def _start(self, target: Callable[..., None], *arguments: object) -> BaseProcess:
        process = _FORK.Process(target=target, args=arguments, daemon=True)
        process.start()
        return process

    def _start_workers(self) -> None:
        workers = self._options.workers // self._options.processes
        self._started += 1
        arguments = (self._settings, self._folder, self._started, workers)
        process = self._start(run_process, *arguments, self._options.seconds_per_item, self._over)
        self._running.append(process)

    def _over(self) -> bool:
        return (self._scratch / "over").exists()

    def _go_on(self, watch: Watch, jobs: Sequence[str], outcome: Outcome) -> None:
        """Until all jobs have ended; workers and Redis are killed on the way."""
        for _ in range(self._options.processes):
            self._start_workers()
        kills = round(self._options.kill * self._options.processes)
        # Shares of the items, at which something is killed.
        planned: list[tuple[float, Callable[[], None]]] = [
            (self._random.uniform(0.1, 0.8), lambda: self._kill(outcome)) for _ in range(kills)
        ]
        planned.append((self._random.uniform(0.4, 0.6), watch.restart))
        planned.sort(key=lambda plan: plan[0])
        while watch.store.active():
            watch.look()
            share = done(watch.store, jobs) / self._options.items
            watch.say(share)
            while planned and share >= planned[0][0]:
                planned.pop(0)[1]()
            time.sleep(LOOK_SECONDS)
        outcome.not_killed = len(planned)

    def _kill(self, outcome: Outcome) -> None:
        """SIGKILL to a process of workers, as if its machine went; another one comes."""
        process = self._random.choice(self._running)
        process.kill()
        process.join()
        self._running.remove(process)
        outcome.killed += self._options.workers // self._options.processes
        self._start_workers()

    def _sum_up(self, outcome: Outcome) -> None:
        told = [json.loads(file.read_text()) for file in sorted(self._folder.glob("*.spent"))]
        workers = [worker for process in told for worker in process["workers"]]
        spans = sum(worker["last"] - worker["first"] for worker in workers)
        outcome.chunks = sum(worker["chunks"] for worker in workers)
        outcome.busy = sum(worker["computing"] for worker in workers) / spans
        outcome.in_chunks = sum(worker["in_chunks"] for worker in workers) / spans
        needed = self._options.items * self._options.seconds_per_item
        outcome.of_the_whole = needed / self._options.workers / outcome.seconds
        outcome.coordinating_cpu = sum(worker["coordinating_cpu"] for worker in workers)
        outcome.advancing_cpu = sum(worker["advancing_cpu"] for worker in workers)
        outcome.workers_cpu = sum(process["cpu"] for process in told)
        looked = json.loads((self._scratch / "probed").read_text())
        outcome.state_ms, outcome.list_ms = (
            (float(np.percentile(looked[name], 50)), float(np.percentile(looked[name], 99)))
            for name in ("state", "list")
        )
        outcome.looks, outcome.failed_looks = len(looked["state"]), looked["failed"]


class Watch:
    """Redis: its memory and what it takes of a processor, also when it was started again."""

    def __init__(self, server: RedisServer, outcome: Outcome) -> None:
        self.store = JobStore(connect(server.url))
        self._server = server
        self._outcome = outcome
        self._cpu_before, self._cpu = 0.0, 0.0
        self._bytes_at_first = int(self.store.client.info("memory")["used_memory"])
        self.bytes = 0
        self._said = 0.0

    def look(self) -> None:
        memory, cpu = self.store.client.info("memory"), self.store.client.info("cpu")
        self.bytes = int(memory["used_memory"]) - self._bytes_at_first
        self._cpu = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
        self._outcome.redis_bytes = max(self._outcome.redis_bytes, self.bytes)
        self._outcome.redis_cpu = self._cpu_before + self._cpu
        files = [file for file in self._server.folder.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files if "aof" in file.name)
        self._outcome.aof_bytes = max(self._outcome.aof_bytes, size)

    def say(self, share: float) -> None:
        """How far it is, for who waits."""
        if time.monotonic() - self._said >= SAY_SECONDS:
            self._said = time.monotonic()
            workers, cpu = len(self.store.workers()), self._outcome.redis_cpu
            sys.stderr.write(
                f"{share:.3f} done, {workers} workers, Redis {self.bytes / 2**20:.0f} MiB, "
                f"{cpu:.0f} CPU s\n"
            )

    def restart(self) -> None:
        """SIGKILL; then again, from its append-only file."""
        self._cpu_before += self._cpu
        start = time.monotonic()
        self._server.kill()
        time.sleep(self._outcome.options.redis_away_seconds)
        self._server.start()
        self._outcome.redis_away_seconds = time.monotonic() - start


def record_of(number: int, images: int) -> JobRecord:
    """A job's record, as the service writes them."""
    return JobRecord(
        id=f"{number:032x}",
        created_at=datetime.now(UTC),
        request=JobRequest(experiment=f"run/experiments/experiment_{number}", max_images=None),
        models=tuple(
            JobModel(
                id=f"run/experiments/experiment_{number}/cls_network{model}_focal",
                name=f"cls_network{model}_focal",
                checkpoint_sha256=f"{model:064x}",
            )
            for model in range(MODELS)
        ),
        image_count=images,
        output=f"job{number}",
        folder=JobFolder(below="output", path=f"job{number}"),
    )


def images_of(count: int) -> list[JobImage]:
    """Names as cut-out cells have them."""
    return [
        JobImage(
            path=f"crops_gt_crops/crops/test/ring/PA171{at % 90:02d}_{at:06d}.jpg",
            name=f"PA171{at % 90:02d}_{at:06d}",
            true_class="ring",
        )
        for at in range(count)
    ]


def done(store: JobStore, jobs: Sequence[str]) -> int:
    """Items that are."""
    with store.client.pipeline(transaction=False) as pipe:
        for job in jobs:
            pipe.bitcount(f"gradcam:job:{job}:succeeded")
        return sum(pipe.execute())


def count_items(store: JobStore, jobs: Sequence[str], folder: Path, outcome: Outcome) -> None:
    """By the store, and by the workers' own ledgers."""
    for job in jobs:
        state = known(store, job)
        outcome.statuses[state.status] = outcome.statuses.get(state.status, 0) + 1
        outcome.succeeded += store.item_states(job, state.record.total, ended=True).count(
            "succeeded"
        )
    _, often = np.unique(Ledger.entries(folder), return_counts=True)
    outcome.made, outcome.made_once = int(often.sum()), int((often == 1).sum())


def known(store: JobStore, job: str) -> JobState:
    """The job, which is there. Raises LookupError."""
    state = store.state(job)
    if state is None:
        raise LookupError(job)
    return state


def probe(url: str, jobs: Sequence[str], file: Path, is_over: Callable[[], bool]) -> None:
    """Ask for a job and for a page of jobs, as the service does, all the time."""
    store = JobStore(connect(url, patient=False))
    looked: dict[str, list[float]] = {"state": [], "list": []}
    failed = 0
    picks = random.Random(1)
    looks: dict[str, Callable[[], object]] = {
        "state": lambda: store.state(picks.choice(jobs)),
        "list": lambda: page(store),
    }
    while not is_over():
        for name, look in looks.items():
            start = time.perf_counter()
            try:
                look()
            except RedisError:
                failed += 1
                continue
            looked[name].append(1000 * (time.perf_counter() - start))
        time.sleep(PROBE_SECONDS)
    file.write_text(json.dumps({**looked, "failed": failed}))


def page(store: JobStore) -> object:
    """What a page of jobs needs of Redis."""
    ids, total = store.job_ids(0, LIST_LIMIT)
    return store.states(ids), total, store.workers()


def report(outcome: Outcome) -> list[str]:
    options, mib = outcome.options, 2**20
    state, listed = outcome.state_ms, outcome.list_ms
    redis = f"{outcome.redis_bytes / options.items:.0f}"
    once = "each item ended once" if outcome.exactly_once else "NOT EACH ITEM ENDED ONCE"
    return [
        f"Measured on {platform.machine()}, {os.cpu_count()} cores for all of it:",
        "",
        f"    {command_of(options)}",
        "",
        f"{options.items:,} items of {options.jobs} jobs, {options.workers} workers at "
        f"{options.seconds_per_item:g} s an item, in {outcome.seconds:.0f} s. {outcome.killed} "
        f"workers were killed, and Redis was for {outcome.redis_away_seconds:.1f} s not there: "
        f"{once}, by the store ({outcome.succeeded:,}) and by what workers made "
        f"({outcome.made:,}, {outcome.made_once:,} of them once).",
        "",
        "| what | measured |",
        "|---|---|",
        f"| workers computing, of the time between their first chunk and their last | "
        f"{held(outcome.busy, LEAST_BUSY)} |",
        f"| workers with a chunk, of the same time | {outcome.in_chunks:.3f} |",
        f"| workers computing, of all the time from the first job to the last one's end | "
        f"{outcome.of_the_whole:.3f} |",
        f"| chunks | {outcome.chunks:,} |",
        f"| giving chunks out and looking after jobs, CPU ms a chunk | "
        f"{each(outcome.coordinating_cpu + outcome.advancing_cpu, outcome):.1f} |",
        f"| all that workers do but compute, CPU ms a chunk | "
        f"{each(outcome.workers_cpu, outcome):.1f} |",
        f"| Redis, CPU ms a chunk | {each(outcome.redis_cpu, outcome):.1f} |",
        f"| Redis, cores | {outcome.redis_cpu / outcome.seconds:.2f} |",
        f"| Redis' memory at most, bytes an item | {redis} ({outcome.redis_bytes / mib:.0f} MiB) |",
        f"| Redis' memory once all had ended, bytes an item | "
        f"{outcome.redis_bytes_ended / options.items:.0f} |",
        f"| its append-only file at most, MiB | {outcome.aof_bytes / mib:.0f} |",
        f"| a job's status, ms: p50, p99 | {state[0]:.1f}, "
        f"{held(state[1], MOST_P99_MS, at_most=True)} |",
        f"| a page of {LIST_LIMIT} jobs, ms: p50, p99 | {listed[0]:.1f}, "
        f"{held(listed[1], MOST_P99_MS, at_most=True)} |",
        f"| accepting a job, ms | {1000 * outcome.accepting_seconds / options.jobs:.0f} |",
    ]


def each(seconds: float, outcome: Outcome) -> float:
    """Milliseconds a chunk."""
    return 1000 * seconds / max(1, outcome.chunks)


def held(value: float, bound: float, *, at_most: bool = False) -> str:
    """A figure beside what it is held to."""
    short = value > bound if at_most else value < bound
    sign = "<=" if at_most else ">="
    return f"{value:.{1 if at_most else 3}f} ({sign} {bound:g}{', NOT REACHED' if short else ''})"


def command_of(options: Options) -> str:
    """How to do the same again."""
    usual = {action.dest: action.default for action in parser()._actions}
    given = {name: getattr(options, name) for name in Options.__slots__}
    others = "".join(
        f" --{name.replace('_', '-')} {value:g}"
        for name, value in given.items()
        if value != usual[name]
    )
    return "make bench-cluster" if not others else f"python -m benchmarks.cluster{others}"


if __name__ == "__main__":
    main()

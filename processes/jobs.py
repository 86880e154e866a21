"""Everything that jobs need, as real processes: Redis, workers, the service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from processes.eventually import eventually
from processes.redis_server import RedisServer, running_redis
from processes.serving import Server, running
from worker.jobs.redis.job_store import JobStore, connect

_ORPHAN_SECONDS = 15.0
FINAL = {"succeeded", "partial", "failed", "canceled"}


@dataclass
class Worker:
    """One worker: a Celery parent and its child."""

    process: subprocess.Popen[bytes]
    log_file: Path

    def children(self) -> list[psutil.Process]:
        started: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return started

    def kill_child(self) -> None:
        """SIGKILL to whatever computes; the helper that tracks semaphores stays."""
        for child in psutil.Process(self.process.pid).children():
            if "semaphore_tracker" not in " ".join(child.cmdline()):
                child.kill()

    def kill_group(self) -> None:
        """SIGKILL to all of it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=120)


@dataclass
class Stack:
    """The running parts."""

    data: Path
    scratch: Path
    redis: RedisServer
    server: Server
    environment: dict[str, str]
    workers: list[Worker] = field(default_factory=list)

    @property
    def experiment(self) -> str:
        return next(self.data.glob("*/experiments/experiment_*")).relative_to(self.data).as_posix()

    @property
    def store(self) -> JobStore:
        return JobStore(connect(self.redis.url))

    def add_worker(self, *, plain: bool = False, **settings: str) -> Worker:
        """Start one by `gradcam worker`, or plainly by Celery's own command."""
        name = f"w{len(self.workers)}"
        words = (
            ["celery", "-A", "worker.app", "worker", f"--hostname={name}@%h"]
            if plain
            else ["service", "worker", "--name", name]
        )
        log_file = self.scratch / f"worker-{len(self.workers)}.log"
        variables = {f"GRADCAM_{name.upper()}": value for name, value in settings.items()}
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *words],
                stderr=log,
                stdout=log,
                env={**self.environment, **variables},
                start_new_session=True,
            )
        self.workers.append(Worker(process, log_file))
        return self.workers[-1]

    def stop_workers(self) -> None:
        """End them all; none may leave a process behind."""
        _stop(self.workers)

    def submit(self, *, key: str | None = None, **request: Any) -> dict[str, Any]:
        return self.submit_to(self.experiment, key=key, **request)

    def submit_to(
        self, experiment: str, *, key: str | None = None, **request: Any
    ) -> dict[str, Any]:
        body = {"experiment": experiment, **request}
        headers = {"Idempotency-Key": key} if key else {}
        answer = httpx.post(f"{self.server.url}/v1/jobs", json=body, headers=headers, timeout=30)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, id_: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.server.url}/v1/jobs/{id_}", timeout=30)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def wait(self, id_: str, seconds: float = 120.0, pause: float = 0.2) -> dict[str, Any]:
        """The job once it has ended, which is looked for every `pause` seconds."""

        def look() -> dict[str, Any] | None:
            job = self.job(id_)
            return job if job["status"] in FINAL else None

        return eventually(
            f"job {id_} has ended",
            look,
            seconds=seconds,
            pause=pause,
            evidence=lambda: self._evidence(id_),
        )

    def wait_for_progress(self, id_: str, items: int, seconds: float = 90.0) -> dict[str, Any]:
        """The job once so many items have succeeded."""

        def look() -> dict[str, Any] | None:
            job = self.job(id_)
            far = job["progress"]["succeeded"] >= items
            return job if far or job["status"] in FINAL else None

        return eventually(
            f"{items} items of job {id_} are done",
            look,
            seconds=seconds,
            evidence=lambda: self._evidence(id_),
        )

    def wait_until_known(self, id_: str) -> None:
        """Until the service knows the job, whose record was lost."""
        address = f"{self.server.url}/v1/jobs/{id_}"
        eventually(
            f"job {id_} is known",
            lambda: httpx.get(address).status_code != 404,
            seconds=90,
            pause=0.2,
        )

    def _evidence(self, id_: str) -> str:
        logs = [worker.log_file.read_text()[-3000:] for worker in self.workers]
        return "\n".join([str(self.job(id_)), *logs])


@contextmanager
def stack(run: Path, scratch: Path, *, images: int = 16, **settings: str) -> Iterator[Stack]:
    """Redis and the service on a copy of one bundled experiment; workers are added by the test.

    images: test crops, copies of the bundled ones.
    """
    data = scratch / "results"
    copy_experiment(run, data, images)
    with stack_on(
        data, scratch, **{"lease_seconds": "4", "chunk_seconds": "3", **settings}
    ) as made:
        yield made


@contextmanager
def stack_on(data: Path, scratch: Path, **settings: str) -> Iterator[Stack]:
    """Redis and the service on a data root; settings become GRADCAM_ variables of all of them.

    Redis goes on with what another one left in `redis` of the scratch folder.
    """
    with ExitStack() as closing:
        redis = closing.enter_context(running_redis(_made(scratch / "redis")))
        settings = {"redis_url": redis.url, **settings}
        server = closing.enter_context(running(data, scratch, **settings))
        made = Stack(data, scratch, redis, server, environment_of(data, settings))
        closing.callback(made.stop_workers)
        yield made


def environment_of(data: Path, settings: dict[str, str]) -> dict[str, str]:
    """Variables of a worker: ours, and GRADCAM_ ones of these settings alone."""
    variables = {f"GRADCAM_{name.upper()}": value for name, value in settings.items()}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    # They have to keep up with whatever else runs, tests side by side for one.
    own = {"OMP_NUM_THREADS": "1", "GRADCAM_DATA": str(data), "GRADCAM_NICENESS": "0"}
    return {**inherited, **own, **variables}


def _stop(workers: list[Worker]) -> None:
    """End them all; none may leave a process behind."""
    for worker in workers:
        worker.stop()
    sessions = {worker.process.pid for worker in workers}
    eventually(
        "no process of a worker is left",
        lambda: not _of_sessions(sessions),
        seconds=_ORPHAN_SECONDS,
        evidence=lambda: _of_sessions(sessions),
    )


def _of_sessions(sessions: set[int]) -> list[psutil.Process]:
    """Living processes of these sessions; each worker began one of its own."""
    processes = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getsid(process.pid) in sessions:
                processes.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return processes


def copy_experiment(run: Path, data: Path, images: int) -> Path:
    """One experiment of the bundled run below a data root, with so many test crops."""
    source = sorted(run.glob("experiments/experiment_*"))[0]
    target = data / run.name / "experiments" / source.name
    for folder in sorted(source.glob("cls_*")):
        shutil.copytree(folder, target / folder.name)
    crops = sorted((source / "crops_gt_crops/crops/test").glob("*/*.jpg"))
    for number in range(images):
        crop = crops[number % len(crops)]
        copy = target / "crops_gt_crops/crops/test" / crop.parent.name / f"{number:04d}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(crop, copy)
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder

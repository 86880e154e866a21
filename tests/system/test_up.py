"""`gradcam up`: one command, three children, and none of them left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from processes.eventually import eventually, eventually_answers
from processes.jobs import copy_experiment
from processes.redis_server import free_port

pytestmark = pytest.mark.system


@dataclass
class Up:
    """The running command."""

    process: subprocess.Popen[bytes]
    url: str
    data: Path

    def children(self) -> dict[str, psutil.Process]:
        """By what they are."""
        kinds = {
            "redis-server": "redis",
            "service worker": "worker",
            "celeryd": "worker",  # as Celery calls itself where setproctitle is installed
            "service serve": "service",
        }
        return {
            kind: child
            for child in psutil.Process(self.process.pid).children()
            if child.status() != psutil.STATUS_ZOMBIE
            for words, kind in kinds.items()
            if words in " ".join(child.cmdline())
        }


@pytest.fixture
def up(sample_run: Path, tmp_path: Path) -> Iterator[Up]:
    data = tmp_path / "results"
    copy_experiment(sample_run, data, 6)
    port = free_port()
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    command = [sys.executable, "-m", "service", "up", "--data", str(data), "--port", str(port)]
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--state", str(tmp_path / "state")],
            env={**inherited, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
    started = Up(process, f"http://127.0.0.1:{port}", data)
    try:
        _wait_until_ready(started)
        yield started
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)


def test_everything_starts_works_restarts_and_ends(up: Up) -> None:
    experiment = next(up.data.glob("*/experiments/*")).relative_to(up.data).as_posix()
    submit = [sys.executable, "-m", "service", "jobs", "submit", experiment]
    done = subprocess.run(
        [*submit, "--all", "--models", "focal", "--watch", "--url", up.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "succeeded: 6 succeeded" in done.stdout
    before = up.children()
    assert set(before) == {"redis", "worker", "service"}
    for kind in ("service", "redis", "worker"):
        before[kind].kill()
    gone = {child.pid for child in before.values()}
    eventually(
        "others are in their places",
        lambda: {k for k, child in up.children().items() if child.pid not in gone} == set(before),
        seconds=60,
    )
    assert members(gone) == []  # what they had started themselves
    _wait_until_ready(up)
    listed = httpx.get(f"{up.url}/v1/jobs", timeout=30).json()["jobs"]
    assert [job["status"] for job in listed] == ["succeeded"]
    everybody = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=120) == 0
    _, alive = psutil.wait_procs(everybody, timeout=10)
    assert alive == []


def test_a_second_one_is_refused_and_the_first_goes_on(up: Up) -> None:
    before = {kind: child.pid for kind, child in up.children().items()}
    command = [sys.executable, "-m", "service", "up", "--data", str(up.data)]
    words = ["--port", str(free_port()), "--state", str(up.data.parent / "state")]
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "another `gradcam up` runs on this data root" in done.stderr
    assert {kind: child.pid for kind, child in up.children().items()} == before


def members(groups: set[int]) -> list[int]:
    """Processes that live in one of these process groups."""
    living = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getpgid(process.pid) in groups:
                living.append(process.pid)
    return living


def _wait_until_ready(up: Up) -> None:
    eventually_answers(f"{up.url}/readyz", up.process, seconds=90)

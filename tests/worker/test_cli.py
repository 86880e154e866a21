"""`gradcam worker`: its words, and a real worker that begins and ends."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from processes.eventually import eventually
from processes.redis_server import RedisServer
from worker.cli import add_commands, worker_command
from worker.jobs.redis.job_store import JobStore


def read(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    return parser.parse_args(["worker", *words])


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GRADCAM_")}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def test_what_is_not_said_is_left_to_the_environment() -> None:
    told = vars(read())
    assert told.pop("command") is worker_command
    assert told == dict.fromkeys(("data", "redis_url", "device", "name", "log_format"))
    assert read("--data", "there").data == Path("there")


@pytest.mark.parametrize("words", [["--log-format", "xml"], ["--queue", "x"], ["more"]])
def test_other_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*words)
    assert ended.value.code == 2


@contextmanager
def running_worker(log: Path, *words: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [sys.executable, "-m", "service", "worker", *words],
            stdout=written,
            stderr=written,
            env=environment(**settings),
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_worker_is_there_under_its_name_until_it_is_told_to_stop(
    store: JobStore, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Its words overrule the environment, which has a Redis that is not there."""
    log = tmp_path / "worker.log"
    words = ["--data", str(tmp_path), "--redis-url", redis_server.url, "--device", "cpu"]
    settings = {"GRADCAM_REDIS_URL": "redis://127.0.0.1:9/0", "TMPDIR": str(tmp_path)}
    started = running_worker(log, *words, "--name", "left", "--log-format", "console", **settings)
    with started as process:
        eventually(
            "the worker is up",
            lambda: store.workers() == [f"left@{os.uname().nodename}"],
            seconds=120,
            evidence=log.read_text,
        )
        told = {
            (child.environ().get("GRADCAM_REDIS_URL"), child.environ().get("GRADCAM_DEVICE"))
            for child in psutil.Process(process.pid).children()
        }
        assert told == {(redis_server.url, "cpu")}
        process.terminate()
        assert process.wait(timeout=120) == 0, log.read_text()
    assert store.workers() == []


def test_without_a_redis_one_line_says_so(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service", "worker", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert ended.returncode == 2
    assert ended.stderr == "error [invalid-option]: jobs need a Redis: set GRADCAM_REDIS_URL\n"

"""A worker's process: its parts, how Celery runs it, and how its child learns of the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cam_engine.errors import InvalidOption
from processes.redis_server import RedisServer
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings
from worker.process import create_app, parts
from worker.settings import WorkerSettings

CODE = """
import os
from pathlib import Path
from celery.signals import worker_shutdown, worker_shutting_down
from worker.process import create_app
app = create_app()
file = Path(os.environ["GRADCAM_WORKER_STOP_FILE"])
print(app.conf.worker_concurrency, app.conf.worker_prefetch_multiplier)
print(app.conf.worker_pool_start_method, "worker.tasks" in app.conf.include)
print(file.exists())
worker_shutting_down.send(sender="x")
print(file.exists())
worker_shutdown.send(sender="x")
print(file.exists())
"""


def test_without_a_redis_there_are_no_jobs(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="GRADCAM_REDIS_URL"):
        parts(JobSettings(data=tmp_path))
    with pytest.raises(InvalidOption, match="GRADCAM_REDIS_URL"):
        create_app(WorkerSettings(data=tmp_path))


def test_the_parts_are_those_of_the_settings(
    store: JobStore, redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = JobSettings(data=tmp_path, redis_url=redis_server.url, redis_prefix="ours")
    own, _, places = parts(settings)
    own.beat("w1")
    assert store.client.exists("ours:workers")
    assert own.workers() == ["w1"]
    assert store.workers() == []  # of another prefix
    assert places.root.root == tmp_path


def test_a_worker_has_one_child_and_tells_it_to_stop_by_a_file(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "GRADCAM_REDIS_URL": redis_server.url,
        "GRADCAM_DATA": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    ended = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment
    )
    assert ended.stdout.splitlines() == ["1 1", "spawn True", "False", "True", "False"]


def test_the_child_lets_others_have_the_cores_first(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    said = (
        "import os; from worker.process import make_runner; make_runner(); "
        "print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    environment = {
        **os.environ,
        "GRADCAM_REDIS_URL": redis_server.url,
        "GRADCAM_DATA": str(tmp_path),
        "GRADCAM_WORKER_STOP_FILE": str(tmp_path / "stop"),
        "GRADCAM_NICENESS": "3",
    }
    ended = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, check=True, env=environment
    )
    assert int(ended.stdout.split()[-1]) == max(3, os.getpriority(os.PRIO_PROCESS, 0))


def test_the_parent_imports_no_torch() -> None:
    said = "import sys, worker.process, worker.tasks; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", said], check=True, capture_output=True, text=True, timeout=120
    )
    assert answer.stdout.split() == ["False"]

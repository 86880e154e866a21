"""A worker's processes: the parent coordinates and notices SIGTERM, its child does the chunks."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery
from celery.signals import setup_logging, worker_ready, worker_shutdown, worker_shutting_down
from redis.exceptions import RedisError

from cam_engine.errors import InvalidOption
from cam_engine.process.memory import reuse_large_blocks, settle
from cam_engine.process.threads import (
    keep_opencv_to_its_thread,
    let_others_first,
    share_cores_with_pictures,
)
from worker.jobs import logs
from worker.jobs.coordination.coordinator import Coordinator
from worker.jobs.coordination.queue import HARD_LIMIT_SECONDS, ChunkQueue, make_celery
from worker.jobs.coordination.webhooks import Webhooks
from worker.jobs.outputs.places import Places
from worker.jobs.redis.job_store import JobStore, connect
from worker.jobs.settings import JobSettings
from worker.settings import WorkerSettings

if TYPE_CHECKING:
    from worker.chunks import ChunkRunner

_log = structlog.get_logger(__name__)

_ROUND_SECONDS = 2.0
_CHILD_START_SECONDS = 300.0
# The child, a process of its own, looks for this file to learn that its parent was told to stop.
_STOP_FILE = "GRADCAM_WORKER_STOP_FILE"


def create_app(settings: WorkerSettings | None = None) -> Celery:
    """The Celery application of a worker. Raises InvalidOption without a Redis."""
    settings = settings or WorkerSettings()
    app = make_celery(_redis_url(settings))
    app.conf.update(
        include=["worker.tasks"],
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        # CUDA cannot be used in a forked child.
        worker_pool_start_method="spawn",
        # Importing torch takes longer than the few seconds that a child is given by default.
        worker_proc_alive_timeout=_CHILD_START_SECONDS,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_soft_time_limit=HARD_LIMIT_SECONDS - 60,
        worker_redirect_stdouts=False,
        worker_send_task_events=True,  # for Flower
    )
    logs.configure(settings)
    setup_logging.connect(lambda **_more: None, weak=False)  # then Celery leaves logging alone
    file = Path(tempfile.gettempdir()) / f"gradcam-stop-{uuid.uuid4().hex}"
    os.environ.setdefault(_STOP_FILE, str(file))
    _coordinate_while_running(settings)
    return app


def make_runner() -> ChunkRunner:
    """The child's runner, with settings from the environment, which it has from its parent."""
    settings = WorkerSettings()
    let_others_first(settings.niceness)  # threads have it from the one that starts them
    reuse_large_blocks()  # before torch is imported, as is what follows
    share_cores_with_pictures()
    keep_opencv_to_its_thread()
    from worker.chunks import ChunkRunner  # noqa: PLC0415 (imports torch)

    settle()
    logs.configure(settings)
    store, coordinator, places = parts(settings)
    name = f"{os.uname().nodename}:{os.getpid()}"
    stop_file = Path(os.environ[_STOP_FILE])
    return ChunkRunner(settings, store, places, coordinator, name, stop_file.exists)


def parts(settings: JobSettings) -> tuple[JobStore, Coordinator, Places]:
    """What works with jobs in a process. Raises InvalidOption without a Redis."""
    url = _redis_url(settings)
    store = JobStore(connect(url), settings.redis_prefix)
    places = Places(settings)
    return store, Coordinator(settings, store, ChunkQueue(make_celery(url)), places), places


def _redis_url(settings: JobSettings) -> str:
    if settings.redis_url is None:
        raise InvalidOption("jobs need a Redis: set GRADCAM_REDIS_URL")
    return settings.redis_url


def _coordinate_while_running(settings: WorkerSettings) -> None:
    """In the parent: rounds from its start to its end; a file for the child once it is to stop."""
    ended = threading.Event()

    def begin(sender: Any, **_more: object) -> None:
        thread = threading.Thread(
            target=coordinate, args=(settings, sender.hostname, ended), daemon=True
        )
        thread.start()

    def stop(**_more: object) -> None:
        Path(os.environ[_STOP_FILE]).touch()
        ended.set()

    def clean_up(**_more: object) -> None:
        Path(os.environ[_STOP_FILE]).unlink(missing_ok=True)

    worker_ready.connect(begin, weak=False)
    worker_shutting_down.connect(stop, weak=False)
    worker_shutdown.connect(clean_up, weak=False)


def coordinate(settings: JobSettings, name: str, ended: threading.Event) -> None:
    """Say that the worker is alive, and keep jobs moving, until it has ended."""
    store, coordinator, _ = parts(settings)
    webhooks = threading.Thread(target=_deliver, args=(settings, store, ended), daemon=True)
    webhooks.start()
    while not ended.is_set():
        try:
            store.beat(name)
            coordinator.round_in_turn()
        except RedisError as error:
            _log.warning("Redis does not answer", reason=str(error))
        except Exception:
            _log.exception("a round failed")
        ended.wait(_ROUND_SECONDS)
    webhooks.join(timeout=_ROUND_SECONDS)
    try:
        store.leave(name)
    except RedisError:
        return


def _deliver(settings: JobSettings, store: JobStore, ended: threading.Event) -> None:
    """Webhooks have a thread of their own: one that hangs must not hold jobs up."""
    webhooks = Webhooks(settings, store)
    while not ended.wait(_ROUND_SECONDS):
        try:
            webhooks.deliver_due()
        except Exception:
            _log.exception("webhooks failed")

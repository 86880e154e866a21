"""The one place that speaks to Celery as a sender: messages that name a chunk."""

from __future__ import annotations

from urllib.parse import urlsplit

from celery import Celery
from kombu.exceptions import ChannelError, OperationalError

from worker.jobs.contract import Chunk

CHUNK_TASK = "gradcam.chunk"
CHUNKS = "gradcam-chunks"
HARD_LIMIT_SECONDS = 3600


def make_celery(redis_url: str) -> Celery:
    """A Celery application on the broker, with what both its ends must agree on."""
    app = Celery("gradcam", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=HARD_LIMIT_SECONDS,
        task_default_queue=CHUNKS,
        task_create_missing_queues=True,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            # Above the time limit: a message is not handed out anew while its task may run.
            "visibility_timeout": 2 * HARD_LIMIT_SECONDS,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "health_check_interval": 5,
            "socket_keepalive": True,
        },
    )
    return app


def broker_url(redis_url: str) -> str:
    """A redis-py address as Celery's transport writes it: unix:///path is redis+socket:///path."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    return f"redis+socket://{parts.path}" + (f"?{parts.query}" if parts.query else "")


class ChunkQueue:
    """Sends chunks to whichever worker is free."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, chunk: Chunk) -> bool:
        """Put the chunk's name into the queue; False where the broker does not answer."""
        try:
            self._app.send_task(CHUNK_TASK, args=[chunk.model_dump(mode="json")], retry=False)
        except OperationalError:
            return False
        return True

    def is_empty(self) -> bool:
        """Whether no message waits for a worker; False where the broker does not answer."""
        try:
            with self._app.connection_or_acquire() as connection:
                declared = connection.default_channel.queue_declare(CHUNKS, passive=True)
        except ChannelError:  # Redis keeps no empty lists: a queue without messages is not there
            return True
        except OperationalError:
            return False
        return bool(declared.message_count == 0)

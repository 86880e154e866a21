"""Tells the address that a job names how it ended: signed, tried again, never in the job's way.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import structlog
from standardwebhooks import Webhook

from cam_engine.errors import InvalidOption
from worker.jobs.contract import JobState
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings

_log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 10.0
_MOST_ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 5.0
_PAUSE_FACTOR = 4.0
_LOCK_SECONDS = 60
_AT_ONCE = 8
_HIGHEST_PORT = 65535


class Webhooks:
    """Delivers what is due; any process of the service or of a worker may do it.

    Raises InvalidOption for a secret that cannot sign.
    """

    def __init__(self, settings: JobSettings, store: JobStore) -> None:
        self._hosts = frozenset(host.lower() for host in settings.webhook_hosts)
        self._signer = _signer(settings)
        self._store = store

    def refusal(self, address: str) -> str | None:
        """Why no messages may go to the address; None where they may."""
        if self._signer is None:
            return "webhooks are off here: GRADCAM_WEBHOOK_SECRET, which signs them, is not set"
        try:
            url = httpx.URL(address)
        except httpx.InvalidURL as error:
            return f"not an address: {error}"
        if url.port is not None and url.port > _HIGHEST_PORT:
            return f"not an address: port {url.port}"
        named = {url.host, f"{url.host}:{url.port}"}
        if url.userinfo or not self._hosts & named:
            return "webhooks may not go to this host; GRADCAM_WEBHOOK_HOSTS lists those that may"
        return None

    def deliver_due(self) -> None:
        """Send what is due, side by side; what fails comes again, ever later, eight times."""
        due = self._store.due_webhooks()
        if due:
            with ThreadPoolExecutor(min(len(due), _AT_ONCE)) as pool:
                list(pool.map(self._attempt, *zip(*due, strict=True)))

    def _attempt(self, job: str, attempt: int) -> None:
        with self._store.only_one(f"webhook:{job}", _LOCK_SECONDS) as mine:
            if not mine:
                return
            state = self._store.state(job)
            # A job that runs again has a message of its own at its next end.
            if state is None or not state.finished or self._delivered(state):
                self._store.drop_webhook(job)
            elif attempt >= _MOST_ATTEMPTS:
                _log.error("webhook given up", job=job, attempts=attempt)
                self._store.drop_webhook(job)
            else:
                pause = _FIRST_PAUSE_SECONDS * _PAUSE_FACTOR ** (attempt - 1)
                self._store.plan_webhook(job, pause, attempt + 1)

    def _delivered(self, state: JobState) -> bool:
        address = state.record.request.webhook
        if address is None or self._signer is None or self.refusal(address) is not None:
            return True
        body = message(state)
        now = datetime.now(UTC)
        id_ = message_id(state)
        headers = {
            "content-type": "application/json",
            "webhook-id": id_,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(id_, now, body),
        }
        try:
            # Only the status counts: an answer without end is not read.
            with httpx.stream(
                "POST", address, content=body, headers=headers, timeout=_TIMEOUT_SECONDS
            ) as answer:
                taken, status = answer.is_success, answer.status_code
        except httpx.HTTPError as error:
            _log.warning("webhook not delivered", job=state.record.id, reason=str(error))
            return False
        if not taken:
            _log.warning("webhook refused", job=state.record.id, status=status)
        return taken


def _signer(settings: JobSettings) -> Webhook | None:
    if settings.webhook_secret is None:
        return None
    try:
        return Webhook(settings.webhook_secret.get_secret_value())
    except (ValueError, RuntimeError) as error:
        raise InvalidOption(
            f"GRADCAM_WEBHOOK_SECRET is no key (whsec_ and base64): {error}"
        ) from error


def message_id(state: JobState) -> str:
    """The same over attempts, another for each end of a job that was run again."""
    ended = state.finished_at
    return f"job_{state.record.id}" + (f"_{ended.timestamp() * 1000:.0f}" if ended else "")


def message(state: JobState) -> str:
    """The body: what ended, how, and when."""
    ended = state.finished_at or datetime.now(UTC)
    data = {
        "id": state.record.id,
        "status": state.status,
        "experiment": state.record.request.experiment,
        "progress": state.progress.model_dump(),
    }
    return json.dumps({"type": "job.ended", "timestamp": ended.isoformat(), "data": data})

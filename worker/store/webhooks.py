"""Tells the address that a job names how it ended: signed, tried again, never in the job's way.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import structlog
from standardwebhooks import Webhook

from worker.contract import JobState
from worker.store.records import JobStore
from worker.store.settings import JobSettings

_log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 10.0
_MOST_ATTEMPTS = 8
_FIRST_PAUSE_SECONDS = 5.0
_PAUSE_FACTOR = 4.0
_LOCK_SECONDS = 60


class Webhooks:
    """Delivers what is due; any process of the service or of a worker may do it."""

    def __init__(self, settings: JobSettings, store: JobStore) -> None:
        self._hosts = frozenset(settings.webhook_hosts)
        self._secret = settings.webhook_secret
        self._store = store

    def allowed(self, address: str) -> bool:
        """Whether messages may go to the address: its host, or host:port, is on the list."""
        parts = urlsplit(address)
        return bool(self._hosts & {parts.hostname, parts.netloc})

    def deliver_due(self) -> None:
        """Send what is due; what fails comes again, ever later, eight times in all."""
        for job, attempt in self._store.due_webhooks():
            with self._store.only_one(f"webhook:{job}", _LOCK_SECONDS) as mine:
                state = self._store.state(job) if mine else None
                if not mine:
                    continue
                if state is None or self._delivered(state) or attempt >= _MOST_ATTEMPTS:
                    self._store.drop_webhook(job)
                else:
                    pause = _FIRST_PAUSE_SECONDS * _PAUSE_FACTOR ** (attempt - 1)
                    self._store.plan_webhook(job, pause, attempt + 1)

    def _delivered(self, state: JobState) -> bool:
        address = state.record.request.webhook
        if address is None or not self.allowed(address):
            return True
        body = message(state)
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": f"job_{state.record.id}",
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._secret is not None:
            signer = Webhook(self._secret.get_secret_value())
            headers["webhook-signature"] = signer.sign(headers["webhook-id"], now, body)
        try:
            answer = httpx.post(address, content=body, headers=headers, timeout=_TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            _log.warning("webhook not delivered", job=state.record.id, reason=str(error))
            return False
        if not answer.is_success:
            _log.warning("webhook refused", job=state.record.id, status=answer.status_code)
        return answer.is_success


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

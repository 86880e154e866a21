"""The example receiver, run as its docstring says, takes what a job's end really sends."""

from __future__ import annotations

import base64
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from processes.eventually import eventually_answers
from processes.redis_server import free_port
from worker.jobs.contract import JobImage, JobModel, JobRecord, JobRequest
from worker.jobs.coordination.webhooks import Webhooks
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
SECRET = f"whsec_{base64.b64encode(bytes(range(24))).decode()}"
JOB = "1" * 32
BODY = '{"type": "job.ended", "data": {"id": "j9", "status": "succeeded"}}'


@dataclass
class Example:
    """The running example: where it listens, and what it has done."""

    address: str
    database: Path

    def jobs(self) -> list[tuple[str, str]]:
        if not self.database.exists():
            return []
        database = sqlite3.connect(self.database)
        try:
            return database.execute("SELECT id, status FROM jobs ORDER BY id").fetchall()
        finally:
            database.close()

    def post(self, body: str, *, id_: str = "m1", secret: str = SECRET, age: int = 0) -> int:
        sent = datetime.now(UTC) - timedelta(seconds=age)
        headers = {
            "webhook-id": id_,
            "webhook-timestamp": str(int(sent.timestamp())),
            "webhook-signature": Webhook(secret).sign(id_, sent, body),
        }
        return httpx.post(self.address, content=body, headers=headers).status_code


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    port, database = free_port(), tmp_path / "webhooks.sqlite"
    command = ["uvicorn", "--app-dir", str(EXAMPLES), "webhook_receiver:app", "--port", str(port)]
    settings = {"GRADCAM_WEBHOOK_SECRET": SECRET, "DATABASE": str(database)}
    process = subprocess.Popen([sys.executable, "-m", *command], env={**os.environ, **settings})
    try:
        eventually_answers(f"http://127.0.0.1:{port}/docs", process)
        yield Example(f"http://127.0.0.1:{port}/ended", database)
    finally:
        process.terminate()
        process.wait(timeout=20)


def ended(store: JobStore, address: str) -> None:
    """A job that has failed, and says so to the address."""
    record = JobRecord(
        id=JOB,
        created_at=datetime.now(UTC),
        request=JobRequest(experiment="experiment_x", webhook=address),
        models=(JobModel(id="experiment_x/cls_0", name="cls_0", checkpoint_sha256="0" * 64),),
        image_count=1,
        output="experiment_x/gradcam_visualizations",
    )
    assert store.create(record, [JobImage(path="a.jpg", name="a", true_class=None)])
    assert store.end(JOB, "failed", None, datetime.now(UTC) + timedelta(days=1))


def test_a_jobs_end_is_taken_once_however_often_it_comes(store: JobStore, example: Example) -> None:
    settings = JobSettings(webhook_hosts=("127.0.0.1",), webhook_secret=SecretStr(SECRET))
    webhooks = Webhooks(settings, store)
    ended(store, example.address)
    for attempt in (1, 2):
        store.plan_webhook(JOB, 0.0, attempt)
        webhooks.deliver_due()
        assert store.client.zcard("gradcam:webhooks") == 0  # taken: it does not come again
    assert example.jobs() == [(JOB, "failed")]


def test_what_the_secret_did_not_sign_just_now_is_refused(example: Example) -> None:
    other = f"whsec_{base64.b64encode(bytes(24)).decode()}"
    assert example.post(BODY, secret=other) == 400
    assert example.post(BODY, age=3600) == 400
    unsigned = {"webhook-id": "m1", "webhook-timestamp": "x", "webhook-signature": "nothing"}
    assert httpx.post(example.address, content=BODY, headers=unsigned).status_code == 400
    assert httpx.post(example.address, content=b"\xff", headers=unsigned).status_code == 400
    assert example.jobs() == []
    assert example.post(BODY) == 204
    assert example.post(BODY, id_="m2") == 204
    assert example.jobs() == [("j9", "succeeded"), ("j9", "succeeded")]

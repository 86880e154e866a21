"""Webhooks to a real receiver: signed, tried again, given up, never led elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from cam_engine.errors import InvalidOption
from processes.eventually import eventually
from processes.redis_server import free_port
from tests.webhook_receiver import SECRET, Receiver, receiving
from worker.jobs.contract import JobImage, JobModel, JobRecord, JobRequest
from worker.jobs.coordination.webhooks import Webhooks, message_id
from worker.jobs.redis.job_store import JobStore
from worker.jobs.settings import JobSettings

JOB, OTHER = "1" * 32, "2" * 32
PAUSES = [5, 20, 80, 320, 1280, 5120, 20480]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver()) as started:
        yield started


def webhooks(store: JobStore, *hosts: str, secret: str | None = SECRET) -> Webhooks:
    signed = None if secret is None else SecretStr(secret)
    hosts = hosts or ("127.0.0.1",)
    return Webhooks(JobSettings(webhook_hosts=hosts, webhook_secret=signed), store)


def ended(store: JobStore, address: str, job: str = JOB) -> None:
    """A job that has ended, its webhook due."""
    record = JobRecord(
        id=job,
        created_at=datetime.now(UTC),
        request=JobRequest(experiment="experiment_x", webhook=address),
        models=(JobModel(id="e/cls_0", name="cls_0", checkpoint_sha256="0" * 64),),
        image_count=1,
        output="e/gradcam_visualizations",
    )
    assert store.create(record, [JobImage(path="a.jpg", name="a", true_class=None)])
    end(store, job)


def end(store: JobStore, job: str = JOB) -> None:
    assert store.end(job, "failed", None, datetime.now(UTC) + timedelta(days=1), webhook=True)


def pause(store: JobStore, job: str = JOB) -> float | None:
    """Seconds until the next attempt; None where there is none."""
    due = store.client.zscore("gradcam:webhooks", job)
    return None if due is None else due - time.time()


def assert_tried_ever_later(store: JobStore) -> None:
    """All attempts, the pauses cut short; after the last there is none."""
    for expected in PAUSES:
        webhooks(store).deliver_due()
        assert pause(store) == pytest.approx(expected, abs=2)
        assert store.due_webhooks() == []
        store.client.zadd("gradcam:webhooks", {JOB: 0.0})  # the pause is over
    webhooks(store).deliver_due()
    assert pause(store) is None


def test_a_message_is_signed_and_sent_once(store: JobStore, receiver: Receiver) -> None:
    ended(store, receiver.address)
    webhooks(store).deliver_due()
    webhooks(store).deliver_due()
    ((headers, body),) = receiver.received
    said = Webhook(SECRET).verify(body, headers)
    assert said["type"] == "job.ended"
    assert (said["data"]["id"], said["data"]["status"]) == (JOB, "failed")
    with pytest.raises(Exception, match="signature"):
        Webhook(SECRET).verify(body.replace("failed", "succeeded"), headers)


def test_refusals_are_tried_again_under_one_id(store: JobStore, receiver: Receiver) -> None:
    receiver.status = 500
    ended(store, receiver.address)
    assert_tried_ever_later(store)
    assert len(receiver.received) == len(PAUSES) + 1
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1


def test_nobody_there_is_tried_again(store: JobStore) -> None:
    ended(store, f"http://127.0.0.1:{free_port()}/")
    assert_tried_ever_later(store)


def test_each_end_of_a_job_has_its_own_id(store: JobStore, receiver: Receiver) -> None:
    ended(store, receiver.address)
    webhooks(store).deliver_due()
    assert store.retry(JOB)
    store.plan_webhook(JOB, 0.0, 2)  # left over of the first end
    webhooks(store).deliver_due()
    assert len(receiver.received) == 1
    end(store)
    webhooks(store).deliver_due()
    first, second = (headers["webhook-id"] for headers, _ in receiver.received)
    assert first != second


def test_a_job_that_runs_again_has_its_own_name_alone(store: JobStore) -> None:
    ended(store, "https://portal.example")
    state = store.state(JOB)
    assert state is not None
    assert state.finished_at is not None
    milliseconds = round(state.finished_at.timestamp() * 1000)
    assert message_id(state) == f"job_{JOB}_{milliseconds}"
    assert store.retry(JOB)
    running = store.state(JOB)
    assert running is not None
    assert message_id(running) == f"job_{JOB}"


def test_redirects_are_not_followed(store: JobStore, receiver: Receiver) -> None:
    with receiving(Receiver()) as elsewhere:
        receiver.location = elsewhere.address
        for status in (302, 307):
            receiver.status = status
            ended(store, receiver.address, f"{status:032d}")
            webhooks(store).deliver_due()
            assert pause(store, f"{status:032d}") is not None
        assert elsewhere.received == []
    assert len(receiver.received) == 2


def test_who_is_not_on_the_list_is_never_contacted(store: JobStore, receiver: Receiver) -> None:
    ended(store, receiver.address)  # allowed when it was submitted, not any more
    webhooks(store, "example.org").deliver_due()
    assert receiver.received == []
    assert pause(store) is None


def test_one_that_hangs_does_not_hold_others_up(store: JobStore, receiver: Receiver) -> None:
    with receiving(Receiver(hang=threading.Event())) as hanging:
        for number in range(3):
            ended(store, hanging.address, f"{number:032d}")
        ended(store, receiver.address)
        thread = threading.Thread(target=webhooks(store).deliver_due)
        thread.start()
        eventually("the other message comes", lambda: receiver.received)
        assert thread.is_alive()
        assert json.loads(receiver.received[0][1])["data"]["id"] == JOB
        assert hanging.hang is not None
        hanging.hang.set()
        thread.join()


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1.example.org/",
        "http://example.org@evil.example/",
        "http://evil.example\\@example.org/",
        "http://user@example.org/",
        "http://[::1",
        "http://example.org:99999999/",
        "http://evil.example#example.org",
    ],
)
def test_addresses_that_only_look_allowed(store: JobStore, address: str) -> None:
    assert webhooks(store, "example.org").refusal(address) is not None


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        ("example.org", "https://EXAMPLE.org/x"),
        ("Example.org", "https://example.org:8443/x"),
        ("example.org:8443", "https://example.org:8443/x"),
    ],
)
def test_hosts_on_the_list(store: JobStore, hosts: str, address: str) -> None:
    assert webhooks(store, hosts).refusal(address) is None
    unsigned = webhooks(store, hosts, secret=None).refusal(address)
    assert unsigned is not None
    assert "GRADCAM_WEBHOOK_SECRET" in unsigned


def test_a_secret_that_cannot_sign_is_said_at_once(store: JobStore) -> None:
    damaged = SECRET[:7]
    with pytest.raises(InvalidOption, match="GRADCAM_WEBHOOK_SECRET"):
        webhooks(store, secret=damaged)

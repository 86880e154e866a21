"""Probes and metrics, of a service in this process before and while it is ready."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from processes.eventually import eventually
from service.app import create_app
from service.settings import Settings

URL = "http://localhost"


def app_of(data: Path, **settings: str) -> FastAPI:
    return create_app(Settings.model_validate({"data": data, **settings}))


def test_what_is_waited_for_is_named_until_it_is_there(sample_run: Path) -> None:
    app = app_of(sample_run)
    readiness = app.state.components.readiness
    client = TestClient(app, URL)  # not started: nothing is loaded
    readiness.waiting = {"run/x/cls_b", "default"}
    readiness.failed = {"run/x/cls_a": "its file is damaged"}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    body = answer.json()
    assert body["code"] == "warming-up"
    assert body["detail"] == (
        "run/x/cls_a cannot be used: its file is damaged; default is being loaded; "
        "run/x/cls_b is being loaded"
    )
    assert client.get("/healthz").json() == {"status": "ok"}
    readiness.waiting, readiness.failed = set(), {}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_process_that_is_to_end_is_not_ready_any_more(sample_run: Path) -> None:
    app = app_of(sample_run)
    client = TestClient(app, URL)
    app.state.components.readiness.waiting = set()
    assert client.get("/readyz").status_code == 200
    app.state.components.admission.draining = True
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting-down")
    assert answer.headers["Retry-After"] == "1"
    assert client.get("/healthz").status_code == 200


def test_a_service_gets_ready_by_itself(sample_run: Path) -> None:
    with TestClient(app_of(sample_run), URL) as client:
        eventually("it is ready", lambda: client.get("/readyz").status_code == 200)


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("gck_of-ann", 200)])
def test_metrics_are_for_callers_and_probes_for_everybody(
    sample_run: Path, key: str | None, status: int
) -> None:
    client = TestClient(app_of(sample_run, api_keys="gck_of-ann"), URL)
    headers = {"X-API-Key": key} if key else {}
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == status
    assert client.get("/healthz").status_code == 200
    if status == 200:
        assert answer.headers["content-type"].startswith("text/plain")
        assert "gradcam_http_requests_total" in answer.text

"""The application: errors as answers, whatever raised them, and methods that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from cam_engine.errors import ImageNotFound
from service.app import create_app
from service.http.problems import ServiceError
from service.settings import Settings
from tests.service.asking import as_client


@pytest.fixture(scope="module")
def app_client(sample_run: Path) -> httpx.Client:
    """An application with two routes more, not started."""
    app = create_app(Settings(data=sample_run))

    @app.get("/raises/{what}")
    def raises(what: str, number: int = 0) -> None:
        if what == "engine":
            raise ImageNotFound(f"no image in {sample_run}/x")
        raise ServiceError("queue-full", f"busy {number}", {"Retry-After": "1"})

    @app.post("/raises/{what}")
    def posted(what: str) -> str:
        return what

    return as_client(TestClient(app, "http://localhost", raise_server_exceptions=False))


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def test_an_error_of_the_service_is_its_answer(app_client: httpx.Client) -> None:
    answer = app_client.get("/raises/service?number=7")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    body = problem(answer)
    assert (body["code"], body["detail"], body["instance"]) == (
        "queue-full",
        "busy 7",
        "/raises/service",
    )


def test_an_error_of_the_engine_says_nothing_of_where_the_root_is(app_client: httpx.Client) -> None:
    body = problem(app_client.get("/raises/engine"))
    assert (body["code"], body["detail"]) == ("image-not-found", "no image in x")


def test_a_wrong_parameter_is_named_without_where_it_stood(app_client: httpx.Client) -> None:
    body = problem(app_client.get("/raises/service?number=many"))
    assert body["code"] == "invalid-request"
    assert [error["field"] for error in body["errors"]] == ["number"]


@pytest.mark.parametrize("path", ["/nowhere", "/v1/nothing", "/raises"])
def test_where_there_is_nothing_it_is_said(app_client: httpx.Client, path: str) -> None:
    answer = app_client.get(path)
    assert answer.status_code == 404
    assert problem(answer)["code"] == "not-found"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/healthz", "GET, HEAD"),
        ("/raises/x", "GET, HEAD, POST"),  # of two routes
        ("/v1/job-plans", "POST"),
    ],
)
def test_other_methods_than_there_are_are_refused_with_those(
    app_client: httpx.Client, path: str, allowed: str
) -> None:
    answer = app_client.request("PATCH", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert problem(answer)["code"] == "method-not-allowed"


def test_other_origins_may_read_the_headers_that_pages_need(sample_run: Path) -> None:
    origin = "https://lab.example"
    app = create_app(Settings.model_validate({"data": sample_run, "cors_origins": origin}))
    client = TestClient(app, "http://localhost")
    answer = client.get("/healthz", headers={"Origin": origin})
    exposed = answer.headers["access-control-expose-headers"]
    for name in ("X-Request-ID", "X-Gradcam-Notices", "X-Gradcam-Prediction", "Retry-After"):
        assert name in exposed
    asked = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
    preflight = client.options("/v1/jobs/x", headers=asked)
    assert preflight.status_code == 200
    assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]

"""The OpenAPI document says what the service does: Schemathesis, all checks on, a real process.

What is sent and which statuses are right stands in schemathesis.toml and schemathesis_hooks.py.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from schemathesis.checks import CHECKS, load_all_checks

from processes.serving import Server, running
from service.http.problems import PROBLEMS
from tests.system.schemathesis_run import KEY, PHASES, check

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

Asked = Counter[tuple[str, str, int]]

# How many cases are made for an address differs from run to run: 80 to 130 for some of them.
OFTEN = 50


@pytest.fixture(scope="module")
def server(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that wants a key, as one that can be reached from elsewhere does."""
    with running(sample_run, tmp_path_factory.mktemp("service"), api_keys=KEY) as started:
        yield started


@pytest.fixture(scope="module")
def report(server: Server) -> subprocess.CompletedProcess[str]:
    """Schemathesis, run once over everything."""
    # Jobs need a Redis: test_jobs_schema.py.
    return check(server.url, "--exclude-path-regex", "^/v1/job")


@pytest.fixture(scope="module")
def asked(server: Server, report: subprocess.CompletedProcess[str]) -> Asked:
    """How often each method and route answered with each status."""
    assert report.stdout
    lines = [line for line in server.log() if line["event"] == "request"]
    return Counter((line["method"], line["route"], line["status"]) for line in lines)


def test_no_check_finds_anything(report: subprocess.CompletedProcess[str]) -> None:
    assert report.returncode == 0, report.stdout[-20_000:] + report.stderr[-4000:]
    print("\n".join(report.stdout.splitlines()[-20:]))
    for phase in PHASES:
        assert f"✅ {phase.capitalize()}" in report.stdout
    generated = re.search(r"([0-9]+) generated", report.stdout)
    assert generated is not None
    assert int(generated[1]) > 3000


def test_all_checks_of_this_version_were_on() -> None:
    """`--checks all` takes them from this table: none of the known ones has gone."""
    load_all_checks()
    assert {
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "positive_data_acceptance",
        "missing_required_header",
        "unsupported_method",
        "use_after_free",
        "ensure_resource_availability",
        "ignored_auth",
    } <= {check.__name__ for check in CHECKS.get_all()}


def test_it_came_past_the_front_door(asked: Asked, server: Server) -> None:
    """Checks that only ever see refusals prove little: every operation also succeeded, often."""
    with server.client() as client:
        document = client.get("/openapi.json").json()
    succeeded = Counter[tuple[str, str]]()
    for (method, route, status), count in asked.items():
        if 200 <= status < 300:
            succeeded[method, route.replace(":path}", "}")] += count
    quiet = {"/healthz", "/readyz", "/metrics"}  # not in the log
    for path in document["paths"].keys() - quiet:
        if path.startswith("/v1/job"):
            continue
        for method in document["paths"][path]:
            assert succeeded[method.upper(), path] >= OFTEN, (method, path)
    statuses = {status for method, route, status in asked if route == "/v1/explanations"}
    assert statuses >= {200, 400, 401, 403, 404, 405, 415, 422}


def test_nothing_unexpected_is_in_the_log(asked: Asked, server: Server) -> None:
    assert asked
    assert [line for line in server.log() if line["level"] in {"error", "critical"}] == []


def test_every_documented_error_is_a_problem_with_codes_of_the_table(server: Server) -> None:
    with server.client() as client:
        document = client.get("/openapi.json").json()
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            errors = {s: a for s, a in operation["responses"].items() if s >= "400"}
            assert {"405", "500"} <= errors.keys(), (method, path)
            for status, answer in errors.items():
                assert answer["content"] == {"application/problem+json": problem}
                codes = re.findall("`([a-z-]+)`:", answer["description"])
                assert codes
                assert {PROBLEMS[code].status for code in codes} == {int(status)}


@pytest.mark.parametrize(
    ("field", "refused", "taken"),
    [
        ("clahe", "yes", True),
        ("alpha", "0.5", 0.5),
        ("alpha", True, 1),
        ("bits", "8", 8.0),
        ("target", True, 1.0),
        ("max_images", "1", 1.0),
        ("pictures", "overlay", ["overlay"]),
    ],
)
def test_json_has_the_types_that_the_document_says(
    server: Server, field: str, refused: object, taken: object
) -> None:
    """Text counts as a number or a choice in forms only, where all is text."""
    sheet = {"experiment": "experiments/experiment_synthetic_lifecycle"}
    with server.client(headers={"X-API-Key": KEY}) as client:
        answer = client.post("/v1/explanations", json={**sheet, field: refused})
        assert answer.status_code == 422
        assert next(error["field"] for error in answer.json()["errors"]) == field
        assert client.post("/v1/explanations", json={**sheet, field: taken}).status_code == 200

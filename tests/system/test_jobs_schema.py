"""The OpenAPI document says what the job routes do: Schemathesis, with a Redis behind the service.

No worker is up, so that jobs wait; one ended before, for the routes that answer with files.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes.jobs import Stack, stack_on
from tests.system.schemathesis_run import KEY, check

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

EXPERIMENT = "experiments/experiment_synthetic_lifecycle"


@pytest.fixture(scope="module")
def jobs(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """On a copy of the bundled run, since jobs write."""
    scratch = tmp_path_factory.mktemp("jobs")
    shutil.copytree(sample_run, scratch / "data")
    (scratch / "outputs").mkdir()
    outputs = str(scratch / "outputs")
    with stack_on(scratch / "data", scratch, api_keys=KEY, output_root=outputs) as made:
        yield made


def test_no_check_finds_anything(jobs: Stack) -> None:
    with jobs.server.client(headers={"X-API-Key": KEY}) as client:
        worker = jobs.add_worker()
        body = {"experiment": EXPERIMENT, "max_images": 1, "output": "ended"}
        ended = client.post("/v1/jobs", json=body).raise_for_status().json()
        with client.stream("GET", ended["links"]["events"]) as stream:
            assert "event: end" in list(stream.iter_lines())
        (item,) = client.get(ended["links"]["items"], params={"limit": 1}).json()["items"]
        worker.stop()
        document = client.get("/openapi.json").json()
    report = check(
        jobs.server.url,
        *("--include-path-regex", "^/v1/job", "--max-examples", "40", "--workers", "1"),
        GRADCAM_TEST_JOB=ended["id"],
        GRADCAM_TEST_PICTURE=item["links"]["figure"].rpartition("/files/")[2],
    )
    assert report.returncode == 0, report.stdout[-20_000:] + report.stderr[-4000:]
    log = jobs.server.log()
    assert [line for line in log if line["level"] in {"error", "critical"}] == []
    succeeded = Counter(
        (line["method"], line["route"].replace(":path}", "}"))
        for line in log
        if line["event"] == "request" and 200 <= line["status"] < 300
    )
    for path in document["paths"]:
        for method in document["paths"][path] if path.startswith("/v1/job") else ():
            assert succeeded[method.upper(), path] > 0, (method, path, succeeded)

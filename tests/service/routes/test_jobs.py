"""The job routes with a real Redis and no worker: what is accepted, what is refused, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from processes.eventually import eventually
from processes.jobs import Stack, stack
from processes.serving import running
from tests.service.asking import assert_problem, documented_body

JOBS = "/v1/jobs"


@pytest.fixture(scope="module")
def waiting(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service with a Redis, on a copy of a bundled experiment."""
    with stack(sample_run, tmp_path_factory.mktemp("jobs"), images=4) as made:
        yield made


@pytest.fixture
def jobs(waiting: Stack) -> Iterator[httpx.Client]:
    with waiting.server.client() as client:
        yield client
        for job in client.get(JOBS).json()["jobs"]:
            client.post(job["links"]["cancel"])
            client.delete(job["links"]["self"])


def submitted(waiting: Stack, **more: Any) -> dict[str, Any]:
    return waiting.submit(models=["focal"], **more)


def test_a_job_is_accepted_at_once_and_says_that_no_worker_is_up(
    waiting: Stack, jobs: httpx.Client
) -> None:
    body = {"experiment": waiting.experiment, "models": ["focal"], "max_images": 3, "fused": True}
    answer = jobs.post(JOBS, json=body)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert job["status"] == "queued"
    assert job["progress"] == {"total": 3, "succeeded": 0, "failed": 0, "skipped": 0}
    assert job["request"]["max_images"] == 3
    (model,) = job["models"]
    assert len(model["checkpoint_sha256"]) == 64
    assert "no worker is up" in job["notice"]
    assert jobs.get(f"{job['links']['self']}?wait=1").json() == job
    output = waiting.data / waiting.experiment / "gradcam_visualizations"
    assert (output / "runs" / job["id"] / "job.json").is_file()


def test_the_example_of_the_document_is_accepted_as_it_stands(jobs: httpx.Client) -> None:
    body = documented_body(jobs.get("/openapi.json").json(), JOBS)
    answer = jobs.post(JOBS, json=body["example"])
    assert answer.status_code == 202, answer.text


def test_the_same_key_is_the_same_job(waiting: Stack, jobs: httpx.Client) -> None:
    first = submitted(waiting, key="k1")
    assert submitted(waiting, key="k1")["id"] == first["id"]
    body = {"experiment": waiting.experiment, "models": ["cb"]}
    other = jobs.post(JOBS, json=body, headers={"Idempotency-Key": "k1"})
    assert_problem(other, "idempotency-conflict")


def test_a_folder_in_use_is_refused_and_free_again_after_a_cancel(
    waiting: Stack, jobs: httpx.Client
) -> None:
    job = submitted(waiting)
    body = {"experiment": waiting.experiment, "models": ["focal"]}
    assert_problem(jobs.post(JOBS, json=body), "output-busy")
    runs = waiting.data / waiting.experiment / "gradcam_visualizations/runs"
    assert [folder.name for folder in runs.iterdir()] == [job["id"]]
    assert_problem(jobs.delete(job["links"]["self"]), "job-unfinished")
    assert_problem(jobs.post(job["links"]["retry"]), "job-unfinished")
    canceled = jobs.post(job["links"]["cancel"]).json()
    assert (canceled["status"], canceled["progress"]["skipped"]) == ("canceled", 4)
    assert jobs.post(JOBS, json=body).status_code == 202


def test_what_is_forgotten_is_gone(waiting: Stack, jobs: httpx.Client) -> None:
    job = submitted(waiting)
    jobs.post(job["links"]["cancel"])
    assert jobs.delete(job["links"]["self"]).status_code == 204
    assert_problem(jobs.get(job["links"]["self"]), "job-not-found")
    runs = waiting.data / waiting.experiment / "gradcam_visualizations/runs"
    assert list(runs.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"experiment": "experiments/nowhere"}, "experiment-not-found"),
        ({"experiment": "../elsewhere"}, "path-outside-root"),
        ({"models": ["nothing"]}, "no-models-found"),
        ({"max_images": 0}, "invalid-request"),
        ({"max_images": "3"}, "invalid-request"),
        ({"colour": "red"}, "invalid-request"),
        ({"layers": ["late", "late"]}, "invalid-option"),
        ({"output": "somewhere"}, "invalid-option"),
        ({"webhook": "http://169.254.169.254/"}, "webhook-not-allowed"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    waiting: Stack, jobs: httpx.Client, body: dict[str, Any], code: str
) -> None:
    answer = jobs.post(JOBS, json={"experiment": waiting.experiment, **body})
    assert_problem(answer, code)
    assert jobs.get(JOBS).json()["total"] == 0


@pytest.mark.parametrize(
    "path",
    ["../../crops_gt_crops/x", "%2e%2e/%2e%2e/best.pt", "runs/x/job.json"],
)
def test_only_a_jobs_own_files_are_had(waiting: Stack, jobs: httpx.Client, path: str) -> None:
    job = submitted(waiting)
    answer = jobs.get(f"{job['links']['self']}/files/{path}")
    assert answer.status_code in {403, 404}
    assert answer.json()["code"] in {"file-not-found", "path-outside-root", "not-found"}


def test_a_missing_file_is_said(waiting: Stack, jobs: httpx.Client) -> None:
    job = submitted(waiting)
    assert_problem(jobs.get(f"{job['links']['self']}/files/cls_x/summary.csv"), "file-not-found")


@pytest.mark.parametrize("part", [":images", ":pending", "%3Aevents", ":out"])
def test_a_part_of_a_job_is_no_job(waiting: Stack, jobs: httpx.Client, part: str) -> None:
    own = submitted(waiting)["links"]["self"]
    for address in (f"{own}{part}", f"{own}{part}/items", f"{own}{part}/archive"):
        assert_problem(jobs.get(address), "job-not-found")
    assert_problem(jobs.post(f"{own}{part}/cancel"), "job-not-found")
    assert_problem(jobs.delete(f"{own}{part}"), "job-not-found")


def test_without_a_redis_there_are_no_jobs(http: httpx.Client) -> None:
    answer = http.post(JOBS, json={"experiment": "x"})
    assert_problem(answer, "jobs-unavailable")
    assert_problem(http.get(JOBS), "jobs-unavailable")


def test_an_end_is_always_told(waiting: Stack, jobs: httpx.Client) -> None:
    job = submitted(waiting)
    jobs.post(job["links"]["cancel"])
    waiting.store.client.delete(f"gradcam:job:{job['id']}:events")  # as before it is written
    text = jobs.get(f"{job['links']['self']}/events").text
    assert "event: end" in text
    assert '"status":"canceled"' in text
    assert re.search("^id: [0-9]+(-[0-9]+)?$", text, re.MULTILINE)


@pytest.mark.parametrize("id_", ["x:images", "x", "0" * 31, "0" * 33, "A" * 32, "%2e%2e", "*"])
@pytest.mark.parametrize("path", ["", "/items", "/events", "/archive", "/files/x.png"])
def test_what_is_no_id_is_no_job(waiting: Stack, jobs: httpx.Client, id_: str, path: str) -> None:
    id_ = id_.replace("x", submitted(waiting)["id"]) if ":" in id_ else id_
    answer = jobs.get(f"{JOBS}/{id_}{path}")
    assert answer.json()["code"] in {"job-not-found", "not-found"}, answer.text


# Keys of two callers.


@pytest.fixture(scope="module")
def shared(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The same for callers with keys."""
    keys = {"api_keys": "key-of-ann,key-of-bob"}
    with stack(sample_run, tmp_path_factory.mktemp("shared"), images=4, **keys) as made:
        yield made


def _client(of: Stack, name: str) -> httpx.Client:
    return of.server.client(headers={"X-API-Key": f"key-of-{name}"})


def test_each_key_has_its_own_jobs(shared: Stack) -> None:
    body = {"experiment": shared.experiment, "models": ["focal"]}
    with _client(shared, "ann") as ann, _client(shared, "bob") as bob:
        job = ann.post(JOBS, json=body, headers={"Idempotency-Key": "k"}).json()
        address = job["links"]["self"]
        for answer in (
            *(bob.get(f"{address}{path}") for path in ("", "/items", "/events", "/archive")),
            bob.get(f"{address}/files/cls_x/summary.csv"),
            bob.post(job["links"]["cancel"]),
            bob.post(job["links"]["retry"]),
            bob.delete(address),
        ):
            assert_problem(answer, "job-not-found")
        assert bob.get(JOBS).json()["jobs"] == []
        assert [listed["id"] for listed in ann.get(JOBS).json()["jobs"]] == [job["id"]]
        # The same Idempotency-Key, and even another body: it is another caller's.
        other = bob.post(JOBS, json={**body, "models": ["cb"]}, headers={"Idempotency-Key": "k"})
        assert other.status_code == 202, other.text
        again = ann.post(JOBS, json=body, headers={"Idempotency-Key": "k"})
        assert again.json()["id"] == job["id"]
        for client, submitted in ((ann, job), (bob, other.json())):
            assert client.post(submitted["links"]["cancel"]).status_code == 202
            assert client.delete(submitted["links"]["self"]).status_code == 204


@pytest.mark.system
def test_all_may_see_all(shared: Stack, tmp_path: Path) -> None:
    settings = {"api_keys": "key-of-ann,key-of-bob", "jobs_visible": "all"}
    with running(shared.data, tmp_path, redis_url=shared.redis.url, **settings) as server:
        with server.client(headers={"X-API-Key": "key-of-ann"}) as ann:
            job = ann.post(JOBS, json={"experiment": shared.experiment, "models": ["focal"]}).json()
        with server.client(headers={"X-API-Key": "key-of-bob"}) as bob:
            assert [listed["id"] for listed in bob.get(JOBS).json()["jobs"]] == [job["id"]]
            assert bob.post(job["links"]["cancel"]).json()["status"] == "canceled"
            assert bob.delete(job["links"]["self"]).status_code == 204


@pytest.mark.system
def test_a_crash_while_a_job_is_accepted_does_not_burn_its_key(
    sample_run: Path, tmp_path: Path
) -> None:
    with stack(sample_run, tmp_path, images=4) as made, ThreadPoolExecutor(1) as pool:
        (checkpoint,) = (made.data / made.experiment).glob("cls_*focal*/best*.pt")
        whole = checkpoint.read_bytes()
        with checkpoint.open("ab") as file:
            file.truncate(30 * 2**30)  # its digest takes a while
        body = {"experiment": made.experiment, "models": ["focal"]}
        headers = {"Idempotency-Key": "k"}
        first = pool.submit(httpx.post, f"{made.server.url}{JOBS}", json=body, headers=headers)
        eventually("the key is claimed", lambda: made.store.client.keys("*idempotency*"))
        made.server.process.kill()
        with pytest.raises(httpx.TransportError):
            first.result()
        checkpoint.write_bytes(whole)
        with running(made.data, tmp_path, redis_url=made.redis.url) as server:
            answer = httpx.post(f"{server.url}{JOBS}", json=body, headers=headers, timeout=60)
            assert answer.status_code == 202, answer.text
            again = httpx.post(f"{server.url}{JOBS}", json=body, headers=headers, timeout=60)
            assert again.json()["id"] == answer.json()["id"]


@pytest.mark.system
def test_a_redis_that_hangs_keeps_only_those_waiting_who_need_it(
    sample_run: Path, tmp_path: Path
) -> None:
    with (
        stack(sample_run, tmp_path, images=4) as made,
        made.server.client() as client,
        ThreadPoolExecutor(24) as pool,
    ):
        job = made.submit(models=["focal"])
        address = f"{made.server.url}{job['links']['self']}?wait=60"
        polls = [pool.submit(httpx.get, address, timeout=90) for _ in range(24)]
        made.redis.pause()
        try:
            for _ in range(3):
                assert client.get("/v1/models").status_code == 200
                assert client.get("/v1/experiments").status_code == 200
            assert not any(poll.done() for poll in polls)
            for poll in polls:
                assert_problem(poll.result(), "jobs-unavailable")
        finally:
            made.redis.resume()
        assert client.get(job["links"]["self"]).status_code == 200

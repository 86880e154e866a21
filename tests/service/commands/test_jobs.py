"""`gradcam jobs` with a real service: what is sent, said, and answered as an exit status."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from processes.jobs import Stack, stack
from service.commands import jobs as commands
from service.commands.arguments import main
from service.commands.explain import ServiceUnreachable

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def waiting(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service with a Redis and no worker."""
    with stack(sample_run, tmp_path_factory.mktemp("jobs"), images=4) as made:
        yield made


@pytest.fixture
def service(waiting: Stack) -> Iterator[Stack]:
    """Without jobs, before and after."""
    yield waiting
    with waiting.server.client() as client:
        for job in client.get("/v1/jobs").json()["jobs"]:
            client.post(job["links"]["cancel"])
            client.delete(job["links"]["self"])


def run(service: Stack, action: str, *words: str) -> int:
    return main(["jobs", action, *words, "--url", f"{service.server.url}/"])


def submitted(service: Stack, capsys: Said, *words: str) -> dict[str, Any]:
    assert run(service, "submit", service.experiment, "--json", *words) == 0
    job: dict[str, Any] = json.loads(capsys.readouterr().out)
    return job


def test_a_job_is_submitted_as_it_was_asked_for(service: Stack, capsys: Said) -> None:
    words = ["--models", "focal", "--max-images", "3", "--method", "layercam", "--fused"]
    job = submitted(service, capsys, *words, "--pick", "first", "--page", "1", "--name", "talk")
    request = job["request"]
    assert request["models"] == ["focal"]
    assert (request["max_images"], request["method"], request["pick"]) == (3, "layercam", "first")
    assert (request["fused"], request["page"], request["name"]) == (True, 1, "talk")
    assert (request["replace"], request["webhook"], request["intensity"]) == (False, None, "depth")
    everything = submitted(service, capsys, "--models", "cb", "--all", "--name", "other")
    assert everything["request"]["max_images"] is None


def test_the_same_key_is_the_same_job(service: Stack, capsys: Said) -> None:
    words = ["--models", "focal", "--key", "k"]
    assert submitted(service, capsys, *words)["id"] == submitted(service, capsys, *words)["id"]


def test_a_line_says_how_a_job_stands_and_the_other_stream_why(
    service: Stack, capsys: Said
) -> None:
    assert run(service, "submit", service.experiment, "--models", "focal", "--max-images", "2") == 0
    out, err = capsys.readouterr()
    id_, *rest = out.split("  ")
    assert len(id_) == 32
    assert rest[0] == "queued: 0 succeeded, 0 failed, 0 skipped of 2"
    assert "no worker is up" in err
    assert run(service, "status", id_) == 0
    assert capsys.readouterr().out == out
    assert run(service, "status") == 0
    assert capsys.readouterr().out == out
    assert run(service, "status", "--json") == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)] == [id_]


def test_a_job_is_stopped_and_its_end_is_not_waited_for(service: Stack, capsys: Said) -> None:
    id_ = submitted(service, capsys, "--models", "focal")["id"]
    assert run(service, "cancel", id_) == 0
    assert "canceled: 0 succeeded" in capsys.readouterr().out
    assert run(service, "watch", id_) == 0
    assert "canceled: 0 succeeded" in capsys.readouterr().out


def test_its_files_are_fetched_as_a_zip(
    service: Stack, capsys: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    id_ = submitted(service, capsys, "--models", "focal")["id"]
    run(service, "cancel", id_)
    capsys.readouterr()
    assert run(service, "download", id_) == 0
    assert capsys.readouterr().out == f"gradcam_{id_}.zip\n"
    assert Path(f"gradcam_{id_}.zip").read_bytes().startswith(b"PK")
    assert run(service, "download", id_, "-o", "deep/x.zip") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", f"gradcam_{id_}.zip"]
    assert [path.name for path in Path("deep").iterdir()] == ["x.zip"]
    Path("plain").write_bytes(b"")
    assert run(service, "download", id_, "-o", "plain/x.zip") != 0
    assert "cannot write plain/x.zip" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["status", "watch", "cancel", "download"])
def test_a_job_that_there_is_not_is_said(
    service: Stack, capsys: Said, action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(service, action, "0" * 32) != 0
    assert "job-not-found: there is no job" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def job(status: str, **fields: Any) -> dict[str, Any]:
    progress = {"total": 4, "succeeded": 2, "failed": 1, "skipped": 1}
    own = {"id": "x", "status": status, "progress": progress, "output": "out"}
    return {**own, "error": None, "notice": None, "activity": None, **fields}


def shown(capsys: Said, body: dict[str, Any]) -> tuple[int, str, list[str]]:
    status = commands._show(body, argparse.Namespace(json=False))
    out, err = capsys.readouterr()
    return status, out, err.splitlines()


@pytest.mark.parametrize(
    ("status", "exit_status"),
    [("succeeded", 0), ("canceled", 0), ("running", 0), ("partial", 1), ("failed", 2)],
)
def test_the_exit_status_says_how_it_ended(capsys: Said, status: str, exit_status: int) -> None:
    answer, out, err = shown(capsys, job(status))
    assert answer == exit_status
    assert out == f"x  {status}: 2 succeeded, 1 failed, 1 skipped of 4  out\n"
    assert err == []


def test_errors_and_what_was_left_out_are_said_beside_it(capsys: Said) -> None:
    error = {"code": "no-models-found", "detail": "none"}
    left_out = {"words": "1 (1 hidden)"}
    _, _, err = shown(capsys, job("failed", error=error, left_out=left_out, notice="look"))
    assert err == ["error [no-models-found]: none", "skipped: 1 (1 hidden)", "look"]


def test_what_was_assumed_is_said_as_summaries_say_it(capsys: Said) -> None:
    notices = [
        {
            "text": "cls_a has no best.pt: last.pt was read",
            "count": 1,
            "of": "models",
            "model": "x/cls_a",
        },
        {"text": "names are assumed", "count": 2, "of": "models", "model": None},
        {"text": "Page 1 of 3 was read", "count": 1, "of": "images", "model": None},
        {"text": "Page 1 of 3 was read", "count": 4, "of": "images", "model": "x/cls_a"},
        {"text": "7 more", "count": 7, "of": "notices", "model": None},
    ]
    models = [{"id": "x/cls_a", "name": "cls_a"}]
    _, _, err = shown(capsys, job("succeeded", notices=notices, models=models))
    assert err == [
        "notice: cls_a: cls_a has no best.pt: last.pt was read",
        "notice: 2 models: names are assumed",
        "notice: 1 image: Page 1 of 3 was read",
        "notice: cls_a, 4 images: Page 1 of 3 was read",
        "notice: 7 more",
    ]


def answering(*answers: httpx.Response | Exception) -> httpx.Client:
    """A client whose requests are answered so, one after another, without a network."""
    left = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        this = left.pop(0)
        if isinstance(this, Exception):
            raise this
        return this

    return httpx.Client(base_url="http://x", transport=httpx.MockTransport(answer))


def test_a_service_that_comes_back_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.commands.jobs.time.sleep", lambda _: None)
    told: list[str] = []
    client = answering(
        httpx.ConnectError("refused"),
        httpx.Response(503),
        httpx.Response(200, json=job("running")),
        httpx.Response(502),
        httpx.Response(200, json=job("succeeded")),
    )
    states = list(commands._states(client, job("queued"), told.append))
    assert [state["status"] for state in states] == ["running", "succeeded"]
    assert told == ["refused", "HTTP 502"]


def test_a_service_that_stays_away_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.commands.jobs.time.sleep", lambda _: None)
    client = answering(*[httpx.Response(504)] * 21)
    with pytest.raises(ServiceUnreachable, match=r"stopped answering \(HTTP 504\).*watch x once"):
        list(commands._states(client, job("running"), lambda _: None))


def test_a_download_that_broke_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    client = answering(httpx.Response(200, content=b"PK but no end"))
    monkeypatch.setattr(httpx, "Client", lambda **_: client)
    arguments = argparse.Namespace(job="x", output=None, api_key=None, url="http://x")
    with pytest.raises(ServiceUnreachable, match=r"after 13 bytes \(the end is missing\)"):
        commands.download(arguments)
    assert list(tmp_path.iterdir()) == []

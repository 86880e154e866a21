"""Jobs of the version before, which was killed in the midst of them, in the hands of this one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cam_engine.images.png import is_whole_png
from processes.jobs import Stack, copy_experiment, stack_on
from processes.redis_server import running_redis
from tests.system import previous_version

pytestmark = pytest.mark.system

LEFT = previous_version.read(Path(__file__).with_name("left_by_the_version_before.json.gz"))
JOBS: dict[str, str] = LEFT["jobs"]

Upgraded = Callable[..., AbstractContextManager[Stack]]


@pytest.fixture
def upgraded(sample_run: Path, tmp_path: Path) -> Upgraded:
    """This version on what is left of that one; redis=False: Redis itself was lost."""

    @contextmanager
    def start(*, redis: bool = True) -> Iterator[Stack]:
        data = tmp_path / "results"
        copy_experiment(sample_run, data, previous_version.IMAGES)
        previous_version.put_files_back(LEFT, data)
        if redis:
            (tmp_path / "redis").mkdir()
            with running_redis(tmp_path / "redis") as before:
                previous_version.put_keys_back(LEFT, before.url)
        with stack_on(data, tmp_path, lease_seconds="4", chunk_seconds="3") as made:
            yield made

    return start


def get(made: Stack, path: str) -> httpx.Response:
    answer = httpx.get(f"{made.server.url}/v1/jobs{path}", timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def test_an_ended_job_is_there_with_all_that_it_made(upgraded: Upgraded) -> None:
    with upgraded() as made:
        listed = [job["id"] for job in get(made, "").json()["jobs"]]
        assert listed == [JOBS["queued"], JOBS["cut_off"], JOBS["ended"]]
        job = made.job(JOBS["ended"])
        assert (job["status"], job["progress"]["succeeded"]) == ("succeeded", 1)
        (item,) = get(made, f"/{job['id']}/items").json()["items"]
        assert (item["status"], item["error"]) == ("succeeded", None)
        figure = httpx.get(made.server.url + item["links"]["figure"])
        assert is_whole_png(figure.content)
        with zipfile.ZipFile(io.BytesIO(get(made, f"/{job['id']}/archive").content)) as archive:
            names = {Path(name).name for name in archive.namelist()}
        assert {"summary.json", "summary.csv", "manifest.json"} < names
        assert len([name for name in names if name.endswith(".png")]) == 7
        assert "event: end" in get(made, f"/{job['id']}/events").text
        gone = httpx.delete(f"{made.server.url}/v1/jobs/{job['id']}")
        assert gone.status_code == 204, gone.text


def test_jobs_that_were_not_begun_or_cut_off_are_finished(upgraded: Upgraded) -> None:
    with upgraded() as made:
        made.add_worker()
        for name, images in (("queued", 2), ("cut_off", previous_version.IMAGES)):
            job = made.wait(JOBS[name])
            assert (job["status"], job["progress"]["succeeded"]) == ("succeeded", images), job
        assert_nothing_held(made)


def test_they_are_rebuilt_from_their_manifests(upgraded: Upgraded) -> None:
    with upgraded(redis=False) as made:
        made.add_worker()
        assert httpx.get(f"{made.server.url}/v1/jobs/{JOBS['ended']}").status_code == 404
        for name, images in (("queued", 2), ("cut_off", previous_version.IMAGES)):
            made.wait_until_known(JOBS[name])
            job = made.wait(JOBS[name])
            assert (job["status"], job["progress"]["succeeded"]) == ("succeeded", images), job
        assert_nothing_held(made)


def test_an_idempotency_key_of_before_is_a_new_one(upgraded: Upgraded) -> None:
    with upgraded() as made:
        made.add_worker()
        made.wait(JOBS["queued"])  # it has the folder
        request = {"models": ["focal"], "max_images": 1}
        again = made.submit(**request, key=previous_version.KEY)["id"]
        assert again not in JOBS.values()
        assert made.wait(again)["status"] == "succeeded"
        assert made.submit(**request, key=previous_version.KEY)["id"] == again


def assert_nothing_held(made: Stack) -> None:
    """No folder is locked, no half file left, each figure is whole and in the summary."""
    output = made.data / made.experiment / previous_version.OUTPUT
    assert list(output.rglob(".gradcam.lock")) == []
    assert list(output.rglob("*.part")) == []
    figures = list(output.glob("cls_*/improved_gradcam_*.png"))
    assert len(figures) == 2 + previous_version.IMAGES
    assert all(is_whole_png(figure) for figure in figures)
    rows: list[Any] = json.loads((output / "summary.json").read_text())["models"]
    assert sum(len(row["images"]) for row in rows) == len(figures)

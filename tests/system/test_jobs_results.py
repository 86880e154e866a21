"""Several jobs and commands over one experiment: each job's results stay its own."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cam_engine.commands import exit_status
from cam_engine.images.png import read_png_text
from processes.jobs import Stack, stack
from tests.service.asking import assert_problem

pytestmark = pytest.mark.system

MODELS = ("cls_mobilenet_v3_small_cb", "cls_mobilenet_v3_small_focal")
PER_IMAGE = 7  # the main figure, and heatmap and overlay of three layers
EIGEN: dict[str, Any] = {
    "method": "eigencam",
    "colormap": "viridis",
    "models": ["focal"],
    "max_images": 4,
}


@pytest.fixture(scope="module")
def shared(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(sample_run, tmp_path_factory.mktemp("jobs"), images=8) as made:
        made.add_worker()
        yield made


@pytest.fixture
def jobs(shared: Stack) -> Iterator[Stack]:
    """Without jobs and pictures of other tests."""
    yield shared
    with shared.server.client() as client:
        for job in client.get("/v1/jobs").json()["jobs"]:
            client.delete(job["links"]["self"])
    shutil.rmtree(output_of(shared), ignore_errors=True)


def output_of(jobs: Stack) -> Path:
    return jobs.data / jobs.experiment / "gradcam_visualizations"


def done(jobs: Stack, **request: Any) -> dict[str, Any]:
    job = jobs.wait(jobs.submit(**request)["id"])
    assert job["status"] == "succeeded", job
    return job


def get(jobs: Stack, address: str) -> httpx.Response:
    with jobs.server.client() as client:
        return client.get(address)


def archive(jobs: Stack, job: dict[str, Any]) -> dict[str, bytes]:
    answer = get(jobs, job["links"]["archive"])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def items(jobs: Stack, job: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    words = "&".join(f"{name}={value}" for name, value in query.items())
    listed: list[dict[str, Any]] = get(jobs, f"{job['links']['items']}?{words}").json()["items"]
    return listed


def methods(files: dict[str, bytes]) -> set[str]:
    pictures = [content for name, content in files.items() if name.endswith(".png")]
    facts = [json.loads(read_png_text(picture)["Recipe"])["facts"] for picture in pictures]
    return {fact["options"]["method"] for fact in facts}


def command(jobs: Stack, *words: str) -> str:
    script = "scripts/visualization/run_improved_gradcam_on_experiments.py"
    experiment = str(jobs.data / jobs.experiment)
    ended = subprocess.run(
        [sys.executable, script, "--exp-folder", experiment, *words],
        check=False,
        capture_output=True,
        text=True,
        env=jobs.environment,
    )
    assert ended.returncode in {exit_status.DONE, exit_status.SOME_FAILED}, ended.stderr
    return ended.stdout


def test_a_later_job_with_another_recipe_changes_nothing_of_an_earlier_one(jobs: Stack) -> None:
    first = done(jobs, max_images=6)
    before = archive(jobs, first)
    assert sum(name.endswith(".png") for name in before) == 2 * 6 * PER_IMAGE
    second = done(jobs, **EIGEN)
    assert archive(jobs, first) == before
    assert first["output"] == f"{jobs.experiment}/gradcam_visualizations"
    own = archive(jobs, second)
    assert second["output"].startswith(f"{first['output']}/sets/eigencam-")
    assert (methods(before), methods(own)) == ({"gradcam++"}, {"eigencam"})
    assert sum(name.endswith(".png") for name in own) == 4 * PER_IMAGE
    summaries = {"summary.csv", "summary.json", "manifest.json"}
    names = {name for name in own if not name.endswith(".png")}
    assert names == summaries | {f"{MODELS[1]}/{name}" for name in summaries}
    (manifest,) = json.loads(own["manifest.json"])["models"]
    assert (manifest["options"]["method"], manifest["counts"]["images"]) == ("eigencam", 4)
    # What the documented place says is of what is in it.
    root = json.loads((output_of(jobs) / "manifest.json").read_text())
    assert {model["options"]["method"] for model in root["models"]} == {"gradcam++"}
    # The same recipe goes to the same place, its pictures beside those that are there.
    third = done(jobs, **{**EIGEN, "max_images": 6, "resume": True})
    assert third["output"] == second["output"]
    assert archive(jobs, second) == own
    again = done(jobs, max_images=None)
    assert again["output"] == first["output"]
    assert {item["replaced"] for item in items(jobs, first)} == {None}


def test_pictures_that_a_command_replaced_are_said_to_be(jobs: Stack) -> None:
    job = done(jobs, max_images=3)
    figure = f"{MODELS[1]}/improved_gradcam_0000.png"
    said = command(jobs, "--models", "focal", "--max-images", "2", "--method", "layercam")
    assert f"{MODELS[1]}: {3 * PER_IMAGE - 2 * PER_IMAGE} pictures of another recipe" in said
    replaced = [item["replaced"] for item in items(jobs, job)]
    assert replaced[:3] == [None] * 3
    assert all(result is not None for result in replaced[3:])
    links = [item["links"].keys() for item in items(jobs, job)]
    assert links == [{"figure", "thumbnail"}] * 3 + [set()] * 3
    gone = get(jobs, f"{job['links']['self']}/files/{figure}")
    assert "command" in assert_problem(gone, "result-replaced")["detail"]
    left = archive(jobs, job)
    assert sum(name.endswith(".png") for name in left) == 3 * PER_IMAGE
    assert methods(left) == {"gradcam++"}
    named = left["REPLACED.txt"].decode().splitlines()
    assert len(named) == 3 * PER_IMAGE
    assert all(line.startswith(f"{MODELS[1]}/") for line in named)


def test_who_says_so_replaces_and_the_earlier_job_says_by_whom(jobs: Stack) -> None:
    first = done(jobs, max_images=3, models=["focal"])
    second = done(jobs, **{**EIGEN, "max_images": 2}, replace=True)
    assert second["output"] == first["output"]
    pictures = sorted(output_of(jobs).rglob("*.png"))
    assert len(pictures) == 2 * PER_IMAGE
    listed = items(jobs, first)
    assert {item["links"].get("replaced_by") for item in listed} == {second["links"]["self"]}
    assert listed[0]["replaced"] == f"replaced by job {second['id']}"
    assert listed[2]["replaced"] == f"removed by job {second['id']}, which replaced the others"
    again = done(jobs, max_images=3, models=["focal"])
    assert "/sets/gradcam++-" in again["output"]


def test_a_figure_says_when_its_image_was_changed_since(jobs: Stack) -> None:
    job = done(jobs, max_images=3, models=["focal"])
    before = items(jobs, job)
    assert [item["outdated"] for item in before] == [None] * 3
    changed, gone, _ = (jobs.data / jobs.experiment / item["image"] for item in before)
    kept = [path.read_bytes() for path in (changed, gone)]
    try:
        changed.write_bytes(kept[1])
        gone.unlink()
        after = items(jobs, job)
    finally:
        changed.write_bytes(kept[0])
        gone.write_bytes(kept[1])
    assert [item["outdated"] for item in after] == [
        "the image file has changed since",
        "the image file is not there any more",
        None,
    ]
    assert [item["links"] for item in after] == [item["links"] for item in before]
    assert [item["outdated"] for item in items(jobs, job)] == [None] * 3


def test_a_named_set_takes_one_recipe(jobs: Stack) -> None:
    job = done(jobs, name="for-the-paper", **EIGEN)
    assert job["output"].endswith("/gradcam_visualizations/sets/for-the-paper")
    body = {"experiment": jobs.experiment, "models": ["focal"], "name": "for-the-paper"}
    with jobs.server.client() as client:
        refused = client.post("/v1/jobs", json=body)
        planned = client.post("/v1/job-plans", json=body)
    assert "for-the-paper" in assert_problem(refused, "output-holds-others")["detail"]
    assert_problem(planned, "output-holds-others")
    assert list((output_of(jobs) / "runs").glob("*")) == []


def test_the_plan_says_what_is_there_and_writes_nothing(jobs: Stack) -> None:
    body = {"experiment": jobs.experiment, "max_images": 3}
    with jobs.server.client() as client:
        empty = client.post("/v1/job-plans", json=body).json()
        assert not output_of(jobs).exists()
        assert client.get("/v1/jobs").json()["total"] == 0
        done(jobs, max_images=3)
        same = client.post("/v1/job-plans", json=body).json()
        other = client.post("/v1/job-plans", json={**body, "method": "eigencam"}).json()
    usual = f"{jobs.experiment}/gradcam_visualizations"
    assert (empty["items"], empty["images"], empty["available"]) == (6, 3, 8)
    assert empty["models"] == list(MODELS)
    assert (empty["usual"]["holds"], empty["usual"]["figures"]) == ("empty", 0)
    assert empty["destination"] == empty["usual"]
    assert (same["usual"]["holds"], same["usual"]["figures"]) == ("same", 6)
    assert same["usual"]["made_by"] == "gradcam++: early, mid, late"
    assert same["destination"]["output"] == usual
    assert (other["usual"]["output"], other["usual"]["holds"]) == (usual, "other")
    assert other["destination"]["output"].startswith(f"{usual}/sets/eigencam-")
    assert other["destination"]["output_below"] == "data"


def test_a_retry_puts_nothing_among_another_recipes_pictures(jobs: Stack) -> None:
    crops = jobs.data / jobs.experiment / "crops_gt_crops/crops/test"
    broken = sorted(crops.glob("*/*.jpg"))[0]
    whole = broken.read_bytes()
    broken.write_bytes(b"no image")
    job = jobs.wait(jobs.submit(models=["focal"])["id"])
    assert job["status"] == "partial"
    command(jobs, "--models", "focal", "--max-images", "2", "--method", "layercam")
    broken.write_bytes(whole)
    with jobs.server.client() as client:
        assert_problem(client.post(job["links"]["retry"]), "output-holds-others")
    assert jobs.job(job["id"])["status"] == "partial"


def test_errors_are_picked_for_each_model_as_the_command_line_does(
    jobs: Stack, tmp_path: Path
) -> None:
    command(jobs, "--pick", "errors", "--max-images", "3", "--output-base", str(tmp_path / "out"))
    rows = json.loads((tmp_path / "out/summary.json").read_text())["models"]
    expected = {result["model"]: [row["image"] for row in result["images"]] for result in rows}
    job = done(jobs, pick="errors", max_images=3)
    own = json.loads(archive(jobs, job)["summary.json"])["models"]
    assert {
        result["model"]: [row["image"] for row in result["images"]] for result in own
    } == expected
    assert [item["image"] for item in items(jobs, job)] == [
        image for model in MODELS for image in expected[model]
    ]
    assert expected[MODELS[0]] != expected[MODELS[1]]


def test_thumbnails_are_small(jobs: Stack) -> None:
    job = done(jobs, max_images=1, models=["focal"])
    (item,) = items(jobs, job)
    whole, small = (get(jobs, item["links"][name]) for name in ("figure", "thumbnail"))
    assert small.headers["content-type"] == "image/jpeg"
    assert len(small.content) < len(whole.content) / 5
    component = item["links"]["thumbnail"].replace(
        "improved_gradcam_0000", "components/0000_late_overlay"
    )
    assert get(jobs, component).headers["content-type"] == "image/jpeg"
    summary = f"{job['links']['self']}/thumbnails/summary.csv"
    assert_problem(get(jobs, summary), "file-not-found")

"""Jobs whose outputs go to an S3 store: real Redis, service, workers and (local) S3 server."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from processes.jobs import Stack, copy_experiment, stack, stack_on
from processes.redis_server import free_port
from tests.buckets import new_bucket, requests_of
from tests.s3_server import BUCKET, S3Server, running_s3, serving
from tests.service.asking import assert_problem

pytestmark = pytest.mark.system

IMAGES = 120


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def jobs(sample_run: Path, tmp_path: Path, s3: S3Server) -> Iterator[Stack]:
    """No worker yet; the store's prefix is the test's own."""
    (tmp_path / "tmp").mkdir()
    store = f"s3://{BUCKET}/{tmp_path.name}"
    with stack(sample_run, tmp_path, images=IMAGES, output_store=store) as made:
        made.environment["TMPDIR"] = str(tmp_path / "tmp")
        yield made


def pixels(source: Path | bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def archive(made: Stack, job: dict[str, Any]) -> dict[str, bytes]:
    """Every file of the job's zip."""
    with made.server.client() as client:
        answer = client.get(job["links"]["archive"])
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def figures(s3: S3Server, prefix: str) -> dict[str, datetime]:
    """When each main figure was put into the store."""
    objects = s3.objects().items()
    return {key: when for key, when in objects if key.startswith(prefix) and "improved_" in key}


def test_a_job_leaves_the_command_lines_pictures_in_the_store(
    jobs: Stack, s3: S3Server, tmp_path: Path
) -> None:
    body = {"experiment": jobs.experiment, "max_images": 12}
    job = jobs.submit(max_images=12)
    with jobs.server.client() as client:
        assert_problem(client.post("/v1/jobs", json=body), "output-busy")
    jobs.add_worker()
    job = jobs.wait(job["id"])
    assert job["status"] == "succeeded", job
    folder, expected = jobs.data / jobs.experiment, tmp_path / "expected"
    subprocess.run(
        [
            *(sys.executable, "scripts/visualization/run_improved_gradcam_on_experiments.py"),
            *("--exp-folder", str(folder), "--max-images", "12", "--quiet"),
            *("--output-base", str(expected)),
        ],
        check=True,
        env=jobs.environment,
    )
    made = archive(jobs, job)
    pictures = {name for name in made if name.endswith(".png")}
    theirs = {path.relative_to(expected).as_posix() for path in expected.rglob("*.png")}
    assert len(theirs) == 2 * 12 * 7
    assert pictures == theirs
    for name in pictures:
        assert np.abs(pixels(made[name]) - pixels(expected / name)).max() <= 2, name
    assert made["summary.csv"].count(b"succeeded") == 24
    folders = {name.split("/")[0] for name in pictures}
    assert {f"{place}/summary.csv" for place in folders} | {"summary.json", "manifest.json"} <= set(
        made
    )
    prefix = f"{tmp_path.name}/{jobs.experiment}/gradcam_visualizations"
    assert f"{prefix}/runs/{job['id']}/job.json" in s3.objects()
    with jobs.server.client() as client:
        (item,) = client.get(f"{job['links']['items']}?limit=1").json()["items"]
        figure = client.get(item["links"]["figure"])
        assert figure.headers["content-type"] == "image/png"
        name = item["links"]["figure"].split("/files/")[1]
        assert figure.content == made[name]
        assert (
            client.get(f"{job['links']['self']}/files/summary.csv").content == made["summary.csv"]
        )
        assert_problem(client.get(f"{job['links']['self']}/files/{name}x"), "file-not-found")
    assert not (folder / "gradcam_visualizations").exists()
    assert list((tmp_path / "tmp").glob("gradcam-outputs-*")) == []
    jobs.submit(max_images=2)  # the folders are free again


@pytest.mark.parametrize("redis_is_lost", [False, True])
def test_a_killed_workers_job_is_finished_and_nothing_made_twice(
    jobs: Stack, s3: S3Server, tmp_path: Path, redis_is_lost: bool
) -> None:
    first = jobs.add_worker()
    id_ = jobs.submit(max_images=None, models=["focal"])["id"]
    assert jobs.wait_for_progress(id_, 10)["status"] == "running"
    first.kill_group()
    counted = jobs.job(id_)["progress"]["succeeded"]
    in_store = figures(s3, tmp_path.name)
    assert counted <= len(in_store) < IMAGES
    if redis_is_lost:
        with redis.Redis.from_url(jobs.redis.url) as client:
            client.flushall()
    jobs.add_worker()
    jobs.wait_until_known(id_)
    job = jobs.wait(id_, 180)
    assert job["status"] == "succeeded", job
    assert job["progress"]["succeeded"] == IMAGES
    assert in_store.items() <= figures(s3, tmp_path.name).items()
    made = archive(jobs, job)
    assert sum("improved_gradcam_" in name for name in made) == IMAGES
    assert all(pixels(content).size for name, content in made.items() if name.endswith(".png"))
    assert made["summary.csv"].count(b"succeeded") == IMAGES


def test_a_job_on_experiments_in_a_bucket_is_the_job_on_the_folder(
    jobs: Stack, sample_run: Path, tmp_path: Path
) -> None:
    """The same pictures; each checkpoint and each image is asked of the store once a machine."""
    bucket = new_bucket(S3Server(os.environ["AWS_ENDPOINT_URL"]))
    bucket.put_tree(jobs.data, "lab/")
    (tmp_path / "theirs").mkdir()
    settings = {
        "output_store": f"s3://{BUCKET}/{tmp_path.name}-theirs",
        "data_cache": str(tmp_path / "cache"),
        "chunk_seconds": "3",
    }
    jobs.add_worker()
    ours = jobs.wait(jobs.submit(max_images=40)["id"])
    with (
        requests_of(bucket) as asked,
        stack_on(bucket.address / "lab", tmp_path / "theirs", **settings) as made,
    ):
        made.add_worker()
        made.add_worker()
        job = made.submit_to(jobs.experiment, max_images=40)
        theirs = made.wait(job["id"])
        assert theirs["status"] == ours["status"] == "succeeded", theirs
        pictures = {
            name: content
            for name, content in archive(made, theirs).items()
            if name.endswith(".png")
        }
    expected = {n: c for n, c in archive(jobs, ours).items() if n.endswith(".png")}
    assert len(expected) == 2 * 40 * 7
    assert pictures.keys() == expected.keys()
    for name, content in pictures.items():  # batches of two workers are of other sizes
        assert np.abs(pixels(content) - pixels(expected[name])).max() <= 8, name
    for kind, most in ((".jpg", IMAGES), ("best.pt", 2 * 3)):  # two ends, and then the whole
        reads = [words for words in asked if words.startswith("GET") and words.endswith(kind)]
        assert 0 < len(reads) <= most, reads


def test_a_job_whose_bucket_goes_away_says_so_and_goes_on_when_it_is_told(
    sample_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION"):
        monkeypatch.setenv(f"AWS_{name}", "us-east-1")
    folder = copy_experiment(sample_run, tmp_path / "results", images=600)
    experiment = folder.relative_to(tmp_path / "results").as_posix()
    (tmp_path / "output").mkdir()
    settings = {
        "output_root": str(tmp_path / "output"),
        "data_cache": str(tmp_path / "cache"),
        "data_listing_seconds": "0",
        "data_patience_seconds": "2",
        "lease_seconds": "4",
        "chunk_seconds": "3",
    }
    with ExitStack() as closing:
        with serving(port) as url:
            bucket = new_bucket(S3Server(url))
            bucket.put_tree(tmp_path / "results", "lab/")
            data = bucket.address / "lab"
            made = closing.enter_context(stack_on(data, tmp_path, **settings))
            made.add_worker()
            job = made.submit_to(experiment, max_images=None)
            made.wait_for_progress(job["id"], 20)
        ended = made.wait(job["id"])
        assert ended["status"] == "failed", ended
        assert ended["error"]["code"] == "data-unavailable"
        assert bucket.name not in ended["error"]["detail"]
        done = ended["progress"]["succeeded"]
        assert 20 <= done < 1200
        assert ended["progress"]["failed"] == 0  # no image is to blame
        with serving(port):  # what is stored outlives a server in the same process
            for _ in range(3):  # the worker asks a store that was away only after some seconds
                again = httpx.post(f"{made.server.url}{job['links']['self']}/retry", timeout=60)
                assert again.is_success, again.text
                ended = made.wait(job["id"])
                if ended["status"] == "succeeded":
                    break
                time.sleep(8)
        assert ended["status"] == "succeeded", ended
        assert ended["progress"]["succeeded"] == 1200

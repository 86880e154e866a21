"""Jobs over real processes: Redis, a worker, the service."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from standardwebhooks import Webhook

from processes.eventually import eventually
from processes.jobs import Stack, stack
from tests.webhook_receiver import SECRET, Receiver, receiving

pytestmark = pytest.mark.system

IMAGES = 12


@pytest.fixture(scope="module")
def jobs(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One worker on the bundled experiment, with one image that cannot be read."""
    hooks = {"webhook_hosts": "127.0.0.1", "webhook_secret": SECRET}
    with stack(sample_run, tmp_path_factory.mktemp("jobs"), images=IMAGES, **hooks) as made:
        made.add_worker()
        yield made


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def test_a_job_makes_the_command_lines_pictures(jobs: Stack, tmp_path: Path) -> None:
    job = jobs.wait(jobs.submit(max_images=None, fused=True)["id"])
    assert job["status"] == "succeeded", job
    progress = job["progress"]
    assert progress["succeeded"] == progress["total"] == IMAGES * len(job["models"])
    folder = jobs.data / jobs.experiment
    subprocess.run(
        [
            *(sys.executable, "scripts/visualization/run_improved_gradcam_on_experiments.py"),
            *("--exp-folder", str(folder), "--max-images", "1000", "--fused", "--quiet"),
            *("--output-base", str(tmp_path)),
        ],
        check=True,
        env=jobs.environment,
    )
    expected = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    output = folder / "gradcam_visualizations"
    made = sorted(path.relative_to(output) for path in output.rglob("*.png"))
    assert made == expected
    for path in made:
        difference = np.abs(pixels(output / path) - pixels(tmp_path / path))
        assert difference.max() <= 2, path
    for name in ("summary.csv", "summary.json", "manifest.json"):
        assert (output / name).is_file()
    ours = json.loads((output / "summary.json").read_text())["models"]
    theirs = json.loads((tmp_path / "summary.json").read_text())["models"]
    assert [[row["image"] for row in summary["images"]] for summary in ours] == [
        [row["image"] for row in summary["images"]] for summary in theirs
    ]


def test_an_image_that_cannot_be_read_is_an_item_with_an_error(jobs: Stack) -> None:
    crops = jobs.data / jobs.experiment / "crops_gt_crops/crops/test"
    broken = sorted(crops.iterdir())[0] / "broken.jpg"
    broken.write_bytes(b"not an image")
    try:
        job = jobs.wait(jobs.submit(max_images=None, models=["focal"])["id"])
    finally:
        broken.unlink()
    assert job["status"] == "partial"
    assert job["progress"] == {"total": IMAGES + 1, "succeeded": IMAGES, "failed": 1, "skipped": 0}
    with jobs.server.client() as client:
        page = client.get(f"{job['links']['items']}?status=failed").json()
        (item,) = page["items"]
        assert item["error"]["code"] == "invalid-image"
        assert item["image"].endswith("broken.jpg")
        whole = client.get(f"{job['links']['items']}?status=succeeded&limit=5").json()
        assert (whole["total"], len(whole["items"])) == (IMAGES, 5)
        figure = client.get(whole["items"][0]["links"]["figure"])
        assert figure.headers["content-type"] == "image/png"
        archive = client.get(job["links"]["archive"])
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
    assert sum("improved_gradcam_" in name for name in names) == IMAGES
    assert "summary.csv" in names


def test_a_model_that_cannot_be_loaded_fails_its_own_items(jobs: Stack) -> None:
    folder = jobs.data / jobs.experiment / "cls_damaged_focal"
    folder.mkdir()
    (folder / "best.pt").write_bytes(b"no checkpoint")
    try:
        job = jobs.wait(jobs.submit(max_images=2, models=["focal"])["id"])
    finally:
        (folder / "best.pt").unlink()
        folder.rmdir()
    assert job["status"] == "partial"
    assert (job["progress"]["succeeded"], job["progress"]["failed"]) == (2, 2)


def test_fifty_submissions_with_one_key_are_one_job(jobs: Stack) -> None:
    body = {"experiment": jobs.experiment, "max_images": 2, "models": ["cb"]}
    address = f"{jobs.server.url}/v1/jobs"

    def post(_: int) -> httpx.Response:
        return httpx.post(address, json=body, headers={"Idempotency-Key": "once"}, timeout=60)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(accepted) == 1
    refused = {answer.json()["code"] for answer in answers if answer.status_code != 202}
    assert refused <= {"idempotency-conflict"}
    job = jobs.wait(accepted.pop())
    assert job["progress"]["succeeded"] == 2
    other = httpx.post(
        address, json={**body, "max_images": 3}, headers={"Idempotency-Key": "once"}, timeout=60
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-conflict")


def test_progress_comes_as_events_that_can_be_resumed(jobs: Stack) -> None:
    job = jobs.submit(max_images=None, models=["cb"])
    with jobs.server.client() as client:
        with client.stream("GET", job["links"]["events"]) as stream:
            seen = list(events(stream))
        kinds = [kind for _, kind, _ in seen]
        assert kinds[-1] == "end"
        assert set(kinds[:-1]) == {"progress"}
        counts = [data["progress"]["succeeded"] for _, _, data in seen]
        assert counts == sorted(counts)
        assert seen[-1][2]["status"] == "succeeded"
        headers = {"Last-Event-ID": seen[-2][0]}
        with client.stream("GET", job["links"]["events"], headers=headers) as stream:
            assert [id_ for id_, _, _ in events(stream)] == [seen[-1][0]]


def test_a_webhook_tells_how_the_job_ended(jobs: Stack) -> None:
    with receiving(Receiver()) as receiver:
        job = jobs.wait(jobs.submit(max_images=1, models=["cb"], webhook=receiver.address)["id"])
        eventually("the message comes", lambda: receiver.received)
    ((headers, body),) = receiver.received
    said = Webhook(SECRET).verify(body, headers)["data"]
    assert (said["id"], said["status"]) == (job["id"], "succeeded")
    assert said["progress"] == job["progress"]


def test_a_small_job_does_not_wait_for_a_large_one(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=500, chunk_seconds="1") as made:
        made.add_worker(plain=True)
        large = made.submit(max_images=None, models=["focal"])["id"]
        made.wait_for_progress(large, 20)
        small = made.submit(max_images=20, models=["cb"])["id"]
        assert made.wait(small)["status"] == "succeeded"
        progress = made.job(large)["progress"]
        assert progress["succeeded"] < progress["total"] * 0.8
        assert made.wait(large, 180)["status"] == "succeeded"


def events(stream: httpx.Response) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, event, data) of a text/event-stream."""
    fields: dict[str, str] = {}
    for line in stream.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}

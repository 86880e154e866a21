"""What jobs must survive, with real processes: afterwards all items have succeeded, once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import redis
import torch
from PIL import Image

from cam_engine.images.png import is_whole_png
from processes.eventually import eventually
from processes.jobs import Stack, Worker, stack
from processes.serving import Server, running
from tests.tcp_proxy import Proxy
from worker.jobs.contract import Chunk
from worker.jobs.coordination.queue import CHUNKS, ChunkQueue, make_celery

pytestmark = pytest.mark.system

IMAGES = 240


def assert_whole(stack_: Stack, job: dict[str, object]) -> None:
    """Every item succeeded, its figure is whole, no half file is left."""
    progress = job["progress"]
    assert isinstance(progress, dict)
    assert job["status"] == "succeeded", job
    assert progress["succeeded"] == progress["total"]
    assert progress["failed"] == progress["skipped"] == 0
    output = stack_.data / stack_.experiment / "gradcam_visualizations"
    figures = list(output.glob("cls_*/improved_gradcam_*.png"))
    assert len(figures) == progress["total"]
    assert all(is_whole_png(figure) for figure in figures)
    assert list(output.rglob("*.part")) == []
    rows = json.loads((output / "summary.json").read_text())["models"]
    assert sum(len(row["images"]) for row in rows) == progress["total"]


def test_a_killed_child_and_a_killed_worker(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=IMAGES) as made:
        first = made.add_worker()
        job = made.submit(max_images=None, models=["focal"])["id"]
        made.wait_for_progress(job, 20)
        first.kill_child()
        made.wait_for_progress(job, 60)
        first.kill_group()
        (components,) = made.data.rglob("gradcam_visualizations/cls_*/components")
        (components / ".killed_late_heatmap.png.0123.part").write_bytes(b"half")
        made.add_worker()
        assert_whole(made, made.wait(job, 180))


def test_a_worker_that_is_told_to_stop_hands_its_chunk_back(
    sample_run: Path, tmp_path: Path
) -> None:
    with stack(sample_run, tmp_path, images=IMAGES, chunk_seconds="60") as made:
        worker = made.add_worker()
        job = made.submit(max_images=None, models=["focal"])["id"]
        made.wait_for_progress(job, 80)
        begin = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - begin < 20
        assert made.job(job)["status"] == "running"
        made.add_worker()
        assert_whole(made, made.wait(job, 120))


def test_redis_killed_and_started_again(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=IMAGES) as made:
        made.add_worker()
        job = made.submit(max_images=None, models=["focal"])["id"]
        made.wait_for_progress(job, 40)
        made.redis.kill()
        eventually(
            "the service misses it",
            lambda: httpx.get(f"{made.server.url}/v1/jobs/{job}", timeout=30).status_code == 503,
        )
        made.redis.start()
        assert_whole(made, made.wait(job, 180))


def test_redis_emptied_is_rebuilt_from_the_manifests(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=40) as made:
        job = made.submit(max_images=None, models=["focal"])["id"]
        made.redis.stop()
        shutil.rmtree(made.redis.folder)
        made.redis.folder.mkdir()
        made.redis.start()
        assert httpx.get(f"{made.server.url}/v1/jobs/{job}").status_code == 404
        made.add_worker()
        made.wait_until_known(job)
        assert_whole(made, made.wait(job))


def test_a_chunk_delivered_twice_counts_once(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=60) as made:
        job = made.submit(max_images=None, models=["focal"])["id"]
        queue = ChunkQueue(make_celery(made.redis.url))
        for end in (60, 60, 64):
            assert queue.send(Chunk(job=job, model=0, start=0, end=end, attempt=1))
        made.add_worker()
        made.add_worker()
        assert_whole(made, made.wait(job))


def test_messages_lost_on_their_way_are_sent_again(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=20) as made:
        job = made.submit(max_images=None, models=["focal"])["id"]
        with redis.Redis.from_url(made.redis.url) as client:
            # What a worker does that is killed as it receives.
            eventually("a message is there", lambda: client.delete(CHUNKS))
        made.add_worker()
        assert_whole(made, made.wait(job, 90))


def test_cancel_without_a_worker_and_in_mid_run(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=IMAGES) as made:
        idle = made.submit(max_images=None, models=["focal"])
        assert "no worker" in idle["notice"]
        httpx.post(made.server.url + idle["links"]["cancel"]).raise_for_status()
        assert made.wait(idle["id"], 15)["status"] == "canceled"
        made.add_worker()
        job = made.submit(max_images=None, models=["focal"])["id"]
        made.wait_for_progress(job, 30)
        httpx.post(f"{made.server.url}/v1/jobs/{job}/cancel").raise_for_status()
        ended = made.wait(job, 20)
        progress = ended["progress"]
        assert ended["status"] == "canceled"
        assert progress["succeeded"] + progress["failed"] + progress["skipped"] == IMAGES
        assert progress["skipped"] > 0
        again = httpx.post(f"{made.server.url}/v1/jobs/{job}/retry")
        assert again.status_code == 202, again.text
        assert_whole(made, made.wait(job, 120))


def test_the_service_restarted_in_mid_job(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=IMAGES) as made:
        made.add_worker()
        job = made.submit(max_images=None, models=["focal"])["id"]
        made.wait_for_progress(job, 20)
        made.server.process.kill()
        made.server.process.wait()
        with running(made.data, tmp_path, redis_url=made.redis.url) as server:
            made.server = server
            assert_whole(made, made.wait(job, 120))


def test_the_service_killed_in_mid_long_poll(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=20) as made, ThreadPoolExecutor(1) as pool:
        job = made.submit(max_images=None, models=["focal"])["id"]
        address = f"{made.server.url}/v1/jobs/{job}?wait=30"
        poll = pool.submit(httpx.get, address, timeout=60)
        eventually("the service has the poll", lambda: clients_of(made.server))
        assert not poll.done()
        made.server.process.kill()
        made.server.process.wait()
        with pytest.raises(httpx.TransportError):
            poll.result(timeout=10)
        with running(made.data, tmp_path, redis_url=made.redis.url) as server:
            made.server = server
            made.add_worker()
            assert_whole(made, made.wait(job, 120))


def test_output_that_is_in_use_is_refused(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=8) as made:
        made.submit(max_images=None, models=["focal"])
        body = {"experiment": made.experiment, "models": ["focal"]}
        busy = httpx.post(f"{made.server.url}/v1/jobs", json=body)
        assert (busy.status_code, busy.json()["code"]) == (409, "output-busy")
        made.submit(max_images=None, models=["cb"])  # side by side


def test_redis_out_of_reach_for_twenty_seconds(sample_run: Path, tmp_path: Path) -> None:
    with stack(sample_run, tmp_path, images=IMAGES) as made, Proxy(made.redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        made.add_worker(redis_url=url)
        job = made.submit(max_images=None, models=["focal"])["id"]
        made.wait_for_progress(job, 40)
        proxy.drop_everything()
        time.sleep(20)  # what is promised
        proxy.let_through()
        assert_whole(made, made.wait(job, 240))


def test_a_model_that_ends_its_worker_each_time_fails_its_own_items(
    sample_run: Path, tmp_path: Path
) -> None:
    with stack(sample_run, tmp_path, images=12, lease_seconds="2") as made:
        experiment = made.data / made.experiment
        source, poison = next(experiment.glob("cls_*_focal")), experiment / "cls_poison_focal"
        poison.mkdir()
        contents = torch.load(source / "best.pt", weights_only=True)
        torch.save({**contents, "epoch": 999}, poison / "best.pt")
        worker = made.add_worker()
        job = made.submit(max_images=None, models=["focal"])
        ended = threading.Event()
        killer = threading.Thread(target=kill_at_each_load, args=(worker, poison.name, ended))
        killer.start()
        try:
            done = made.wait(job["id"], 180)
        finally:
            ended.set()
            killer.join()
        assert done["status"] == "partial", done
        assert (done["progress"]["succeeded"], done["progress"]["failed"]) == (12, 12)
        page = httpx.get(made.server.url + job["links"]["items"] + "?status=failed").json()
        assert {item["error"]["code"] for item in page["items"]} == {"worker-lost"}
        assert_nothing_is_held(made)


@pytest.mark.parametrize(("images", "status"), [(4, "failed"), (12, "partial")])
def test_a_chunk_that_costs_three_workers_fails_alone(
    sample_run: Path, tmp_path: Path, images: int, status: str
) -> None:
    """Chunks of four images; a worker is killed each time that it has the last chunk."""
    with stack(sample_run, tmp_path, images=images, lease_seconds="2") as made:
        experiment = made.data / made.experiment
        make_slow(sorted(experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))[-4:])
        checkpoint = next(experiment.glob("cls_*_focal")) / "best.pt"
        made.store.remember_rate(hashlib.sha256(checkpoint.read_bytes()).hexdigest(), 4 / 3)
        worker = made.add_worker()
        job = made.submit(max_images=None, models=["focal"])
        poison = Chunk(job=job["id"], model=0, start=images - 4, end=images, attempt=1)
        assert kill_at_each_take(made, worker, poison) == 3
        done = made.wait(job["id"], 120)
        assert done["status"] == status, done
        progress = done["progress"]
        assert (progress["succeeded"], progress["failed"]) == (images - 4, 4)
        if status == "failed":
            assert (done["error"]["kind"], done["error"]["code"]) == ("system", "worker-lost")
            assert "3 times" in done["error"]["detail"]
        page = httpx.get(made.server.url + job["links"]["items"] + "?status=failed").json()
        assert [item["error"]["code"] for item in page["items"]] == ["worker-lost"] * 4
        assert_nothing_is_held(made)
        httpx.post(made.server.url + job["links"]["retry"]).raise_for_status()
        assert_whole(made, made.wait(job["id"], 120))


def clients_of(server: Server) -> list[object]:
    """Connections that the service has taken."""
    port = urlsplit(server.url).port
    held = psutil.Process(server.process.pid).net_connections("tcp")
    return [
        connection
        for connection in held
        if connection.laddr.port == port and connection.status == "ESTABLISHED"
    ]


def make_slow(images: list[Path]) -> None:
    """So large that none is done before a worker can be killed."""
    Image.linear_gradient("L").resize((4000, 4000)).save(images[0])
    for image in images[1:]:
        shutil.copy(images[0], image)


def kill_at_each_take(made: Stack, worker: Worker, chunk: Chunk) -> int:
    """Kill whoever has the chunk until nobody is given it any more; how often that was."""
    killed: list[int] = []

    def nobody_has_it() -> bool:
        given = next((out for out in made.store.out(chunk.job) if out.chunk.key == chunk.key), None)
        if given and given.taken and given.leased and given.chunk.attempt > max(killed, default=0):
            worker.kill_child()
            killed.append(given.chunk.attempt)
        return not made.store.active()

    eventually("the job is over", nobody_has_it, seconds=120, pause=0.005)
    return len(killed)


def assert_nothing_is_held(stack_: Stack) -> None:
    """No folder is locked, no half file left, and each figure is whole."""
    output = stack_.data / stack_.experiment / "gradcam_visualizations"
    assert list(output.rglob(".gradcam.lock")) == []
    assert list(output.rglob("*.part")) == []
    assert all(is_whole_png(figure) for figure in output.glob("cls_*/improved_gradcam_*.png"))


def kill_at_each_load(worker: Worker, model: str, ended: threading.Event) -> None:
    """What a checkpoint does that crashes whoever computes with it."""
    killed = 0
    while not ended.is_set():
        loads = worker.log_file.read_text().count(f'"model": "{model}"')
        if loads > killed:
            worker.kill_child()
            killed = loads
        time.sleep(0.005)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small tmpfs, which needs root")
def test_a_full_disk_fails_the_job_and_leaves_no_half_file(
    sample_run: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with stack(sample_run, tmp_path, images=60, output_root=str(small)) as made:
            made.add_worker()
            job = made.wait(made.submit(max_images=None, models=["focal"], output="o")["id"])
            assert job["status"] == "failed"
            assert job["error"]["code"] == "output-not-writable"
            assert job["error"]["kind"] == "system"
            figures = list((small / "o").rglob("*.png"))
            assert figures
            assert all(is_whole_png(figure) for figure in figures)
            assert list((small / "o").rglob("*.part")) == []
            progress = job["progress"]
            assert progress["skipped"] > 0
            assert sum(progress[k] for k in ("succeeded", "failed", "skipped")) == 60
            subprocess.run(["mount", "-o", "remount,size=200m", str(small)], check=True)
            httpx.post(made.server.url + job["links"]["retry"]).raise_for_status()
            assert made.wait(job["id"])["progress"]["succeeded"] == 60
    finally:
        subprocess.run(["umount", str(small)], check=True)

"""`gradcam jobs` and clients of streams, when the service is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from cam_engine.images.png import encode_png, read_png_text
from processes.eventually import eventually
from processes.jobs import Stack, copy_experiment, stack_on
from processes.redis_server import running_redis
from processes.serving import running
from tests.system import previous_version

pytestmark = pytest.mark.system

LEFT = previous_version.read(Path(__file__).with_name("left_by_the_version_before.json.gz"))
ENDED, QUEUED = LEFT["jobs"]["ended"], LEFT["jobs"]["queued"]
PICTURE_SHAPE = (2000, 2000, 3)  # 12 MB each: no archive of these fits into what sockets hold


@pytest.fixture
def made(sample_run: Path, tmp_path: Path) -> Iterator[Stack]:
    """An ended job of large pictures, and one that waits for a worker."""
    data = tmp_path / "results"
    copy_experiment(sample_run, data, previous_version.IMAGES)
    previous_version.put_files_back(LEFT, data)
    noise = np.random.default_rng(0).integers(0, 256, PICTURE_SHAPE, np.uint8)
    for picture in data.rglob("gradcam_visualizations/cls_*/components/*.png"):
        picture.write_bytes(encode_png(noise, text=read_png_text(picture)))
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as before:
        previous_version.put_keys_back(LEFT, before.url)
    with stack_on(data, tmp_path, lease_seconds="4") as stack:
        yield stack


@contextmanager
def gradcam_jobs(made: Stack, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "service", "jobs", *words, "--url", made.server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_said(words: str, client: subprocess.Popen[str]) -> None:
    assert client.stderr is not None
    assert any(words in line for line in client.stderr)


def kill_service(made: Stack) -> None:
    made.server.process.kill()
    made.server.process.wait()


def wait_for(file: Path) -> None:
    eventually(
        f"{file.name} has begun",
        lambda: file.exists() and file.stat().st_size,
        seconds=60,
        pause=0.001,
    )


def test_a_download_that_breaks_off_leaves_no_file(made: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    target = folder / "job.zip"
    with gradcam_jobs(made, "download", ENDED, "--output", str(target)) as client:
        wait_for(folder / ".job.zip.part")
        client.send_signal(signal.SIGSTOP)  # so that it has not all come yet
        kill_service(made)
        client.send_signal(signal.SIGCONT)
        out, err = client.communicate(timeout=60)
    assert (client.returncode, out) == (2, "")
    assert "service-unreachable" in err
    assert "broke off after" in err
    assert list(folder.iterdir()) == []
    with (
        running(made.data, tmp_path, redis_url=made.redis.url) as made.server,
        gradcam_jobs(made, "download", ENDED, "--output", str(target)) as again,
    ):
        again.communicate(timeout=60)
        assert again.returncode == 0
    assert [file.name for file in folder.iterdir()] == ["job.zip"]


@pytest.mark.parametrize(("job", "part"), [(ENDED, "archive"), (QUEUED, "events")])
def test_a_stream_that_breaks_off_is_seen_to(made: Stack, job: str, part: str) -> None:
    address = f"{made.server.url}/v1/jobs/{job}/{part}"
    with httpx.stream("GET", address, timeout=30) as stream:
        chunks = stream.iter_raw()
        assert next(chunks)
        kill_service(made)
        with pytest.raises(httpx.TransportError):
            list(chunks)


def test_a_watch_says_that_the_service_is_away_and_can_be_started_again(
    made: Stack, tmp_path: Path
) -> None:
    with gradcam_jobs(made, "watch", QUEUED) as client:
        wait_until_asked(made)
        kill_service(made)
        _, err = client.communicate(timeout=120)
    assert client.returncode == 2
    assert "service-unreachable" in err
    assert f"gradcam jobs watch {QUEUED}" in err
    with running(made.data, tmp_path, redis_url=made.redis.url) as made.server:
        made.add_worker()
        with gradcam_jobs(made, "watch", QUEUED, "--json") as again:
            out, _ = again.communicate(timeout=120)
        assert (again.returncode, json.loads(out)["status"]) == (0, "succeeded")


def test_a_watch_goes_on_with_a_service_that_comes_back(made: Stack, tmp_path: Path) -> None:
    with gradcam_jobs(made, "watch", QUEUED) as client:
        wait_until_asked(made)
        kill_service(made)
        wait_until_said("asking again", client)
        port = str(urlsplit(made.server.url).port)
        with running(made.data, tmp_path, "--port", port, redis_url=made.redis.url) as made.server:
            made.add_worker()
            out, _ = client.communicate(timeout=120)
    assert client.returncode == 0
    assert f"{QUEUED}  succeeded: 2 succeeded" in out


def test_a_watch_goes_on_while_redis_is_away(made: Stack) -> None:
    with gradcam_jobs(made, "watch", QUEUED) as client:
        wait_until_asked(made)
        made.redis.kill()
        wait_until_said("asking again", client)
        made.redis.start()
        made.add_worker()
        out, _ = client.communicate(timeout=120)
    assert client.returncode == 0
    assert f"{QUEUED}  succeeded: 2 succeeded" in out


def wait_until_asked(made: Stack) -> None:
    """The client has asked for the job, and is most likely asking again, with a wait."""
    eventually(
        "the client has asked",
        lambda: any(line.get("path", "").endswith(QUEUED) for line in made.server.log()),
        seconds=60,
    )
    time.sleep(1)  # a request that waits is in no log before its answer

"""A service whose data root is in a bucket: what it answers is what it answers of a folder."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cam_engine.errors import DataUnavailable, InvalidOption
from cam_engine.stores import access
from cam_engine.stores.access import MirrorOptions
from processes.eventually import eventually
from processes.redis_server import free_port
from processes.serving import running
from service.commands.serve import check_data
from service.commands.up import _data
from service.models.catalog import Catalog
from service.settings import Settings
from tests.buckets import Bucket, new_bucket, requests_of
from tests.s3_server import S3Server, running_s3, serving
from tests.service.asking import (
    EXPLANATIONS,
    FOCAL,
    JSON,
    LIFECYCLE,
    RING,
    assert_problem,
    facts,
    post_image,
)

EXPERIMENTS, MODELS = 100, 20


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: S3Server, sample_run: Path) -> Bucket:
    made = new_bucket(s3)
    made.put_tree(sample_run, "lab/")
    return made


@pytest.fixture(scope="module")
def in_bucket(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    scratch = tmp_path_factory.mktemp("in_bucket")
    settings = {"data_cache": str(scratch / "cache"), "data_listing_seconds": "0"}
    settings["catalog_seconds"] = "0"
    data = bucket.address / "lab"
    with running(data, scratch, **settings) as started, started.client() as client:
        yield client


def test_experiments_and_models_are_those_of_the_folder(
    in_bucket: httpx.Client, http: httpx.Client
) -> None:
    for address in ("/v1/experiments", "/v1/models", f"/v1/experiments/{LIFECYCLE}/images"):
        theirs, ours = facts(in_bucket.get(address)), facts(http.get(address))
        for model in (*theirs.get("models", ()), *ours.get("models", ())):
            model.pop("loaded", None)
            model.pop("read", None)
        assert theirs == ours


def test_an_image_of_the_bucket_is_explained_as_one_of_the_folder(
    in_bucket: httpx.Client, http: httpx.Client
) -> None:
    body = {"experiment": LIFECYCLE, "image": RING, "model": FOCAL}
    theirs, ours = (
        facts(client.post(EXPLANATIONS, json=body, headers=JSON)) for client in (in_bucket, http)
    )
    assert theirs["prediction"] == ours["prediction"]
    assert theirs["model"] == ours["model"]
    pictures = [client.post(EXPLANATIONS, json=body).content for client in (in_bucket, http)]
    assert pictures[0] == pictures[1]


def test_what_is_new_in_the_bucket_is_there_for_the_next_request(
    bucket: Bucket, in_bucket: httpx.Client, sample_run: Path
) -> None:
    content = (sample_run / FOCAL / "best.pt").read_bytes()
    key = f"lab/{LIFECYCLE}/cls_new_focal/best.pt"
    bucket.put(key, content)
    try:
        models = {model["id"] for model in facts(in_bucket.get("/v1/models"))["models"]}
        assert f"{LIFECYCLE}/cls_new_focal" in models
    finally:
        bucket.remove(key)
    models = {model["id"] for model in facts(in_bucket.get("/v1/models"))["models"]}
    assert f"{LIFECYCLE}/cls_new_focal" not in models


def test_a_replaced_checkpoint_is_loaded_anew(
    bucket: Bucket, in_bucket: httpx.Client, sample_run: Path, cell: Path
) -> None:
    key = f"lab/{FOCAL}/best.pt"
    original = (sample_run / FOCAL / "best.pt").read_bytes()
    other = (sample_run / FOCAL.replace("focal", "cb") / "best.pt").read_bytes()
    seen = []
    for content in (original, other, original):
        bucket.put(key, content)
        answer = facts(post_image(in_bucket, cell, model=FOCAL, headers=JSON))
        seen.append(answer["model"]["sha256"])
    assert seen[0] == seen[2] != seen[1]


def test_no_key_beside_the_prefix_is_reached(bucket: Bucket, in_bucket: httpx.Client) -> None:
    bucket.put("secret/cell.jpg", b"x")
    for path in ("../secret/cell.jpg", "/secret/cell.jpg", "%2e%2e/secret/cell.jpg"):
        body = {"model": FOCAL, "experiment": LIFECYCLE, "image": path}
        answer = in_bucket.post(EXPLANATIONS, json=body)
        assert answer.status_code in {403, 404, 422}, answer.text
        assert bucket.name not in answer.text


@pytest.mark.system
def test_a_bucket_that_goes_away_is_told_and_comes_back(
    sample_run: Path, tmp_path: Path, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION"):
        monkeypatch.setenv(f"AWS_{name}", "us-east-1")
    settings = {"data_cache": str(tmp_path / "cache"), "data_listing_seconds": "0"}
    settings["catalog_seconds"] = "0"
    with serving(port) as url:
        bucket = new_bucket(S3Server(url))
        bucket.put_tree(sample_run, "lab/")
        started = running(bucket.address / "lab", tmp_path, **settings)
        server = started.__enter__()
    try:
        with server.client() as client:
            assert post_image(client, cell).status_code == 200  # its model is in memory
            assert facts(client.get("/v1/experiments"))["experiments"]  # as it was listed before
            body = {"experiment": LIFECYCLE, "image": RING}
            answer = client.post(EXPLANATIONS, json=body, headers=JSON)
            assert_problem(answer, "data-unavailable")
            assert bucket.name not in answer.text
            assert str(port) not in answer.text
            assert "listed before is kept" in server.log_file.read_text()
            with serving(port):  # what is stored outlives a server in the same process
                eventually(
                    "the bucket is asked again",
                    lambda: client.post(EXPLANATIONS, json=body, headers=JSON).is_success,
                    seconds=40,
                    pause=1.0,
                )
    finally:
        started.__exit__(None, None, None)


@pytest.mark.system
def test_a_hundred_experiments_of_twenty_models_are_listed_by_a_request_each(
    s3: S3Server, tmp_path: Path
) -> None:
    """How long that takes is for benchmarks/bucket.py to say."""
    bucket = new_bucket(s3)
    keys = [
        f"lab/run_20260101_000000/experiments/experiment_{e:03}/cls_net{m:02}_focal/best.pt"
        for e in range(EXPERIMENTS)
        for m in range(MODELS)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: bucket.put(key, b"x"), keys))
    root = access.local(bucket.address / "lab", MirrorOptions(tmp_path / "cache"))
    with requests_of(bucket) as asked:
        catalog = Catalog(root, 0)
        assert len(catalog.models()) == EXPERIMENTS * MODELS
    assert EXPERIMENTS < len(asked) < EXPERIMENTS + 10
    with requests_of(bucket) as asked:
        assert len(catalog.models()) == EXPERIMENTS * MODELS
    assert asked == []


@pytest.mark.parametrize("is_there", [True, False])
def test_a_place_that_is_not_there_ends_the_start(
    bucket: Bucket, tmp_path: Path, is_there: bool
) -> None:
    data = (bucket.address if is_there else Path("s3://none-such")) / "nothing"
    settings = Settings(data=data, data_cache=tmp_path / "cache")
    with pytest.raises(InvalidOption if is_there else DataUnavailable, match=r"s3://.*/nothing"):
        check_data(settings.data_folder)


def test_jobs_need_a_place_for_their_pictures(bucket: Bucket, tmp_path: Path) -> None:
    code = (
        "from worker.jobs.outputs.places import Places\n"
        "from worker.jobs.settings import JobSettings\n"
        f"Places(JobSettings(data='s3://{bucket.name}/lab', data_cache={str(tmp_path)!r}))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "set GRADCAM_OUTPUT_STORE or GRADCAM_OUTPUT_ROOT" in ended.stderr


def test_all_children_of_up_get_the_address(tmp_path: Path) -> None:
    assert access.is_in_bucket(Path(_data(argparse.Namespace(data=Path("s3://bucket/lab")))))
    assert _data(argparse.Namespace(data=tmp_path)) == str(tmp_path)

"""Images that are dear to decode, through each of the service's entrances: refused, and over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.hostile_images import png
from tests.service.asking import (
    CB,
    EXPLANATIONS,
    LIFECYCLE,
    RING,
    as_client,
    assert_problem,
    post_image,
    sound,
)

DEAR = "crops_gt_crops/crops/test/ring/dear.png"
SAYS = "decoding it took longer than"  # 0.5 s of a processor, or 2 s by the clock


@pytest.fixture(scope="module")
def dear() -> bytes:
    """20 million pixels of 16 bits, within all limits: some seconds of a processor."""
    return png(4500, 4500, 16, 6)


@pytest.fixture(scope="module")
def asked(
    sample_run: Path, dear: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A service with half a second for an image, on a data root that holds a dear one."""
    root = tmp_path_factory.mktemp("root") / sample_run.name
    shutil.copytree(sample_run, root)
    (root / LIFECYCLE / DEAR).write_bytes(dear)
    settings = Settings(data=root, auth="off", decoding_seconds=0.5, decoding_processes=2)
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield as_client(client)


def test_an_upload(asked: httpx.Client, dear: bytes) -> None:
    assert SAYS in assert_problem(post_image(asked, dear, model=CB), "invalid-image")["detail"]


def test_a_stored_image(asked: httpx.Client) -> None:
    body = {"experiment": LIFECYCLE, "image": DEAR, "model": CB}
    assert SAYS in assert_problem(asked.post(EXPLANATIONS, json=body), "invalid-image")["detail"]


def test_a_thumbnail(asked: httpx.Client) -> None:
    answer = asked.get(f"/v1/experiments/{LIFECYCLE}/thumbnails/{DEAR}")
    assert SAYS in assert_problem(answer, "invalid-image")["detail"]


def test_a_prediction(asked: httpx.Client) -> None:
    answer = sound(asked.get(f"/v1/experiments/{LIFECYCLE}/predictions", params={"model": CB}))
    told = {
        prediction["image"]: prediction["problem"] for prediction in answer.json()["predictions"]
    }
    assert told.pop(DEAR) == "invalid-image"
    assert set(told.values()) == {None}


def test_others_are_answered_after_it(asked: httpx.Client, dear: bytes, sample_run: Path) -> None:
    for _ in range(3):
        assert_problem(post_image(asked, dear, model=CB), "invalid-image")
        sound(post_image(asked, sample_run / LIFECYCLE / RING, model=CB))


def test_decoding_ends_with_the_service(sample_run: Path) -> None:
    before = decoders()
    app = create_app(Settings(data=sample_run, auth="off", decoding_processes=3))
    with TestClient(app, base_url="http://localhost") as client:
        sound(post_image(as_client(client), sample_run / LIFECYCLE / RING, model=CB))
        assert len(decoders() - before) == 3
    assert decoders() <= before


def decoders() -> set[int]:
    """Ids of the processes of this one that decode images."""
    children = psutil.Process().children()
    return {
        child.pid for child in children if "cam_engine.images.decoding_process" in child.cmdline()
    }

"""Two services, one data root, nginx before them: whichever is asked, the answer is the same."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from processes.cluster import Cluster, cluster, nginx_binary
from processes.eventually import eventually
from processes.jobs import FINAL, copy_experiment
from processes.serving import Server
from tests.pages.conftest import browser, open_page, page, until
from tests.pages.test_compare import compared, test_the_numbers_are_those_of_the_maps
from tests.pages.test_look import (
    sample,
    test_a_sample_is_explained_in_three_layers_and_its_link_reopens_it,
    test_another_model_explains_the_same_image,
)
from tests.service.asking import JSON, metric

# The tests of pages are collected here as well, with the `site` below.
__all__ = [
    "browser",
    "compared",
    "open_page",
    "page",
    "sample",
    "test_a_sample_is_explained_in_three_layers_and_its_link_reopens_it",
    "test_another_model_explains_the_same_image",
    "test_the_numbers_are_those_of_the_maps",
]

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

EXPLANATIONS = "/v1/explanations"
REQUESTS = int(os.environ.get("GRADCAM_CLUSTER_REQUESTS", "1000"))
CALLERS = 8
ALPHAS = itertools.count(1)


def _needs_nginx() -> None:
    if nginx_binary() is None:
        needed = os.environ.get("CI") or os.environ.get("GRADCAM_REQUIRE_NGINX") == "1"
        (pytest.fail if needed else pytest.skip)("no nginx (apt install nginx-light)")


@pytest.fixture(scope="module")
def made(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    _needs_nginx()
    scratch = tmp_path_factory.mktemp("cluster")
    copy_experiment(sample_run, scratch / "results", 24)
    data = scratch / "results"
    with cluster(data, scratch, workers=1, chunk_seconds="1", lease_seconds="4") as started:
        yield started


@pytest.fixture
def cell(lifecycle: Path) -> Path:
    return lifecycle / "crops_gt_crops/crops/test/schizont/cell_001.jpg"


@pytest.fixture(scope="module")
def site(made: Cluster) -> Server:
    """What tests of pages are shown: nginx, with the log of one of the services."""
    server = made.replicas[0].server
    assert server is not None
    return Server(made.url, server.process, server.log_file)


@pytest.fixture(scope="module")
def experiment(made: Cluster) -> str:
    with made.client() as client:
        found: str = client.get("/v1/experiments").json()["experiments"][0]["path"]
    return found


@pytest.fixture(scope="module")
def images(made: Cluster, experiment: str) -> list[str]:
    with made.client() as client:
        listed = client.get(f"/v1/experiments/{experiment}/images").json()["images"]
    return [image["path"] for image in listed]


@pytest.fixture
def both(made: Cluster) -> Iterator[list[httpx.Client]]:
    """A client of each service by itself."""
    made.wait_until_all_are_asked()
    clients = [httpx.Client(base_url=replica.url, timeout=60) for replica in made.replicas]
    yield clients
    for client in clients:
        client.close()


def question(experiment: str, image: str, **more: Any) -> dict[str, Any]:
    """Like no other: its answer is in nobody's memory yet."""
    return {"experiment": experiment, "image": image, "alpha": next(ALPHAS) / 1e6, **more}


def test_requests_are_shared_out(made: Cluster, both: list[httpx.Client]) -> None:
    with made.client() as client:
        answers = Counter(client.get("/healthz").headers["x-gradcam-replica"] for _ in range(20))
    assert sorted(answers.values()) == [10, 10]


@pytest.mark.parametrize("headers", [{}, JSON, {"Accept": "application/zip"}], ids=str)
def test_an_answer_is_the_same_bytes_from_either(
    both: list[httpx.Client], experiment: str, images: list[str], headers: dict[str, str]
) -> None:
    for one, other in (both, both[::-1]):
        posted = one.post(EXPLANATIONS, json=question(experiment, images[0]), headers=headers)
        place = posted.headers["content-location"]
        again = other.get(place, headers=headers)
        assert again.content == posted.content
        assert again.headers["etag"] == posted.headers["etag"]
        beneath = {client.get(f"{place}/image?enhanced=true").content for client in both}
        assert len(beneath) == 1


def test_an_upload_is_had_again_from_the_other(both: list[httpx.Client], cell: Path) -> None:
    data = {"alpha": str(next(ALPHAS) / 1e6)}
    posted = both[0].post(EXPLANATIONS, files={"image": ("é.jpg", cell.read_bytes())}, data=data)
    place = posted.headers["content-location"]
    assert both[1].get(place).content == posted.content
    numbers = [client.get(place, headers=JSON).json() for client in both]
    assert numbers[0] == numbers[1]
    assert numbers[0]["image"]["name"] == "é.jpg"


def test_view_tokens_hold_at_both_and_show_what_was_made_at_either(
    both: list[httpx.Client], experiment: str, images: list[str]
) -> None:
    def bearer(client: httpx.Client, **scope: str) -> dict[str, str]:
        answer = client.post("/v1/view-tokens", json={"experiment": experiment, **scope})
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    token = bearer(both[0])
    posted = both[1].post(EXPLANATIONS, json=question(experiment, images[1]), headers=token)
    place = posted.headers["content-location"]
    assert both[0].get(place, headers=token).content == posted.content
    assert both[0].get(f"{place}/image", headers=token).status_code == 200
    narrower = bearer(both[1], image=images[1])
    assert [client.get(place, headers=narrower).status_code for client in both] == [404, 404]


def test_predictions_are_made_once(both: list[httpx.Client], experiment: str) -> None:
    models = [model["id"] for model in both[0].get("/v1/models").json()["models"]]
    [model, *_] = [id_ for id_ in models if id_.startswith(experiment)]
    asked = {"model": model, "limit": "64"}
    pages = [
        client.get(f"/v1/experiments/{experiment}/predictions", params=asked).json()
        for client in both
    ]
    assert pages[0] == pages[1]


@dataclass
class Load:
    """Callers who ask for explanations by nginx, and for each again; what became of it."""

    made: Cluster
    experiment: str
    images: list[str]
    sent: Iterator[int] = field(default_factory=itertools.count)
    posted: Counter[int] = field(default_factory=Counter)
    had_again: Counter[int] = field(default_factory=Counter)
    crossed: int = 0
    failed_at: list[float] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def call(self, most: int) -> None:
        with self.made.client() as client:
            while not self.stop.is_set() and next(self.sent) < most:
                self.one(client)

    def one(self, client: httpx.Client) -> None:
        begun = time.monotonic()
        number = next(ALPHAS)
        asked = question(self.experiment, self.images[number % len(self.images)])
        posted = client.post(EXPLANATIONS, json=asked)
        self.posted[posted.status_code] += 1
        if posted.status_code != 200:
            self.failed_at.append(begun)
            return
        place = posted.headers["content-location"]
        for address in (place, f"{place}/image"):
            begun = time.monotonic()
            again = client.get(address)
            self.had_again[again.status_code] += 1
            if again.status_code != 200:
                self.failed_at.append(begun)
            if again.headers["x-gradcam-replica"] != posted.headers["x-gradcam-replica"]:
                self.crossed += 1


@contextmanager
def under_load(load: Load, most: int) -> Iterator[None]:
    """Callers call meanwhile, and until so many explanations were asked for at the end."""
    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(load.call, most) for _ in range(CALLERS)]
        try:
            yield
        except BaseException:
            load.stop.set()
            raise
        for caller in callers:
            caller.result()


@pytest.fixture
def load(made: Cluster, experiment: str, images: list[str]) -> Load:
    made.wait_until_all_are_asked()
    return Load(made, experiment, images)


def test_no_answer_is_lost(load: Load) -> None:
    """A POST in three requests, a GET of its answer and one of the image beneath."""
    posts = REQUESTS // 3 + 1
    with under_load(load, posts):
        pass
    assert load.posted == {200: posts}
    assert load.had_again == {200: 2 * posts}
    assert load.crossed > posts / 2


def test_a_replica_that_is_killed_takes_only_what_it_had_in_its_hands(load: Load) -> None:
    victim = load.made.replicas[1]
    with under_load(load, 10**9):
        eventually("there is load", lambda: load.had_again[200] > 50)
        victim.kill()
        killed = time.monotonic()
        before = load.had_again[200]
        eventually("it goes on", lambda: load.had_again[200] > before + 100)
        load.stop.set()
    victim.start()
    # Each caller waits for one answer, so that so many at most were in its hands.
    assert len(load.failed_at) <= CALLERS
    assert all(begun <= killed for begun in load.failed_at)
    assert set(load.had_again) == {200}
    assert set(load.posted) <= {200, 502}


def test_a_restart_in_turn_loses_nothing(load: Load) -> None:
    with under_load(load, 10**9):
        eventually("there is load", lambda: load.had_again[200] > 20)
        statuses = load.made.restart_in_turn()
        load.stop.set()
    assert statuses == [0, 0]
    assert set(load.posted) == {200}
    assert set(load.had_again) == {200}


def test_without_redis_answers_come_and_are_shared_once_it_is_back(
    made: Cluster, both: list[httpx.Client], experiment: str, images: list[str]
) -> None:
    one, other = both
    made.redis.kill()
    try:
        posted = one.post(EXPLANATIONS, json=question(experiment, images[2]))
        assert posted.status_code == 200
        place = posted.headers["content-location"]
        assert one.get(place).content == posted.content
        assert other.get(place).status_code == 404
        eventually("it is seen", lambda: metric(one, "gradcam_shared_store_up") == 0)
    finally:
        made.redis.start()
    eventually("it is shared", lambda: other.get(place).status_code == 200)
    assert other.get(place).content == posted.content


def test_a_redis_that_hangs_holds_requests_up_once(
    made: Cluster, both: list[httpx.Client], experiment: str, images: list[str]
) -> None:
    made.redis.pause()
    try:
        for _ in range(3):
            asked = question(experiment, images[3])
            assert [client.post(EXPLANATIONS, json=asked).status_code for client in both] == [
                200,
                200,
            ]
        for client in both:
            eventually("it is seen", lambda: metric(client, "gradcam_shared_store_up") == 0)  # noqa: B023
    finally:
        made.redis.resume()
    for client in both:
        eventually("it is back", lambda: metric(client, "gradcam_shared_store_up") == 1)  # noqa: B023


def test_a_job_is_watched_through_nginx_to_its_end(
    made: Cluster, experiment: str, open_page: Callable[..., Any]
) -> None:
    with open_page(f"/jobs?experiment={experiment}", url=made.url) as shown:
        shown.get_by_role("button", name="Start").click()
        shown.wait_for_url("**/jobs?id=*")
        job = shown.url.split("id=")[1]
        with made.client() as client:
            ended = eventually(
                "the job has ended",
                lambda: (
                    state
                    if (state := client.get(f"/v1/jobs/{job}").json())["status"] in FINAL
                    else None
                ),
                seconds=120,
            )
        assert ended["status"] == "succeeded"
        expect(shown.locator("#job-count")).to_contain_text("100 %")


def test_the_gallery_has_all_its_pictures(made: Cluster, experiment: str, page: Page) -> None:
    page.goto(f"{made.url}/experiment?path={experiment}", timeout=120_000)
    until(page, "!!document.querySelector('.tile') && document.querySelector('#predicting').hidden")
    until(page, "[...document.querySelectorAll('.tile img')].some((image) => image.naturalWidth)")


def test_an_embedded_viewer_has_its_picture_from_both(
    made: Cluster, experiment: str, images: list[str], page: Page
) -> None:
    """It posts to one and asks the other for the image beneath."""
    address = f"{made.url}/embed/viewer?experiment={experiment}&image={images[0]}"
    with page.expect_response(lambda answer: "/image" in answer.url) as beneath:
        page.goto(address)
    assert beneath.value.status == 200

"""A service that is away for a while: waited for, and nothing that is shown is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from processes.serving import Server, running
from tests.pages.conftest import until
from tests.pages.test_experiment import CB, FOCAL, IMAGES, LIFECYCLE
from tests.tcp_proxy import Proxy

pytestmark = pytest.mark.system

LOST = ("ERR_", "502", "503", "504")
EXPERIMENT = f"/experiment?path={LIFECYCLE}&model={CB}"
ALL_PICTURES = (
    "[...document.querySelectorAll('.tile img')].length > 0 && "
    "[...document.querySelectorAll('.tile img')].every((one) => one.src && one.naturalWidth)"
)


@pytest.fixture
def proxy(site: Server) -> Iterator[Proxy]:
    """A way to the service that can be closed and opened."""
    with Proxy(urlsplit(site.url).port or 80) as opened:
        yield opened


@pytest.fixture
def open_through(open_page: Callable[..., Any], proxy: Proxy) -> Callable[..., Any]:
    """As `open_page`, through the proxy, which the first request like `until_asked` closes."""

    @contextmanager
    def open_at(path: str, until_asked: str) -> Iterator[Page]:
        url = f"http://127.0.0.1:{proxy.port}"
        with open_page("/docs", url, expected=LOST) as page:

            def close(route: Route) -> None:
                proxy.close()
                route.continue_()

            page.route(re.compile(until_asked), close, times=1)
            page.goto(path)
            yield page

    return open_at


def score(page: Page, model: str) -> Any:
    return page.locator(f'tr[data-model="{model}"] .score')


def expect_all_there(page: Page) -> None:
    """Predictions of both models, all pictures, and no word of an outage."""
    for model in (CB, FOCAL):
        expect(score(page, model)).to_have_text(re.compile(rf"^\d+ %, \d+ of {IMAGES}$"))
    until(page, ALL_PICTURES)
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#predicting")).to_be_hidden()


@pytest.mark.system
def test_a_gallery_goes_on_where_the_service_was_lost(
    open_through: Callable[..., Any], proxy: Proxy
) -> None:
    with open_through(EXPERIMENT, rf"predictions\?.*{FOCAL.rpartition('/')[2]}") as page:
        expect(page.locator("#offline")).to_be_visible()
        before = score(page, CB).inner_text()
        assert f"of {IMAGES}" in before
        expect(page.locator("#predicted-text")).to_contain_text("goes on by itself")
        expect(score(page, FOCAL)).not_to_contain_text("connection")
        proxy.open()
        expect_all_there(page)
        assert score(page, CB).inner_text() == before


@pytest.mark.system
def test_thumbnails_and_lists_of_images_are_asked_for_again(
    open_through: Callable[..., Any], proxy: Proxy
) -> None:
    for asked in (r"/thumbnails/", r"/images\?"):
        with open_through(EXPERIMENT, asked) as page:
            expect(page.locator("#offline")).to_be_visible()
            proxy.open()
            expect_all_there(page)


@pytest.mark.system
@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/", "#samples button img[src^=blob]"),
        ("/compare", "#measured"),
        ("/experiment", ".experiment-card"),
        (EXPERIMENT, ".tile"),
    ],
)
def test_lists_that_a_page_begins_with_are_waited_for(
    open_through: Callable[..., Any], proxy: Proxy, path: str, there: str
) -> None:
    with open_through(path, r"/v1/(models|experiments)") as page:
        expect(page.locator("#offline")).to_be_visible()
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        proxy.open()
        expect(page.locator(there).first).to_be_visible()
        expect(page.locator("#offline")).to_be_hidden()


@pytest.mark.system
def test_a_service_that_starts_anew_on_its_port_is_found_again(
    open_page: Callable[..., Any], sample_run: Path, tmp_path: Path
) -> None:
    with (
        running(sample_run, tmp_path) as server,
        open_page("/docs", server.url, expected=LOST) as page,
    ):

        def kill(route: Route) -> None:
            server.process.kill()
            server.process.wait()
            route.continue_()

        page.route("**/predictions?*", kill, times=1)
        page.goto(EXPERIMENT)
        expect(page.locator("#offline")).to_be_visible()
        port = str(urlsplit(server.url).port)
        with running(sample_run, tmp_path, "--port", port):
            expect_all_there(page)


def test_what_a_viewer_misses_is_waited_for_as_well(open_page: Callable[..., Any]) -> None:
    with open_page("/", expected=LOST) as page:
        page.locator("#samples button").first.click()
        page.locator("#layers button").first.wait_for()
        page.route(re.compile("/v1/|/healthz"), lambda route: route.abort())
        menus = page.get_by_role("group", name="View", exact=True)
        menus.get_by_label("Method").select_option("hirescam")
        expect(page.locator("#offline")).to_be_visible()
        page.unroute(re.compile("/v1/|/healthz"))
        until(page, "document.querySelector('#viewer').facts.options.method === 'hirescam'")
        expect(page.locator("#offline")).to_be_hidden()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_the_answer_of_a_proxy_without_its_service_is_no_refusal(
    open_page: Callable[..., Any], status: int
) -> None:
    with open_page("/docs", expected=LOST) as page:
        answered: list[str] = []

        def answer(route: Route) -> None:
            answered.append(route.request.url)
            route.fulfill(status=status, content_type="text/html", body="<h1>Bad gateway</h1>")

        page.route("**/v1/**", answer, times=3)
        page.goto(EXPERIMENT)
        expect_all_there(page)
        assert len(answered) == 3


def test_a_refusal_of_a_model_is_said_once_and_not_asked_again(
    open_page: Callable[..., Any],
) -> None:
    with open_page("/docs", expected=("422",)) as page:
        asked: list[str] = []
        said = {"code": "checkpoint-invalid", "title": "Damaged", "detail": "the file is damaged"}

        def refuse(route: Route) -> None:
            asked.append(route.request.url)
            route.fulfill(status=422, json=said)

        page.route(re.compile(rf"predictions\?.*{FOCAL.rpartition('/')[2]}"), refuse)
        page.goto(EXPERIMENT)
        expect(score(page, FOCAL)).to_have_text("the file is damaged")
        expect(score(page, CB)).to_contain_text(f"of {IMAGES}")
        expect(page.locator("#predicting")).to_be_hidden()
        assert len(asked) == 1


def test_the_pause_between_tries_grows_and_has_an_end(open_page: Callable[..., Any]) -> None:
    with open_page("/docs", expected=LOST) as page:
        page.clock.install()
        asked: list[float] = []

        def lose(route: Route) -> None:
            asked.append(page_seconds)
            route.abort()

        page.route(re.compile("/v1/|/healthz"), lose)
        page_seconds = 0.0
        page.goto(EXPERIMENT)
        expect(page.locator("#offline")).to_be_visible()
        for second in range(1, 121):
            page_seconds = float(second)
            page.clock.run_for(1000)
            page.wait_for_timeout(20)
        tries = sorted(set(asked))
        pauses = [after - before for before, after in pairwise(tries)]
        assert max(pauses) <= 15
        assert max(pauses[-3:]) > 5
        assert len(asked) < 40

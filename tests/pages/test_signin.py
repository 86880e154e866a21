"""Keys in the browser: asked for, tried, kept for the tab only, and forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from processes.serving import Server, listening, running
from tests.pages.conftest import until

pytestmark = pytest.mark.system

KEY = "a-key-of-the-test-that-is-long-enough-0123456789"


@pytest.fixture(scope="module")
def locked(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service where a key is needed."""
    with running(sample_run, tmp_path_factory.mktemp("locked"), api_keys=KEY) as server:
        yield server


def sign_in(page: Page, key: str) -> None:
    page.get_by_role("textbox", name="API key").fill(key)
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()


def test_a_wrong_key_is_refused_a_right_one_opens_the_page(
    open_page: Callable[..., Any], locked: Server
) -> None:
    with open_page(url=locked.url, expected=("401",)) as page:
        expect(page.get_by_role("dialog")).to_be_visible()
        sign_in(page, "not-the-key")
        expect(page.get_by_text("This key is wrong.")).to_be_visible()
        sign_in(page, KEY)
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.locator("#samples button").first).to_be_visible()
        assert page.evaluate("Object.values(sessionStorage)") == [KEY]
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        assert KEY not in page.url
        page.reload()
        expect(page.locator("#samples button").first).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_without_a_key_the_page_says_why_it_is_empty(
    open_page: Callable[..., Any], locked: Server
) -> None:
    with open_page(url=locked.url, expected=("401",)) as page:
        page.get_by_role("button", name="Not now").click()
        said = page.locator("#state [role=alert]")
        expect(said).to_contain_text("A key is needed")
        expect(said).not_to_contain_text("X-API-Key")
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        said.get_by_role("button", name="Sign in").click()
        sign_in(page, KEY)
        expect(page.locator("#samples button").first).to_be_visible()


@pytest.mark.parametrize("path", ["/compare", "/experiment", "/jobs"])
def test_every_page_asks_for_the_key_in_peoples_words(
    open_page: Callable[..., Any], locked: Server, path: str
) -> None:
    with open_page(path, url=locked.url, expected=("401",)) as page:
        page.get_by_role("button", name="Not now").click()
        said = page.locator("#state [role=alert]")
        expect(said).to_contain_text("A key is needed")
        expect(said).not_to_contain_text("X-API-Key")
        expect(said.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_key_that_is_taken_back_is_asked_for_in_peoples_words(
    open_page: Callable[..., Any], locked: Server
) -> None:
    with open_page(url=locked.url, expected=("401",)) as page:
        sign_in(page, KEY)
        until(page, "document.querySelectorAll('#samples img[src^=blob]').length === 8")
        page.evaluate("sessionStorage.clear()")
        page.locator("#samples button").first.click()
        page.get_by_role("button", name="Not now").click()
        said = page.locator("#state [role=alert]")
        expect(said).to_contain_text("A key is needed")
        said.get_by_role("button", name="Sign in").click()
        sign_in(page, KEY)
        expect(page.locator("#layers > button")).to_have_count(3)


def test_not_now_is_asked_once_and_not_for_each_picture(
    open_page: Callable[..., Any], locked: Server
) -> None:
    size = {"width": 700, "height": 600}
    with open_page("/docs", url=locked.url, expected=("401",), viewport=size) as page:
        page.goto("/experiment?path=experiments/experiment_synthetic_lifecycle")
        sign_in(page, KEY)
        until(page, "document.querySelector('.tile img[src]') !== null")
        page.evaluate("sessionStorage.clear()")
        refused: list[str] = []
        page.on(
            "response",
            lambda response: refused.append(response.url) if response.status == 401 else None,
        )
        gallery = "document.querySelector('#gallery')"
        page.evaluate(f"{gallery}.scrollTop = {gallery}.scrollHeight")
        page.get_by_role("button", name="Not now").click()
        last = page.locator('.tile[aria-posinset="48"] img')
        expect(last).to_have_class(re.compile("missing"))
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert len(refused) > 5


def test_a_service_that_is_gone_is_waited_for(open_page: Callable[..., Any]) -> None:
    with open_page(expected=("ERR_FAILED", "ERR_INTERNET")) as page:
        asked = re.compile("/v1/|/healthz")
        page.route(asked, lambda route: route.abort())
        page.reload()
        expect(page.locator("#offline")).to_be_visible()
        page.unroute(asked)
        expect(page.locator("#samples button").first).to_be_visible()
        expect(page.locator("#offline")).to_be_hidden()


def test_a_data_root_without_experiments_is_explained(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with (
        listening(empty, tmp_path) as server,
        open_page(url=server.url) as page,
    ):
        expect(page.get_by_role("heading", name="No experiments found")).to_be_visible()

"""A real browser on a real service."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from processes.cluster import cluster
from processes.serving import Server, running

expect.set_options(timeout=20_000)  # models are loaded meanwhile, perhaps on a busy machine
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def site(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service on the bundled sample run; or two of them behind nginx, where that is asked for.

    (GRADCAM_PAGES_THROUGH_NGINX=1.)
    """
    scratch = tmp_path_factory.mktemp("site")
    if os.environ.get("GRADCAM_PAGES_THROUGH_NGINX") != "1":
        with running(sample_run, scratch) as server:
            yield server
        return
    shutil.copytree(sample_run, scratch / "results")
    with cluster(scratch / "results", scratch, workers=0) as made:
        first = made.replicas[0].server
        assert first is not None
        yield Server(made.url, first.process, first.log_file)


# Not for the session: while it runs, no other test of the thread could run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; where it is missing, tests are skipped, but not in CI."""
    with launched() as chromium:
        yield chromium


@contextmanager
def launched(*arguments: str) -> Iterator[Browser]:
    """Chromium with more arguments."""
    program = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if program is None:
        needed = os.environ.get("CI") or os.environ.get("GRADCAM_REQUIRE_BROWSER") == "1"
        (pytest.fail if needed else pytest.skip)("no Chromium on the PATH (apt install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", *arguments]
        )
        yield chromium
        chromium.close()


def until(page: Page, condition: str, seconds: float = 20.0) -> None:
    """Wait until a script's value is true (wait_for_function needs eval, which pages forbid)."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never came true: {condition}"
        page.wait_for_timeout(50)


def grave_violations(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds serious or critical: rules, with the elements that break them."""
    violations = Axe().run(page).response["violations"]
    return [
        (error["id"], [node["html"] for node in error["nodes"]])
        for error in violations
        if error["impact"] in {"serious", "critical"}
    ]


@contextmanager
def opened(browser: Browser, url: str, expected: tuple[str, ...], **options: Any) -> Iterator[Page]:
    """A page in a context of its own.

    At the end it must have had no console error that does not contain one of `expected`, and no
    request to another host than the url's.
    """
    wrong: list[str] = []
    context = browser.new_context(base_url=url, **options)
    page = context.new_page()
    page.on("console", lambda said: wrong.extend(_errors_in(said)))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    foreign: list[str] = []

    def noticed(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in {"blob", "data"} and parts.netloc != urlsplit(url).netloc:
            foreign.append(address)

    page.on("request", lambda request: noticed(request.url))
    yield page
    context.close()
    unexpected = [problem for problem in wrong if not any(part in problem for part in expected)]
    assert (unexpected, foreign) == ([], [])


@pytest.fixture
def page(browser: Browser, site: Server) -> Iterator[Page]:
    """A page on `site`, without console errors and foreign requests in the end."""
    with opened(browser, site.url, ()) as opened_page:
        yield opened_page


@pytest.fixture
def open_page(browser: Browser, site: Server) -> Callable[..., Any]:
    """`with open_page("/path", expected=("401",), viewport=...) as page:` as `page` is."""

    @contextmanager
    def open_at(
        path: str = "/", url: str = site.url, expected: tuple[str, ...] = (), **options: Any
    ) -> Iterator[Page]:
        with opened(browser, url, expected, **options) as opened_page:
            opened_page.goto(url + path)
            yield opened_page

    return open_at


def _errors_in(said: ConsoleMessage) -> list[str]:
    """An error that the console shows, with its address."""
    return [f"{said.text} ({said.location.get('url', '')})"] if said.type == "error" else []

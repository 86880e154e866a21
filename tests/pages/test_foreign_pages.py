"""Pages of another origin in the same browser as a service without keys."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from processes.jobs import Stack, copy_experiment, stack_on
from tests.pages.conftest import launched

pytestmark = pytest.mark.system

BODY = '{"experiment": "EXPERIMENT"}'
_SEND = """async ([address, options]) => {
  try {
    const answer = await fetch(address, options);
    return [answer.type, answer.status];
  } catch (error) {
    return ["failed", 0];
  }
}"""
_FORM = """([address, type]) => {
  const form = Object.assign(document.createElement("form"),
    { action: address, method: "post", enctype: type });
  const field = Object.assign(document.createElement("input"),
    { name: '{"experiment": "EXPERIMENT", "x": "', value: '"}' });
  form.append(field);
  document.body.append(form);
  form.submit();
}"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body></body>")

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def _stranger() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def jobs(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service without keys, on loopback, and Redis."""
    scratch = tmp_path_factory.mktemp("foreign")
    copy_experiment(sample_run, scratch / "results", 2)
    with stack_on(scratch / "results", scratch) as made:
        yield made


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where the stranger serves its page."""
    with _stranger() as number:
        yield number


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a browser for which evil.example is this machine, whatever it was before."""
    with launched("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        yield browser.new_page()


@pytest.fixture(params=["localhost", "127.0.0.1", "evil.example"])
def foreign(request: pytest.FixtureRequest, page: Page, port: int) -> Page:
    """The stranger's page: of another site, of another port of the same, of the web."""
    page.goto(f"http://{request.param}:{port}/")
    return page


def test_it_can_neither_submit_nor_read_nor_stop(jobs: Stack, foreign: Page) -> None:
    before = len(_all_jobs(jobs))
    body = BODY.replace("EXPERIMENT", jobs.experiment)
    address = f"{jobs.server.url}/v1/jobs"
    for options in (
        {"method": "POST", "mode": "no-cors", "body": body},
        {"method": "POST", "body": body, "headers": {"Content-Type": "application/json"}},
        {"method": "GET"},
        {"method": "DELETE"},
    ):
        kind, status = foreign.evaluate(_SEND, [address, options])
        # Nothing can be read of what it got: "opaque", or failed.
        assert (kind, status) in {("opaque", 0), ("failed", 0)}
    assert len(_all_jobs(jobs)) == before


@pytest.mark.parametrize("form", ["text/plain", "multipart/form-data"])
def test_a_form_that_it_sends_is_refused(jobs: Stack, foreign: Page, form: str) -> None:
    before = len(_all_jobs(jobs))
    with foreign.expect_navigation():
        foreign.evaluate(
            _FORM.replace("EXPERIMENT", jobs.experiment), [f"{jobs.server.url}/v1/jobs", form]
        )
    expect(foreign.locator("body")).to_contain_text("cross-site-request")
    assert len(_all_jobs(jobs)) == before


def test_a_name_that_is_made_to_lead_here_shows_nothing(jobs: Stack, page: Page) -> None:
    service_port = urlsplit(jobs.server.url).port
    for path in ("/", "/v1/jobs", "/v1/models"):
        answer = page.goto(f"http://evil.example:{service_port}{path}")
        assert answer is not None
        assert answer.status == 421
        assert "host-not-allowed" in page.locator("body").inner_text()


def test_a_link_of_its_leads_to_the_page(jobs: Stack, foreign: Page) -> None:
    foreign.evaluate(
        "(address) => document.body.append(Object.assign(document.createElement('a'),"
        " { href: address, textContent: 'jobs' }))",
        f"{jobs.server.url}/jobs",
    )
    foreign.get_by_role("link", name="jobs").click()
    expect(foreign.get_by_role("button", name="Start")).to_be_visible()


def _all_jobs(jobs: Stack) -> list[object]:
    accepted: list[object] = httpx.get(f"{jobs.server.url}/v1/jobs").json()["jobs"]
    return accepted

"""The first page: an image, a model, an overlay, and a link that reopens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from service.routes.pages import POLICY
from tests.pages.conftest import opened, until
from tests.serving import Server, running


def loaded(page: Page) -> None:
    until(page, "document.querySelector('#viewer').facts != null")


def test_a_sample_is_explained_in_three_layers_and_its_link_reopens_it(page: Page) -> None:
    page.goto("/")
    page.locator("#samples button").first.click()
    loaded(page)
    expect(page.locator("#layers figure")).to_have_count(3)
    before = page.evaluate("document.querySelector('#viewer').facts.digest")
    assert "image=" in page.url
    page.reload()
    loaded(page)
    assert page.evaluate("document.querySelector('#viewer').facts.digest") == before
    expect(page.get_by_role("link", name="Compare")).to_have_count(2)


def test_an_uploaded_file_is_explained_and_stays_out_of_the_address(
    page: Page, sample_run: Path
) -> None:
    cell = next(sample_run.glob("**/crops/test/*/*.jpg"))
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    page.locator("#file").set_input_files(cell)
    loaded(page)
    assert "?" not in page.url
    expect(page.locator("#file-name")).to_have_text(cell.name)


def test_the_first_page_is_small_and_quick(page: Page) -> None:
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    size = page.evaluate(
        "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
        ".reduce((sum, one) => sum + one.transferSize, 0)"
    )
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert 0 < size < 150_000
    assert ready < 2000  # a second on a machine that is not busy


def test_it_works_under_a_root_path(browser: Browser, sample_run: Path, tmp_path: Path) -> None:
    with (
        running(sample_run, tmp_path, root_path="/cam") as server,
        opened(browser, server.url, ()) as page,
    ):
        # As the proxy does: the service gets the path without what the proxy adds.
        page.goto(f"{server.url}/cam/")
        page.locator("#samples button").first.click()
        loaded(page)
        addresses = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        assert all(one.startswith(f"{server.url}/cam/") for one in addresses if "blob:" not in one)


@pytest.mark.parametrize("path", ["/", "/compare"])
def test_pages_let_no_inline_or_foreign_code_run(site: Server, path: str) -> None:
    response = httpx.get(site.url + path)
    assert response.headers["content-security-policy"] == POLICY
    assert "'unsafe" not in POLICY
    assert "style=" not in response.text


def test_files_are_revalidated_and_nothing_else_can_be_had(site: Server) -> None:
    first = httpx.get(f"{site.url}/static/api.js")
    again = httpx.get(
        f"{site.url}/static/api.js", headers={"If-None-Match": f"W/{first.headers['etag']}"}
    )
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    for name in ("..%2fapp.py", "%2e%2e", "nothing.js", "app.py", ".css"):
        assert httpx.get(f"{site.url}/static/{name}").status_code == 404


def test_no_console_errors_are_overlooked(
    open_page: Callable[..., Any],
) -> None:
    with pytest.raises(AssertionError, match="seen"), open_page("/") as page:
        page.evaluate("console.error('seen')")

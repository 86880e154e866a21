"""Pages and their files over HTTP: policies, how long they are kept, and packed or not."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.pages.files import static_files
from service.settings import Settings
from tests.service.asking import as_client

FILES = static_files()
SCRIPT = f"/static/{FILES.version}/pages/jobs/jobs.js"


@pytest.fixture(scope="module")
def site_client(sample_run: Path) -> httpx.Client:
    """An application that is not started: pages need nothing of it."""
    return as_client(TestClient(create_app(Settings(data=sample_run)), "http://localhost"))


@pytest.mark.parametrize("path", ["/", "/experiment", "/compare", "/jobs"])
def test_a_page_is_asked_for_each_time_and_runs_own_scripts_alone(
    site_client: httpx.Client, path: str
) -> None:
    answer = site_client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (SCRIPT, "public, max-age=31536000, immutable"),
        (SCRIPT.replace(FILES.version, "0" * len(FILES.version)), "no-cache"),
        ("/static/cam-viewer.js", "no-cache"),
        ("/favicon.ico", "public, max-age=86400"),
    ],
)
def test_a_file_is_kept_for_ever_where_its_address_names_its_version(
    site_client: httpx.Client, path: str, kept: str
) -> None:
    answer = site_client.get(path)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == kept


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0, br", False),
        ("gzip; q=0.0", False),
        ("br", False),
        ("", False),
    ],
)
def test_a_file_is_packed_for_whom_that_is_good(
    site_client: httpx.Client, accepted: str, is_packed: bool
) -> None:
    file = FILES.named("pages/jobs/jobs.js")
    with site_client.stream("GET", SCRIPT, headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
    assert (gzip.decompress(raw) if is_packed else raw) == file.plain.body
    assert answer.headers["etag"] == (file.packed if is_packed else file.plain).tag
    assert sorted(answer.headers["vary"].split(", ")) == ["Accept-Encoding", "Origin"]


def test_who_has_a_file_is_not_sent_it_again(site_client: httpx.Client) -> None:
    for accepted in ("gzip", "identity"):
        headers = {"Accept-Encoding": accepted}
        first = site_client.get(SCRIPT, headers=headers)
        again = site_client.get(SCRIPT, headers={**headers, "If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == first.headers["cache-control"]


def test_other_origins_may_load_the_element_and_no_page(site_client: httpx.Client) -> None:
    name = "cross-origin-resource-policy"
    assert site_client.get("/static/cam-viewer.js").headers[name] == "cross-origin"
    assert site_client.get(SCRIPT).headers.get(name) != "cross-origin"


@pytest.mark.parametrize(
    "path", ["/static/none.js", "/static/../app.py", "/static/", "/static/x/y"]
)
def test_what_is_no_file_of_the_pages_is_not_found(site_client: httpx.Client, path: str) -> None:
    answer = site_client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"

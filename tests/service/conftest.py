"""Service processes for tests: one on the bundled sample run a module, and a few shared ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from processes.serving import Server, listening, running
from service.http.security import new_key
from tests.service.odd_root import OddRoot, build_odd_root

PLAIN_KEY = "plain-key-of-the-tests"
BURNT_KEY = "key-for-the-rate-limit"
ORIGIN = "https://portal.example"
REQUESTS_A_MINUTE = 40


@pytest.fixture(scope="module")
def server(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running service without keys, on loopback."""
    with running(sample_run, tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of it."""
    with server.client() as opened:
        yield opened


@pytest.fixture(scope="session")
def cell(lifecycle: Path) -> Path:
    """An image of the bundled experiment."""
    return lifecycle / "crops_gt_crops/crops/test/schizont/cell_001.jpg"


@pytest.fixture(scope="session")
def common(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same for all tests that only ask."""
    with running(sample_run, tmp_path_factory.mktemp("common")) as started:
        yield started


@pytest.fixture(scope="session")
def http(common: Server) -> Iterator[httpx.Client]:
    """A client of it."""
    with common.client() as client:
        yield client


@pytest.fixture(scope="session")
def odd_root(lifecycle: Path, tmp_path_factory: pytest.TempPathFactory) -> OddRoot:
    """A data root in which much is wrong."""
    return build_odd_root(lifecycle, tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="session")
def odd(odd_root: OddRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service on it, with narrow limits."""
    scratch = tmp_path_factory.mktemp("odd_service")
    settings = {
        "default_model": odd_root.best,
        "catalog_seconds": "0",
        "sync_max_images": "4",
        "answers_bytes": "60000",
        "max_upload_bytes": str(256 * 2**10),
        "max_pixels": "1000000",
    }
    with running(odd_root.root, scratch, **settings) as started, started.client() as client:
        yield client


@pytest.fixture(scope="session")
def hashed_key() -> tuple[str, str]:
    """A key, and the form in which settings hold it."""
    return new_key()


@pytest.fixture(scope="session")
def secured(
    sample_run: Path, hashed_key: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service with keys, a rate limit, an origin that may call, and a path before its own."""
    settings = {
        "api_keys": f"{PLAIN_KEY}, {hashed_key[1]} {BURNT_KEY}",
        "rate_limit": f"{REQUESTS_A_MINUTE}/minute",
        "cors_origins": f"{ORIGIN}, http://localhost:3000",
        "root_path": "/tools/gradcam",
    }
    with running(sample_run, tmp_path_factory.mktemp("secured"), **settings) as started:
        yield started


@pytest.fixture(scope="session")
def narrow(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that answers one request at a time."""
    with running(sample_run, tmp_path_factory.mktemp("narrow"), max_in_flight="1") as started:
        yield started


@pytest.fixture(scope="session")
def hasty(odd_root: OddRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with an early deadline, whose default model is damaged."""
    settings = {
        "default_model": f"{odd_root.odd}/cls_damaged",
        "request_timeout_seconds": "0.4",
        "sync_max_images": "100",
    }
    scratch = tmp_path_factory.mktemp("hasty")
    with listening(odd_root.root, scratch, **settings) as started:
        yield started


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service on an empty data root."""
    scratch = tmp_path_factory.mktemp("empty")
    with (
        running(tmp_path_factory.mktemp("nothing"), scratch) as started,
        started.client() as client,
    ):
        yield client


@pytest.fixture(scope="session")
def open_to_all(lifecycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service for everybody on all addresses, whose data root is an experiment itself."""
    everywhere = ("--host", "0.0.0.0")
    scratch = tmp_path_factory.mktemp("open")
    with running(lifecycle, scratch, *everywhere, auth="off") as started:
        yield started


@pytest.fixture(scope="session")
def rooted(open_to_all: Server) -> Iterator[httpx.Client]:
    """A client of it over loopback."""
    url = open_to_all.url.replace("0.0.0.0", "127.0.0.1")
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client

"""One service process on the bundled sample run, shared by a module's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving import Server, running


@pytest.fixture(scope="module")
def server(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running service without keys, on loopback."""
    with running(sample_run, tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of it."""
    with server.client() as one:
        yield one


@pytest.fixture(scope="session")
def cell(lifecycle: Path) -> Path:
    """An image of the bundled experiment."""
    return lifecycle / "crops_gt_crops/crops/test/schizont/cell_001.jpg"

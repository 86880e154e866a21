"""A local S3 server for tests (moto's), with one bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from unittest.mock import patch

import httpx
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

BUCKET = "outputs"


@dataclass(frozen=True)
class S3Server:
    """Its address."""

    url: str

    def objects(self) -> dict[str, datetime]:
        """All keys of the bucket, and when each was put there."""
        store = S3Store(BUCKET, client_options={"allow_http": True})
        return {entry["path"]: entry["last_modified"] for batch in store.list() for entry in batch}


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """The address of a server, for as long as the block lasts."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        host, listening = server.get_host_and_port()
        yield f"http://{host}:{listening}"
    finally:
        server.stop()


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """A server for as long as the block lasts; the AWS_ variables name it meanwhile."""
    with serving() as url:
        variables = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
        with patch.dict(os.environ, variables):
            # What is stored outlives a server in the same process.
            httpx.post(f"{url}/moto-api/reset", timeout=60).raise_for_status()
            httpx.put(f"{url}/{BUCKET}", timeout=60).raise_for_status()
            yield S3Server(url)

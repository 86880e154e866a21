"""Buckets of the local S3 server, with what a test puts there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3
import httpx
import obstore
from obstore.store import S3Store

from tests.s3_server import S3Server


@dataclass(frozen=True)
class Bucket:
    """One bucket; each test has its own, and so its own mirror."""

    name: str
    store: S3Store
    url: str

    @property
    def address(self) -> Path:
        """As a path, which is how settings and command lines have it."""
        return Path(f"s3://{self.name}")

    def put(self, key: str, content: bytes) -> None:
        """Also in the place of another."""
        obstore.put(self.store, key, content, use_multipart=False)

    def put_raw(self, key: str, content: bytes) -> None:
        """Of a key that obstore does not take."""
        signed = boto3.client("s3", endpoint_url=self.url)
        signed.put_object(Bucket=self.name, Key=key, Body=content)

    def put_tree(self, folder: Path, prefix: str = "") -> None:
        """All files of a folder, under their paths below it."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(f"{prefix}{file.relative_to(folder).as_posix()}", file.read_bytes())

    def remove(self, key: str) -> None:
        obstore.delete(self.store, key)


def new_bucket(server: S3Server) -> Bucket:
    """An empty one."""
    name = f"data-{uuid4().hex[:12]}"
    httpx.put(f"{server.url}/{name}", timeout=60).raise_for_status()
    return Bucket(name, S3Store(name, client_options={"allow_http": True}), server.url)


@contextmanager
def requests_of(bucket: Bucket) -> Iterator[list[str]]:
    """What the server was asked of a bucket inside the block, as "GET /bucket/key"."""
    asked: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage().split('"')
            if len(words) > 1 and f"/{bucket.name}" in words[1]:
                asked.append(words[1].removesuffix(" HTTP/1.1"))

    log, listener = logging.getLogger("werkzeug"), Listener()
    log.addHandler(listener)
    try:
        yield asked
    finally:
        log.removeHandler(listener)

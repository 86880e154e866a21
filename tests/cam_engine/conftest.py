"""Buckets of a real (local) S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.buckets import Bucket, new_bucket
from tests.s3_server import S3Server, running_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return new_bucket(s3)

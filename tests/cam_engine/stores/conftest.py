"""A bucket of a real (local) S3 server, and a mirror of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cam_engine.stores.mirror import Mirror
from tests.buckets import Bucket, new_bucket
from tests.s3_server import S3Server, running_s3


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return new_bucket(s3)


@pytest.fixture
def mirror(bucket: Bucket, tmp_path: Path) -> Mirror:
    """One that looks again each time it is asked."""
    return Mirror(bucket.store, f"s3://{bucket.name}", tmp_path / "mirror", 2**30, 0.0)

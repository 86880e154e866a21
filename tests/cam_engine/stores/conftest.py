"""A mirror of a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from cam_engine.stores.mirror import Mirror
from tests.buckets import Bucket


@pytest.fixture
def mirror(bucket: Bucket, tmp_path: Path) -> Mirror:
    """One that looks again each time it is asked."""
    return Mirror(bucket.store, f"s3://{bucket.name}", tmp_path / "mirror", 2**30, 0.0)

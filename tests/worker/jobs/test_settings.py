"""Where a job's data are on this machine."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from cam_engine.errors import InvalidOption
from cam_engine.stores import access
from worker.jobs.settings import JobSettings


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert JobSettings(data=tmp_path).data_folder == tmp_path


def test_a_bucket_has_its_place_in_the_cache_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"bucket-{uuid4().hex[:8]}"
    monkeypatch.setenv("GRADCAM_DATA", f"s3://{bucket}/lab")
    monkeypatch.setenv("GRADCAM_DATA_CACHE", str(tmp_path))
    monkeypatch.setenv("GRADCAM_DATA_CACHE_BYTES", "1000")
    monkeypatch.setenv("GRADCAM_DATA_LISTING_SECONDS", "7")
    folder = JobSettings().data_folder
    assert tmp_path in folder.parents
    assert access.shown(folder) == f"s3://{bucket}/lab"
    mirror = access._mirrors.pop(bucket)
    assert (mirror._most_bytes, mirror._listing_seconds) == (1000, 7.0)


def test_an_address_without_a_bucket_is_refused() -> None:
    with pytest.raises(InvalidOption, match="give s3://bucket/prefix"):
        JobSettings(data=Path("s3://")).data_folder  # noqa: B018

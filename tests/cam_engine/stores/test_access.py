"""Paths whose files may lie in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from cam_engine.errors import InvalidOption, PathOutsideRoot
from cam_engine.stores import access, fetching
from cam_engine.stores.access import MirrorOptions
from processes.eventually import eventually
from tests.buckets import Bucket


@pytest.fixture
def options(tmp_path: Path) -> MirrorOptions:
    return MirrorOptions(tmp_path / "cache", listing_seconds=0.0)


def test_a_path_of_this_machine_stays_as_it_is(tmp_path: Path) -> None:
    for path in (tmp_path, Path("results"), Path("s3"), Path("x/s3:/y")):
        assert access.local(path) is path
        assert not access.is_mirrored(path)
        assert access.shown(path) == str(path)
    access.bring(tmp_path / "not there")
    assert access.look_into(tmp_path) == access.look_below(tmp_path) == ()
    assert access.look_at_experiment(tmp_path) == ()


@pytest.mark.parametrize("written", ["s3://{}/lab/run", "s3:/{}/lab/run", "s3://{}/lab/run/"])
def test_an_address_has_its_place_in_a_mirror(
    bucket: Bucket, options: MirrorOptions, written: str
) -> None:
    path = access.local(Path(written.format(bucket.name)), options)
    assert path.parts[-3:] == (bucket.name, "lab", "run")
    assert options.folder in path.parents
    assert access.is_mirrored(path)
    assert access.shown(path) == f"s3://{bucket.name}/lab/run"
    said = access.with_addresses(f"there is no {path}/x")
    assert said == f"there is no s3://{bucket.name}/lab/run/x"


def test_files_of_a_bucket_are_read_where_they_are_named(
    bucket: Bucket, options: MirrorOptions
) -> None:
    bucket.put("lab/a", b"content")
    folder = access.local(bucket.address / "lab", options)
    access.look_into(folder)
    access.bring(folder / "a")
    assert (folder / "a").read_bytes() == b"content"


@pytest.mark.parametrize("written", ["s3://", "s3:"])
def test_an_address_without_a_bucket_is_refused(written: str) -> None:
    with pytest.raises(InvalidOption, match="give s3://bucket/prefix"):
        access.local(Path(written))


@pytest.mark.parametrize("below", ["../other", "lab/../../other", "x" * 300])
def test_an_address_leads_nowhere_else(bucket: Bucket, options: MirrorOptions, below: str) -> None:
    with pytest.raises(PathOutsideRoot):
        access.local(Path(f"s3://{bucket.name}/{below}"), options)


def test_buckets_of_one_name_in_two_stores_are_two(
    bucket: Bucket, options: MirrorOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = access.local(bucket.address, options)
    access._mirrors.pop(bucket.name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere.example")
    assert access.local(bucket.address, options) != here
    access._mirrors.pop(bucket.name)


def test_the_default_place_is_the_users_folder_for_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert MirrorOptions().folder == Path("/somewhere/gradcam-service/buckets")


def test_a_cache_that_cannot_be_made_is_told(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidOption, match=r"cannot be kept in .*set GRADCAM_DATA_CACHE"):
        access.local(bucket.address, MirrorOptions(tmp_path / "file"))


def test_files_of_the_next_items_come_meanwhile(bucket: Bucket, options: MirrorOptions) -> None:
    names = [f"{number:03}" for number in range(150)]
    for name in names:
        bucket.put(f"lab/{name}", name.encode())
    folder = access.local(bucket.address / "lab", options)
    access.look_below(folder)
    items = access.ahead(iter(names), lambda name: folder / name)
    assert next(items) == "000"
    eventually(
        "the next ones are there",
        lambda: all(fetching.state_of(folder / name) == fetching.WHOLE for name in names[:128]),
    )
    assert fetching.state_of(folder / names[-1]) == fetching.BY_NAME
    assert ["000", *items] == names
    for name in names:  # none is on its way once the server is gone
        access.bring(folder / name)
    assert list(access.ahead(names, Path)) == names

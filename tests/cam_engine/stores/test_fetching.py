"""One file of a mirror, and how its content comes there."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import pytest
import torch

from cam_engine.stores import fetching
from cam_engine.stores.fetching import BY_NAME, ENDS, WHOLE, Changed
from cam_engine.stores.listing import Stamp
from tests.buckets import Bucket, requests_of

LARGE = random.Random(0).randbytes(3 * fetching.END_BYTES)  # noqa: S311


def placed(bucket: Bucket, content: bytes, path: Path, key: str = "a") -> Stamp:
    bucket.put(key, content)
    stamp = Stamp.of(bucket.store.head(key))
    fetching.place(path, stamp)
    return stamp


def test_a_file_that_is_there_by_name_takes_no_room(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "a"
    stamp = placed(bucket, LARGE, path)
    assert fetching.stamp_of(path) == stamp
    assert fetching.state_of(path) == BY_NAME
    assert path.stat().st_blocks == 0
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_its_content_comes_once_and_it_stays_the_same_file(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "a"
    stamp = placed(bucket, LARGE, path)
    before = path.stat()
    with requests_of(bucket) as asked:
        assert fetching.fetch(bucket.store, "a", path) == len(LARGE)
        assert fetching.fetch(bucket.store, "a", path) == 0
        assert fetching.fetch_ends(bucket.store, "a", path) == 0
    assert len(asked) == 1
    assert path.read_bytes() == LARGE
    assert fetching.state_of(path) == WHOLE
    assert fetching.stamp_of(path) == stamp
    assert path.stat().st_ino == before.st_ino


def test_an_empty_file_is_whole_at_once(bucket: Bucket, tmp_path: Path) -> None:
    placed(bucket, b"", tmp_path / "a")
    assert fetching.state_of(tmp_path / "a") == WHOLE


def test_whoever_asks_at_once_waits_for_one_request(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "a"
    placed(bucket, LARGE, path)
    with requests_of(bucket) as asked, ThreadPoolExecutor(8) as pool:
        brought = list(pool.map(lambda _: fetching.fetch(bucket.store, "a", path), range(8)))
    assert len(asked) == 1
    assert sorted(brought) == [0] * 7 + [len(LARGE)]


def test_a_file_that_is_replaced_while_somebody_waits_for_it_is_the_new_one(
    bucket: Bucket, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    placed(bucket, LARGE, path)
    held = os.open(path, os.O_WRONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fetching.fetch, bucket.store, "a", path)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.5)
        placed(bucket, LARGE[::-1], path)
        os.close(held)
        assert waiting.result(timeout=30) == len(LARGE)
    assert path.read_bytes() == LARGE[::-1]


def test_what_cannot_be_placed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="full"):
        fetching.place(tmp_path / "a", Stamp(5, 10**18))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gone", [True, False])
def test_another_object_than_the_one_that_was_listed_is_refused(
    bucket: Bucket, tmp_path: Path, gone: bool
) -> None:
    path = tmp_path / "a"
    placed(bucket, LARGE, path)
    if gone:
        bucket.remove("a")
    else:
        bucket.put("a", LARGE[::-1])
    for fetch in (fetching.fetch, fetching.fetch_ends):
        with pytest.raises(Changed):
            fetch(bucket.store, "a", path)
    assert fetching.state_of(path) == BY_NAME


def test_what_comes_only_in_part_is_not_there(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    stamp = placed(bucket, LARGE, path)
    whole = obstore.get

    class Broken:
        def __init__(self, result: Any, *, quietly: bool) -> None:
            self.meta, self._result, self._quietly = result.meta, result, quietly

        def stream(self, **_: int) -> Any:
            yield bytes(self._result.bytes())[:100]
            if not self._quietly:
                raise OSError(errno.ECONNRESET, "gone")

    for quietly in (True, False):
        monkeypatch.setattr(
            obstore, "get", lambda *a, q=quietly, **k: Broken(whole(*a, **k), quietly=q)
        )
        with pytest.raises(OSError, match=r"100 of|gone"):
            fetching.fetch(bucket.store, "a", path)
        assert fetching.state_of(path) == BY_NAME
        assert fetching.stamp_of(path).size == stamp.size
    monkeypatch.undo()
    fetching.fetch(bucket.store, "a", path)
    assert path.read_bytes() == LARGE


def zip_of(*, check_sums: bool = True) -> bytes:
    """A checkpoint whose weights do not fit into its ends."""
    state = {"weight": torch.arange(fetching.END_BYTES, dtype=torch.float32), "bias": torch.ones(9)}
    file = io.BytesIO()
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(check_sums)
    try:
        torch.save(state, file)
    finally:
        torch.serialization.set_crc32_options(before)
    return file.getvalue()


def test_of_a_zip_the_two_ends_are_enough(bucket: Bucket, tmp_path: Path) -> None:
    path, content = tmp_path / "best.pt", zip_of()
    stamp = placed(bucket, content, path)
    assert fetching.fetch_ends(bucket.store, "a", path) == 2 * fetching.END_BYTES
    assert fetching.state_of(path) == ENDS
    assert fetching.stamp_of(path) == stamp
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(io.BytesIO(content)) as whole:
        assert archive.namelist() == whole.namelist()
        (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        assert archive.read(pickled) == whole.read(pickled)
        (weight,) = (name for name in archive.namelist() if name.endswith("data/0"))
        with pytest.raises(zipfile.BadZipFile):  # which tells that it is not there
            archive.read(weight)
    assert fetching.fetch_ends(bucket.store, "a", path) == 0
    assert fetching.fetch(bucket.store, "a", path) == len(content)
    assert path.read_bytes() == content


def test_a_zip_without_check_sums_comes_whole(bucket: Bucket, tmp_path: Path) -> None:
    path, content = tmp_path / "best.pt", zip_of(check_sums=False)
    placed(bucket, content, path)
    fetching.fetch_ends(bucket.store, "a", path)
    assert fetching.state_of(path) == WHOLE
    assert path.read_bytes() == content


def test_of_safetensors_the_front_is_enough(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    placed(bucket, LARGE, path)
    assert fetching.fetch_ends(bucket.store, "a", path) == fetching.END_BYTES
    assert path.read_bytes()[: fetching.END_BYTES] == LARGE[: fetching.END_BYTES]


@pytest.mark.parametrize("content", [LARGE, LARGE[: fetching.END_BYTES], b"PK\3\4 small"])
def test_any_other_file_comes_whole(bucket: Bucket, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pt"
    placed(bucket, content, path)
    fetching.fetch_ends(bucket.store, "a", path)
    assert path.read_bytes() == content
    assert fetching.state_of(path) == WHOLE

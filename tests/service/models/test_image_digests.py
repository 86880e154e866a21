"""Digests of image files: of the file as it is now, and read once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from service.models import image_digests
from service.models.image_digests import ImageDigests


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_digest_is_that_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    digests, path = ImageDigests(), tmp_path / "x.jpg"
    for content in (b"one", b"another", b"third of them"):
        path.write_bytes(content)
        assert digests.of(path) == sha256(content)
    path.unlink()
    assert digests.of(path) is None
    assert digests.of(tmp_path) is None  # a folder


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    digests, path = ImageDigests(), tmp_path / "x.jpg"
    path.write_bytes(b"abc")
    status = path.stat()
    assert digests.of(path) == sha256(b"abc")
    # As nobody would do it: other content of the same size, and the time set back.
    path.write_bytes(b"xyz")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests.of(path) == sha256(b"abc")
    os.utime(path, ns=(0, 0))
    assert digests.of(path) == sha256(b"xyz")


def test_the_file_that_took_anothers_place_is_another(tmp_path: Path) -> None:
    digests, path, other = ImageDigests(), tmp_path / "x.jpg", tmp_path / "y.jpg"
    path.write_bytes(b"abc")
    assert digests.of(path) == sha256(b"abc")
    other.write_bytes(b"xyz")
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert digests.of(path) == sha256(b"xyz")


def in_disguise(path: Path, content: bytes) -> None:
    """Other bytes that leave the file's size, time and inode as they were."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_digests_asked_for_last_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_digests, "_MOST_KEPT", 2)
    digests = ImageDigests()
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    for path in (one, two, three):
        path.write_bytes(b"old")
    first = [digests.of(path) for path in (one, two, one, three)]  # the third pushes out two
    for path in (one, two, three):
        in_disguise(path, b"new")
    assert digests.of(one) == first[0]
    assert digests.of(three) == first[3]
    assert digests.of(two) != first[1]

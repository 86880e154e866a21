"""Where paths lead, step by step, in real folders with real links."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cam_engine.links import stays_within, steps_of


def link(path: Path, to: Path | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "best.pt"
    path.parent.mkdir()
    path.write_bytes(b"")
    return path


def test_what_is_no_link_is_one_step(file: Path) -> None:
    assert steps_of(file) == (file,)
    assert steps_of(file.with_name("missing")) == (file.with_name("missing"),)


def test_each_link_is_a_step_whether_it_is_relative_or_not(file: Path, tmp_path: Path) -> None:
    first = link(tmp_path / "a/first", file)
    second = link(tmp_path / "b/second", "../a/first")
    third = link(tmp_path / "third", second)
    assert steps_of(third) == (third, second, first, file)


def test_steps_are_in_real_folders(file: Path, tmp_path: Path) -> None:
    folder = link(tmp_path / "linked", "data")
    assert steps_of(folder / "best.pt") == (file,)
    assert steps_of(file.parent / ".." / "data" / "best.pt") == (file,)
    assert steps_of(folder / "..") == (tmp_path,)
    # A link is followed from where it really lies.
    (tmp_path / "data/beside").symlink_to("best.pt")
    assert steps_of(folder / "beside") == (tmp_path / "data/beside", file)


def test_a_link_that_leads_nowhere_has_its_steps(tmp_path: Path) -> None:
    broken = link(tmp_path / "broken", "missing")
    assert steps_of(broken) == (broken, tmp_path / "missing")


def test_loops_are_errors(tmp_path: Path) -> None:
    link(tmp_path / "a", "b")
    link(tmp_path / "b", "a")
    for path in (tmp_path / "a", tmp_path / "a" / "best.pt"):
        with pytest.raises(OSError, match=r"[Tt]oo many") as refused:
            steps_of(path)
        assert refused.value.errno == errno.ELOOP


@pytest.mark.parametrize(("links", "followed"), [(40, True), (41, False)])
def test_as_many_links_are_followed_as_linux_follows(
    file: Path, tmp_path: Path, links: int, followed: bool
) -> None:
    at = file
    for number in range(links):
        at = link(tmp_path / f"link{number}", at)
    if followed:
        assert at.stat() == file.stat()
        assert len(steps_of(at)) == links + 1
    else:
        for look in (Path.stat, steps_of):
            with pytest.raises(OSError, match=r"[Tt]oo many") as refused:
                look(at)
            assert refused.value.errno == errno.ELOOP


def test_a_path_stays_within_where_each_step_does(file: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    outside = tmp_path / "outside.pt"
    outside.write_bytes(b"")
    assert stays_within(file, root)
    assert stays_within(link(root / "inner", "best.pt"), root)
    assert not stays_within(link(root / "out", outside), root)
    assert not stays_within(outside, root)
    # Out and in again: who may change what lies between decides where it ends.
    between = link(tmp_path / "between", file)
    assert not stays_within(link(root / "detour", between), root)
    # A name that begins alike is another folder.
    other = tmp_path / "data2" / "best.pt"
    other.parent.mkdir()
    other.write_bytes(b"")
    assert not stays_within(link(root / "alike", other), root)

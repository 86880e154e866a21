"""Paths from outside, by function: what is inside the data root and what could lead out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_engine.errors import PathOutsideRoot
from cam_engine.experiments.data_root import inside
from tests.service.test_paths import ESCAPES

PIECES = [
    "..",
    ".",
    "/",
    "\\",
    "%2e",
    "%2f",
    "%252e",
    "%00",
    "\0",
    "~",
    "a",
    "b.jpg",
    "C:",
    " ",
    "é",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confined")
    (folder / "root/a").mkdir(parents=True)
    (folder / "root/a/b.jpg").write_bytes(b"x")
    (folder / "root/within").symlink_to("a")
    (folder / "root/out").symlink_to(folder)
    (folder / "root/loop").symlink_to("loop")
    (folder / "rootless").mkdir()
    return folder / "root"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("a//b.jpg", "a/b.jpg"),
        ("./a/./b.jpg", "a/b.jpg"),
        ("within/b.jpg", "a/b.jpg"),
        ("a/not there.jpg", "a/not there.jpg"),
        ("a/100%.jpg", "a/100%.jpg"),
        ("a/a..b.jpg", "a/a..b.jpg"),
        ("...", "..."),
        ("ü/环.jpg", "ü/环.jpg"),
        (".", "."),
    ],
)
def test_what_is_below_the_root_is_had(root: Path, path: str, expected: str) -> None:
    assert inside(root, path) == (root / expected).resolve()


@pytest.mark.parametrize(
    "path",
    ["", "out", "out/rootless", "../rootless", "../root/a", "a/../a", "loop/x"],
)
def test_what_leads_out_is_refused(root: Path, path: str) -> None:
    if path == "loop/x" and not _loops_are_errors(root):
        pytest.skip("this Python resolves a loop of links to itself")
    with pytest.raises(PathOutsideRoot) as refused:
        inside(root, path)
    assert refused.value.code == "path-outside-root"
    assert str(root) not in str(refused.value)


def _loops_are_errors(root: Path) -> bool:
    try:
        (root / "loop/x").resolve()
    except (OSError, RuntimeError):
        return True
    return False


def found_or_refused(root: Path, path: str) -> Path | str:
    try:
        return inside(root, path)
    except PathOutsideRoot as error:
        return error.code


@pytest.mark.parametrize("path", ESCAPES, ids=lambda path: ascii(path)[:30])
def test_no_escape_escapes(root: Path, path: str) -> None:
    answer = found_or_refused(root, path)
    if isinstance(answer, Path):
        assert answer.is_relative_to(root.resolve())
        assert not answer.exists() or answer == root.resolve()
    else:
        assert answer == "path-outside-root"


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=40))
def test_whatever_is_had_is_below_the_root(root: Path, path: str) -> None:
    answer = found_or_refused(root, path)
    if isinstance(answer, Path):
        assert answer.is_relative_to(root.resolve())
        answer.is_file()  # whatever is let through can be looked at
    else:
        assert answer == "path-outside-root"

"""A folder out of which no path and no link leads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cam_engine.confined import ConfinedFolder, Entry, parts_of
from cam_engine.errors import PathOutsideRoot

SECRET = b"of another"

Act = Callable[[ConfinedFolder, str], object]


def opened(folder: ConfinedFolder, path: str) -> bytes:
    with folder.opened(path) as file:
        return file.read()


CHANGES: dict[str, Act] = {
    "make": lambda folder, path: folder.make(path),
    "write": lambda folder, path: folder.write(path, b"new"),
    "create": lambda folder, path: folder.create(path, b"new"),
    "create_folder": lambda folder, path: folder.create_folder(path),
    "refresh": lambda folder, path: folder.refresh(path),
    "remove": lambda folder, path: folder.remove(path),
    "remove_folder": lambda folder, path: folder.remove_folder(path),
    "remove_tree": lambda folder, path: folder.remove_tree(path),
}
READS: dict[str, Act] = {
    "read": lambda folder, path: folder.read(path),
    "opened": opened,
    "status": lambda folder, path: folder.status(path),
    "files": lambda folder, path: folder.files(path),
    "within": lambda folder, path: folder.within(path).read("file"),
}
ALL = {**CHANGES, **READS}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a file and an empty folder, beside the root."""
    folder = tmp_path / "outside"
    (folder / "empty").mkdir(parents=True)
    (folder / "file").write_bytes(SECRET)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def untouched(outside: Path) -> bool:
    names = sorted(path.name for path in outside.iterdir())
    return names == ["empty", "file"] and (outside / "file").read_bytes() == SECRET


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "..", "../outside/file", "a/../../outside/file", "a//b", "./a", "a/", "\0"],
)
@pytest.mark.parametrize("act", ALL)
def test_no_path_leads_out(root: Path, outside: Path, act: str, path: str) -> None:
    with pytest.raises(PathOutsideRoot):
        ALL[act](ConfinedFolder(root), path)
    assert untouched(outside)


@pytest.mark.parametrize("path", ["link/file", "link/empty", "link/new", "link/empty/new"])
@pytest.mark.parametrize("act", ALL)
def test_no_folder_behind_a_link_is_entered(root: Path, outside: Path, act: str, path: str) -> None:
    (root / "link").symlink_to(outside)
    if act == "files":
        assert ConfinedFolder(root).files(path) == []
    else:
        with pytest.raises(OSError, match="link is a link, and links are not followed"):
            ALL[act](ConfinedFolder(root), path)
    assert untouched(outside)


@pytest.mark.parametrize("act", ["read", "opened", "status"])
def test_no_link_to_a_file_is_read(root: Path, outside: Path, act: str) -> None:
    (root / "link").symlink_to(outside / "file")
    with pytest.raises(OSError, match="link is a link, and links are not followed"):
        ALL[act](ConfinedFolder(root), "link")
    assert not ConfinedFolder(root).is_file("link")


def test_a_link_is_written_over_and_removed_itself(root: Path, outside: Path) -> None:
    folder = ConfinedFolder(root)
    for name in ("a", "b"):
        (root / name).symlink_to(outside / "file")
    folder.write("a", b"new")
    folder.remove("b")
    assert [path.name for path in root.iterdir()] == ["a"]
    assert (root / "a").read_bytes() == b"new"
    assert not (root / "a").is_symlink()
    assert untouched(outside)


def test_a_tree_is_removed_without_what_its_links_lead_to(root: Path, outside: Path) -> None:
    (root / "tree/deep").mkdir(parents=True)
    (root / "tree/deep/file").write_bytes(b"")
    (root / "tree/deep/link").symlink_to(outside)
    ConfinedFolder(root).remove_tree("tree")
    ConfinedFolder(root).remove_tree("tree")
    assert list(root.iterdir()) == []
    assert untouched(outside)


def test_links_and_pipes_are_no_entries(root: Path, outside: Path) -> None:
    (root / "folder").mkdir()
    (root / "file").write_bytes(b"")
    (root / "link").symlink_to(outside)
    (root / "dangling").symlink_to(outside / "nothing")
    os.mkfifo(root / "pipe")
    folder = ConfinedFolder(root)
    assert folder.entries() == [Entry("file", is_folder=False), Entry("folder", is_folder=True)]
    assert list(folder.files_below(levels=3)) == ["file"]


def test_a_pipe_is_refused_and_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        ConfinedFolder(root).read("pipe")


def test_the_root_itself_may_be_behind_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    ConfinedFolder(tmp_path / "link").within("a").make("b")
    assert (root / "a/b").is_dir()


def test_files_come_whole_or_not_at_all(root: Path) -> None:
    folder = ConfinedFolder(root, "a")
    folder.make()
    folder.write("x", b"one")
    folder.write("x", b"two")
    assert folder.create("y", b"one")
    assert not folder.create("y", b"two")
    assert {path.name: path.read_bytes() for path in (root / "a").iterdir()} == {
        "x": b"two",
        "y": b"one",
    }
    (root / "a/folder").mkdir()
    with pytest.raises(IsADirectoryError):
        folder.write("folder", b"")
    assert sorted(path.name for path in (root / "a").iterdir()) == ["folder", "x", "y"]


def test_more_than_was_asked_for_is_not_read(root: Path) -> None:
    (root / "file").write_bytes(b"12345")
    assert ConfinedFolder(root).read("file", 5) == b"12345"
    with pytest.raises(OSError, match="too large"):
        ConfinedFolder(root).read("file", 4)


def test_a_folder_that_becomes_a_link_leads_nowhere(root: Path, outside: Path) -> None:
    """Exchanged over and over while files are written: none comes to lie outside."""
    folder = ConfinedFolder(root)
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            (root / "a").rename(root / "kept")
            (root / "a").symlink_to(outside)
            (root / "a").unlink()
            (root / "kept").rename(root / "a")

    (root / "a").mkdir()
    thread = threading.Thread(target=exchange)
    thread.start()
    refused = 0
    try:
        for number in range(2000):
            try:
                folder.write(f"a/{number}", b"")
            except OSError:
                refused += 1
    finally:
        stop.set()
        thread.join()
    assert untouched(outside)
    assert len(list((root / "a").iterdir())) == 2000 - refused


def test_names_are_shown_below_what_people_know(root: Path) -> None:
    assert ConfinedFolder(root, "a").shown("b") == f"{root}/a/b"
    assert ConfinedFolder(root, "a", shown="run/a").within("b").shown("c") == "run/a/b/c"
    assert parts_of("a/b") == ("a", "b")
    assert parts_of(Path()) == ()


@pytest.mark.parametrize("letter", ["a", "я", "环", "🔬"])
def test_a_name_may_be_as_long_as_a_file_system_lets_it(tmp_path: Path, letter: str) -> None:
    name = letter * (255 // len(letter.encode()))
    folder = ConfinedFolder(tmp_path)
    folder.write(name, b"one")
    assert folder.read(name) == b"one"
    assert folder.create(name[1:], b"two")
    assert {path.name for path in tmp_path.iterdir()} == {name, name[1:]}

"""Folders of images as people have them: links, other programs' folders, our own pictures."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cam_engine.experiments.finding import find_images
from cam_engine.experiments.skipped import Skipped, SkippedKind
from cam_engine.experiments.walking import walk
from cam_engine.images.png import encode_png, is_own_picture
from tests.cam_engine.experiments.trees import make


def found(root: Path) -> list[str]:
    return [item.path.relative_to(root).as_posix() for item in find_images(root)]


def left_out(root: Path, **how: Path) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Count and examples by reason."""
    within = how.get("within")
    outputs = [how["output"]] if "output" in how else []
    skipped = walk(root, within=within, outputs=outputs).skipped
    return {kind.reason: (kind.count, kind.examples) for kind in skipped.kinds}


def ours(path: Path) -> None:
    """A picture as this software writes it."""
    recipe = '{"run": "0", "image": "a.jpg", "image_sha256": "1", "facts": {"x": "é"}}'
    text = {"Software": "gradcam-service 0", "Model": "é", "Recipe": recipe}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8), text=text))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return make(tmp_path / "elsewhere", "ring/a.jpg", "ring/b.jpg", "schizont/c.jpg")


def test_linked_class_folders_and_files_are_followed(tmp_path: Path, elsewhere: Path) -> None:
    root = make(tmp_path / "test", "gametocyte/g.jpg")
    for name in ("ring", "schizont"):
        (root / name).symlink_to(elsewhere / name)
    (root / "gametocyte/h.jpg").symlink_to(make(tmp_path, "pool/1.jpg") / "pool/1.jpg")
    classes = {item.path.name: item.true_class for item in find_images(root)}
    assert classes == {
        "g.jpg": "gametocyte",
        "h.jpg": "gametocyte",
        "a.jpg": "ring",
        "b.jpg": "ring",
        "c.jpg": "schizont",
    }


def test_loops_of_links_end(tmp_path: Path) -> None:
    root = make(tmp_path / "test", "ring/a.jpg", "schizont/b.jpg")
    (root / "ring/itself").symlink_to("itself")
    (root / "ring/here").symlink_to(".")
    (root / "ring/up").symlink_to("..")
    (root / "schizont/ring").symlink_to("../ring")
    (root / "above").symlink_to(tmp_path)
    (root / "all").symlink_to("/")
    assert found(root) == ["ring/a.jpg", "schizont/b.jpg"]
    assert left_out(root) == {
        "link-broken": (1, ("ring/itself",)),
        "linked-again": (2, ("ring/here", "schizont/ring")),
        "link-loop": (3, ("above", "all", "ring/up")),
    }


def test_two_folders_that_link_to_each_other(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one", "a.jpg"), make(tmp_path / "other", "b.jpg")
    (one / "other").symlink_to(other)
    (other / "one").symlink_to(one)
    assert found(one) == ["a.jpg", "other/b.jpg"]
    assert left_out(one) == {"link-loop": (1, ("other/one",))}


def test_an_image_that_links_lead_to_twice_is_had_once(tmp_path: Path, elsewhere: Path) -> None:
    root = make(tmp_path / "test", "z/real.jpg")
    (root / "first").symlink_to(elsewhere / "ring")
    (root / "second").symlink_to(elsewhere / "ring")
    (root / "a_link_to_z").symlink_to("z")
    (root / "a_link.jpg").symlink_to("z/real.jpg")
    assert found(root) == ["first/a.jpg", "first/b.jpg", "z/real.jpg"]
    assert left_out(root) == {"linked-again": (3, ("a_link.jpg", "a_link_to_z", "second"))}


def test_links_that_become_known_only_behind_links(tmp_path: Path) -> None:
    """A file that a link led to before its folder was reached is not had again."""
    pool = make(tmp_path / "pool", "deep/a.jpg", "deep/b.jpg")
    root = make(tmp_path / "test", "c.jpg")
    (root / "a.jpg").symlink_to(pool / "deep/a.jpg")
    (root / "pool").symlink_to(pool)
    assert found(root) == ["a.jpg", "c.jpg", "pool/deep/b.jpg"]
    assert left_out(root) == {"linked-again": (1, ("pool/deep/a.jpg",))}


def test_hard_links_are_files_of_their_own(tmp_path: Path) -> None:
    """Programs that save space make them of equal files."""
    pool = make(tmp_path / "pool", "ring/a.jpg")
    os.link(pool / "ring/a.jpg", pool / "ring/b.jpg")
    root = tmp_path / "test"
    root.mkdir()
    (root / "ring").symlink_to(pool / "ring")
    assert found(pool) == found(root) == ["ring/a.jpg", "ring/b.jpg"]


def test_folders_and_files_of_other_programs_are_no_images(tmp_path: Path) -> None:
    root = make(
        tmp_path / "test",
        "ring/a.jpg",
        "ring/._a.jpg",
        "ring/.b.jpg",
        "ring/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/c.jpg",
        "$RECYCLE.BIN/d.jpg",
        "__MACOSX/ring/._a.jpg",
        "__MACOSX/ring/e.jpg",
        ".thumbnails/f.jpg",
        "Thumbs/g.jpg",
        "thumbnails/h.jpg",
        "gradcam_visualizations/cls_x/components/i.png",
    )
    assert found(root) == ["ring/a.jpg"]
    skipped = left_out(root)
    # By the names of images: f.jpg and g.jpg in folders for thumbnails, and so on.
    assert skipped["other-program"][0] == 8
    assert skipped["hidden"] == (2, ("._a.jpg", ".b.jpg"))
    assert skipped["output-folder"] == (1, ("gradcam_visualizations",))
    assert set(skipped) == {"other-program", "hidden", "output-folder"}


def test_the_output_folder_of_this_time_is_left_out(tmp_path: Path) -> None:
    root = make(tmp_path / "test", "ring/a.jpg", "made/components/b.png", "made/c.txt")
    assert [path.name for path in walk(root, outputs=[root / "made"]).files] == ["a.jpg"]
    assert left_out(root, output=root / "made") == {"output-folder": (1, ("made",))}
    assert [path.name for path in walk(root, outputs=[root, tmp_path]).files] == ["b.png", "a.jpg"]


def test_the_folder_that_is_named_is_looked_into_whatever_it_is_called(tmp_path: Path) -> None:
    root = make(tmp_path / ".hidden/thumbnails", "a.jpg")
    assert found(root) == ["a.jpg"]


def test_our_own_pictures_are_no_images(tmp_path: Path) -> None:
    root = make(tmp_path / "test", "ring/a.jpg", "ring/b.png")
    (root / "ring/c.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    foreign = {"Recipe": "two eggs", "Software": "gradcam-service in a cookery book"}
    (root / "ring/d.png").write_bytes(encode_png(np.zeros((4, 4), np.uint8), text=foreign))
    ours(root / "out/improved_gradcam_a.png")
    ours(root / "ring/OVERLAY.PNG")
    assert found(root) == ["ring/a.jpg", "ring/b.png", "ring/c.png", "ring/d.png"]
    ours(root / "e.png")
    assert left_out(root) == {"own-picture": (3, ("e.png", "out", "ring"))}


def test_heads_of_pictures_are_looked_into_within_limits(tmp_path: Path) -> None:
    """Many empty chunks, a text without an end, a chunk beyond the file's end: no work for us."""
    start = encode_png(np.zeros((4, 4, 3), np.uint8))[:33]
    chunk = struct.pack(">I4sI", 0, b"juNk", zlib.crc32(b"juNk"))
    ours(tmp_path / "ours.png")
    recipe = (tmp_path / "ours.png").read_bytes()[33:]
    assert is_own_picture(tmp_path / "ours.png")
    for content, is_ours in (
        (start + 10 * chunk + recipe, True),
        (start + 1000 * chunk + recipe, False),
        (start + struct.pack(">I4s", 2**32 - 1, b"tEXt") + b"Recipe\0", False),
        (start + struct.pack(">I4s", 2**32 - 1, b"juNk") + recipe, False),
        (start + b"\0", False),
        (start, False),
        (b"", False),
    ):
        file = tmp_path / "head.png"
        file.write_bytes(content)
        assert is_own_picture(file) is is_ours
    os.mkfifo(tmp_path / "pipe.png")
    assert not is_own_picture(tmp_path / "pipe.png")


def test_locks_of_editors_are_not_worth_a_word(tmp_path: Path) -> None:
    root = make(tmp_path / "test", "a.jpg")
    (root / ".#notes.txt").symlink_to("somebody@host.123")
    assert left_out(root) == {}


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that others can look into."""
    folder = Path(tempfile.mkdtemp(prefix="walking-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def nobody() -> Iterator[None]:
    """No more rights than anybody's: root may read all."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    yield
    os.seteuid(mine)


def test_a_folder_that_cannot_be_read_ends_nothing(
    public: Path, request: pytest.FixtureRequest
) -> None:
    root = make(public / "test", "ring/a.jpg", "schizont/b.jpg")
    (root / "schizont").chmod(0)
    request.getfixturevalue("nobody")
    assert found(root) == ["ring/a.jpg"]
    assert left_out(root) == {"not-readable": (1, ("schizont (Permission denied)",))}


def test_what_only_is_called_an_image_is_none(tmp_path: Path) -> None:
    root = make(tmp_path / "test", "a.jpg", "b.jpg/c.jpg")
    os.mkfifo(root / "pipe.png")
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    assert found(root) == ["a.jpg", "b.jpg/c.jpg"]
    assert left_out(root) == {
        "not-readable": (1, ("pipe.png (no regular file)",)),
        "link-broken": (1, ("broken.jpg",)),
    }


def test_what_is_no_image_that_is_read_is_counted(tmp_path: Path) -> None:
    files = ("slide.svs", "b.HEIC", "README.txt", "Thumbs.db", "notes.TXT", "IM0001", ".DS_Store")
    root = make(tmp_path / "test", "a.jpg", *files)
    assert left_out(root) == {
        "format-not-read": (2, ("b.HEIC", "slide.svs")),
        "another-kind": (4, ("no suffix", ".txt", ".db")),
    }


def test_links_out_of_a_confined_root_are_counted_and_not_followed(
    tmp_path: Path, elsewhere: Path
) -> None:
    root = make(tmp_path / "data", "test/ring/a.jpg", "pool/b.jpg")
    test = root / "test"
    (test / "out").symlink_to(elsewhere)
    (test / "ring/out.jpg").symlink_to(elsewhere / "ring/a.jpg")
    (test / "ring/gone.jpg").symlink_to(elsewhere / "nothing.jpg")
    (test / "within").symlink_to(root / "pool")
    files = walk(test, within=root).files
    assert [path.relative_to(test).as_posix() for path in files] == ["ring/a.jpg", "within/b.jpg"]
    assert left_out(test, within=root) == {"leads-out": (3, ())}  # not what they are called
    (root / "linked").symlink_to(elsewhere)
    assert walk(root / "linked", within=root).files == ()
    assert left_out(root / "linked", within=root) == {"leads-out": (1, ())}


def test_names_that_a_service_cannot_say_are_counted_there(tmp_path: Path) -> None:
    root = make(tmp_path / "data", "ring/a.jpg", os.fsdecode(b"ring/b\xff.jpg"), "ring/🔬.jpg")
    make(root, os.fsdecode(b"sch\xefzont/c.jpg"))
    assert len(found(root)) == 4
    assert left_out(root, within=root) == {
        "name-not-utf8": (2, ("ring/b%FF.jpg", "sch%EFzont/c.jpg"))
    }


def test_in_words() -> None:
    kinds = (
        SkippedKind("format-not-read", 1, ("a.svs",)),
        SkippedKind("linked-again", 5, ("a", "b", "c", "d")),
        SkippedKind("another-kind", 3, (".txt", ".pdf")),
    )
    assert Skipped(kinds).words == (
        "9 (1 in a format that is not read: a.svs; "
        "5 links to what is there already: a, b, c, d, ...; 3 of another kind: .txt, .pdf)"
    )
    assert (Skipped().words, Skipped().total, bool(Skipped())) == ("", 0, False)
    both = Skipped(kinds[:1]) + Skipped((SkippedKind("format-not-read", 2, ("b.svs",)),))
    assert both.kinds == (SkippedKind("format-not-read", 3, ("a.svs", "b.svs")),)


def test_folders_named_in_decomposed_letters_are_walked(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "gametozyt_ä")
    root = make(tmp_path / "test", f"{name}/a.jpg")
    assert [item.true_class for item in find_images(root)] == [name]

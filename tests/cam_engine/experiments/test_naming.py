"""Names of pictures: one an image, whatever the file system."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cam_engine.experiments.finding import find_images
from cam_engine.experiments.naming import unique_names
from tests.cam_engine.experiments.trees import make


def test_images_of_one_stem_get_names_of_their_own(tmp_path: Path) -> None:
    make(
        tmp_path,
        "ring/cell_1.jpg",
        "ring/cell_2.jpg",
        "schizont/cell_1.jpg",
        "schizont/cell_1.png",
        "schizont/CELL_2.jpg",
        "alone.jpg",
        ".hidden/x.jpg",
    )
    names = {i.path.relative_to(tmp_path).as_posix(): i.name for i in find_images(tmp_path)}
    assert names == {
        "alone.jpg": "alone",
        "ring/cell_1.jpg": "ring_cell_1",
        "ring/cell_2.jpg": "ring_cell_2",
        "schizont/CELL_2.jpg": "schizont_CELL_2",
        "schizont/cell_1.jpg": "schizont_cell_1_jpg",
        "schizont/cell_1.png": "schizont_cell_1_png",
    }


_PART = st.text("ab_1", min_size=1, max_size=3)


@given(
    st.lists(
        st.tuples(st.lists(_PART, max_size=2), _PART, st.sampled_from([".jpg", ".png"])),
        max_size=12,
        unique_by=lambda t: ("/".join(t[0]), t[1], t[2]),
    )
)
def test_names_are_always_unique_whatever_the_case(files: list[tuple[list[str], str, str]]) -> None:
    paths = [Path(*folders, stem + suffix) for folders, stem, suffix in files]
    names = unique_names(paths)
    assert len({name.casefold() for name in names}) == len(paths)


def test_names_too_long_for_their_pictures_are_shortened_with_a_digest(tmp_path: Path) -> None:
    long = "клетка_" * 18  # 126 characters, 234 bytes
    files = [Path(f"{long}{number}.jpg") for number in (1, 2)]
    names = unique_names([*files, Path("short.jpg")])
    assert names[2] == "short"
    digests = [hashlib.sha256(f"{long}{number}".encode()).hexdigest()[:12] for number in (1, 2)]
    assert [name.rsplit("_", 1)[1] for name in names[:2]] == digests
    assert all(long.startswith(name.rsplit("_", 1)[0]) for name in names[:2])
    assert all(len(name.encode()) <= 160 for name in names)
    assert unique_names([files[1]]) == [names[1]]
    (tmp_path / files[0].name).touch()
    assert [item.name for item in find_images(tmp_path / files[0].name)] == [names[0]]

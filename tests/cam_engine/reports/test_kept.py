"""What is kept comes back; what is damaged or of other inputs does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cam_engine.confined import ConfinedFolder
from cam_engine.reports.criteria import Section
from cam_engine.reports.kept import FOLDER, KeptSections, digest_of

SECTION = Section("a", "A", ("One.",))


@pytest.fixture
def kept(tmp_path: Path) -> KeptSections:
    return KeptSections(ConfinedFolder(tmp_path))


def test_what_is_kept_comes_back(kept: KeptSections) -> None:
    assert kept.read("d") is None
    kept.write("d", SECTION)
    assert kept.read("d") == SECTION
    assert kept.read("e") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"id": "a"}', b"\xff\xfe"])
def test_what_is_damaged_is_made_anew(kept: KeptSections, tmp_path: Path, damage: bytes) -> None:
    kept.write("d", SECTION)
    (tmp_path / FOLDER / "d.json").write_bytes(damage)
    assert kept.read("d") is None


def test_what_is_of_other_inputs_goes_and_nothing_else(kept: KeptSections, tmp_path: Path) -> None:
    kept.write("d", SECTION)
    kept.write("old", SECTION)
    (tmp_path / FOLDER / "notes.txt").write_text("mine")
    kept.forget_others({"d"})
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["d.json", "notes.txt"]


def test_a_digest_minds_values_and_not_their_order() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})

"""Indexes of weights in several files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cam_engine.errors import CheckpointInvalid
from cam_engine.models.files import shards
from cam_engine.models.files.shards import is_index, parts_of_index, stem_of

NAME = "model.safetensors.index.json"
MOST_PARTS = 500


def index(folder: Path, places: object) -> Path:
    path = folder / NAME
    path.write_text(json.dumps({"metadata": {"total_size": 8}, "weight_map": places}))
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (NAME, True),
        ("pytorch_model.bin.INDEX.JSON", True),
        ("model.safetensors", False),
        ("index.json", False),
        ("config.json", False),
    ],
)
def test_an_index_is_told_by_its_name(name: str, *, expected: bool) -> None:
    assert is_index(Path("run", name)) is expected


def test_the_stem_is_the_file_that_the_parts_are_of() -> None:
    assert stem_of(Path("run", NAME)) == Path("run/model.safetensors")
    assert stem_of(Path("run/best.INDEX.JSON")) == Path("run/best")


def test_parts_are_named_with_the_tensors_that_are_in_each(tmp_path: Path) -> None:
    path = index(tmp_path, {"a.weight": "1.bin", "b.weight": "2.bin", "a.bias": "1.bin"})
    assert parts_of_index(path) == {"1.bin": {"a.weight", "a.bias"}, "2.bin": {"b.weight"}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"is no index of weights \(JSONDecodeError\)"),
        (b"\xff\xfe{", r"is no index of weights"),
        (b"{", r"is no index of weights"),
        (b"[]", r"is no index of weights \(TypeError\)"),
        (b"3", r"is no index of weights \(TypeError\)"),
        (b"{}", r"is no index of weights \(KeyError\)"),
        (b"[" * 200_000, r"is no index of weights \(RecursionError\)"),
        (b'{"weight_map": {}}', "names no weights"),
        (b'{"weight_map": ["a"]}', "names no weights"),
        (b'{"weight_map": null}', "names no weights"),
    ],
    ids=["empty", "no text", "cut", "list", "number", "bare", "deep", "none", "listed", "null"],
)
def test_what_is_no_index_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(CheckpointInvalid, match=said) as refused:
        parts_of_index(path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "name", ["../secret.bin", "/etc/passwd", "in/side.bin", "", ".", "..", "a\0b", 3, None, ["b"]]
)
def test_a_part_is_a_file_beside_the_index(tmp_path: Path, name: object) -> None:
    with pytest.raises(CheckpointInvalid, match="names a part that is no file beside it"):
        parts_of_index(index(tmp_path, {"a": "good.bin", "b": name}))


def test_an_index_has_parts_and_bytes_within_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = {f"{number}": f"{number}.bin" for number in range(MOST_PARTS)}
    path = index(tmp_path, most)
    assert len(parts_of_index(path)) == MOST_PARTS
    monkeypatch.setattr(shards, "_MOST_BYTES", path.stat().st_size)  # in place of 32 MiB
    assert len(parts_of_index(path)) == MOST_PARTS
    monkeypatch.setattr(shards, "_MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(CheckpointInvalid, match="names no weights"):
        parts_of_index(path)
    monkeypatch.undo()
    with pytest.raises(CheckpointInvalid, match="more than 500 parts"):
        parts_of_index(index(tmp_path, {**most, "one more": "more.bin"}))


def test_an_index_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match=r"cannot be read \(No such file"):
        parts_of_index(tmp_path / NAME)
    with pytest.raises(CheckpointInvalid, match=r"cannot be read \(Is a directory"):
        parts_of_index(tmp_path)

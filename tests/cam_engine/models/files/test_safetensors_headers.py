"""Headers of safetensors: written by the library, or by hand where it would not write them."""

from __future__ import annotations

import io
import json
import struct
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cam_engine.models.files.safetensors_headers import (
    begins_as_safetensors,
    is_safetensors,
    read_said,
)

TENSOR = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
WEIGHTS = {"fc.weight": torch.ones(2, 3)}
MOST_BYTES = 1 << 25


def by_library(**metadata: str) -> bytes:
    return safetensors.torch.save(WEIGHTS, metadata or None)


def by_hand(header: object, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def opened(content: bytes) -> BufferedReader:
    return BufferedReader(io.BytesIO(content))


def by_torch(*, zipped: bool) -> bytes:
    file = io.BytesIO()
    torch.save(WEIGHTS, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model.safetensors", by_library(), True),
        ("MODEL.SAFETENSORS", by_library(), True),
        ("0a1b2c", by_library(), True),  # a digest, as in a cache
        ("best.pt", by_library(), True),
        ("model.safetensors", by_torch(zipped=True), False),
        ("model.safetensors", by_torch(zipped=False), False),
        ("model.safetensors", b"", True),  # it is read as one, and refused as one
        ("best.pt", b"", False),
        ("best.pt", by_torch(zipped=True), False),
        ("best.pt", b"{" * 20, False),
    ],
)
def test_a_file_is_told_by_its_name_or_its_beginning(
    name: str, content: bytes, *, expected: bool
) -> None:
    file = opened(content)
    file.seek(0, io.SEEK_END)
    assert is_safetensors(file, Path(name)) is expected
    assert file.tell() == 0


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (by_hand({}), True),
        (by_hand({}, MOST_BYTES), True),
        (by_hand({}, MOST_BYTES + 1), False),
        (by_hand({}, 0), False),
        (by_hand([]), False),
        (by_hand({})[:8], False),
        (b"", False),
    ],
    ids=["short", "longest", "too long", "none", "a list", "cut", "empty"],
)
def test_eight_bytes_and_a_brace_begin_one(start: bytes, *, expected: bool) -> None:
    assert begins_as_safetensors(start) is expected


def test_text_is_as_it_was_saved_and_json_in_it_as_its_value() -> None:
    said: dict[str, tuple[str, Any]] = {
        "model_name": ("resnet18", "resnet18"),
        "epoch": ("3", 3),
        "val_acc": ("0.75", 0.75),
        "shift": ("-1.5", -1.5),
        "class_names": ('["ring", "Zürich"]', ["ring", "Zürich"]),
        "config": ('{"arch": "vit", "size": [96, 64]}', {"arch": "vit", "size": [96, 64]}),
        "quoted": ('"ring"', "ring"),
        "no JSON": ("[ring]", "[ring]"),
        "a date": ("2026-01-02", "2026-01-02"),
        "a word": ("true", "true"),
        "empty": ("", ""),
        "deep": ("[" * 200_000, "[" * 200_000),
    }
    content = by_library(**{key: text for key, (text, _) in said.items()})
    assert read_said(opened(content)) == {key: value for key, (_, value) in said.items()}


def test_a_file_need_say_nothing() -> None:
    assert read_said(opened(by_hand({"a": TENSOR, "b": TENSOR}))) == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin"),
        (b"\2\0\0", "does not begin"),
        (by_hand({}, MOST_BYTES + 1), "does not begin"),
        (by_hand({}, (1 << 64) - 1), "does not begin"),
        (by_hand({"__metadata__": {"a": "b"}}), "holds no tensors"),
        (by_hand({}), "holds no tensors"),
        (by_hand([1, 2]), "holds no tensors"),
        (by_hand({"__metadata__": ["a"], "t": TENSOR}), "holds no tensors"),
        (by_hand(b"{"), "Expecting"),
        (by_hand({"t": TENSOR})[:-5], "Expecting"),
        (by_hand(b"\xff\xff\xff\xff"), "codec|decode"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_said(opened(content))

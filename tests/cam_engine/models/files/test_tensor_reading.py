"""Tensors made of the numbers of a file: the same that torch's own loader makes."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.files.opening import Saved, opened, saved_in
from cam_engine.models.files.pickles.reading import Call, Global, Items, Stored, Value
from cam_engine.models.files.pickles.values import TensorNote, shallow
from cam_engine.models.files.tensor_reading import TensorReader


def numbers_of(saved: Saved, stored: Stored) -> bytes:
    numbers = saved.numbers(stored.key, None)
    assert numbers is not None
    return numbers


def read_again(folder: Path, tensors: Mapping[str, object], **options: Any) -> dict[str, Any]:
    """What is read of a file that `torch.save` has made of them; None of what is not."""
    path = folder / "best.pt"
    torch.save(tensors, path, **options)
    with opened(path) as file, saved_in(file, path) as saved:
        reader = TensorReader(partial(numbers_of, saved))
        held = shallow(saved.read.value)
        assert isinstance(held, dict)
        return {key: reader.read(note) for key, note in held.items()}


KINDS = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.complex64, torch.complex128),
]
LATER_KINDS = [torch.uint16, torch.uint32, torch.float8_e4m3fn]  # written by another function


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
def test_tensors_of_all_kinds_are_those_that_were_saved(tmp_path: Path, *, zipped: bool) -> None:
    numbers = torch.tensor([[0, 1, 2], [3, 100, 127]])
    tensors = {str(kind): numbers.to(kind) for kind in (*KINDS, *LATER_KINDS)}
    read = read_again(tmp_path, tensors, _use_new_zipfile_serialization=zipped)
    for key, tensor in tensors.items():
        assert read[key].dtype is tensor.dtype
        assert torch.equal(read[key].view(torch.uint8), tensor.view(torch.uint8)), key


def test_views_are_as_they_lie_in_their_storage(tmp_path: Path) -> None:
    grid = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "part": grid[1:3, 2:5],
        "turned": grid.t(),
        "every second": grid[:, ::2],
        "repeated": torch.arange(3.0).expand(4, 3),
        "one number": torch.tensor(7.0),
        "nothing": torch.empty(0),
        "nothing of a shape": torch.empty(3, 0, 2),
        "nothing at the end": grid.flatten()[24:],
        "parameter": nn.Parameter(torch.ones(2, 3)),
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    read = read_again(tmp_path, tensors)
    for key, tensor in tensors.items():
        assert torch.equal(read[key], tensor), key
        assert read[key].shape == tensor.shape
        if tensor.numel():
            assert read[key].stride() == tensor.stride(), key


def test_tensors_of_one_storage_share_its_memory_which_is_read_once(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    read = read_again(tmp_path, {"first": whole[:3], "all": whole})
    assert read["first"].data_ptr() == read["all"].data_ptr()
    asked: list[str] = []

    def numbers(stored: Stored) -> bytes:
        asked.append(stored.key)
        return struct.pack("<2f", 1, 2)

    reader = TensorReader(numbers)
    for note in (noted(), noted(), noted(key="another")):
        reader.read(note)
    assert asked == ["0", "another"]


class Special(Tensor):
    """A tensor of a class of its own, as fastai has them."""


def test_tensors_in_subclasses_are_plain_and_others_are_not_read(tmp_path: Path) -> None:
    special = torch.arange(3.0).as_subclass(Special)
    with_state = nn.Parameter(torch.ones(2))
    with_state.said = "more"  # type: ignore[attr-defined]  # as any attribute that is saved with it
    read = read_again(
        tmp_path,
        {
            "special": special,
            "parameter": nn.Parameter(special),
            "with state": with_state,
            "sparse": torch.eye(3).to_sparse(),
            "meta": torch.ones(3, device="meta"),
        },
    )
    assert type(read["special"]) is Tensor
    assert read["special"].tolist() == read["parameter"].tolist() == [0, 1, 2]
    assert read["with state"].tolist() == [1, 1]
    assert read["sparse"] is None
    assert read["meta"] is None


REBUILD = "torch._utils._rebuild_tensor_v2"
TWO_NUMBERS = struct.pack("<2f", 1, 2)


def noted(
    size: list[Value] | None = None,
    stride: list[Value] | None = None,
    start: Value = 0,
    *,
    name: str = REBUILD,
    kind: str = "torch.FloatStorage",
    key: str = "0",
    more: tuple[Value, ...] = (False, None),
) -> TensorNote:
    stored = Stored(kind, key, 2)
    shape = Items([2] if size is None else size, is_tuple=True)
    strides = Items([1] if stride is None else stride, is_tuple=True)
    return TensorNote(Call(name, (stored, start, shape, strides, *more)))


def read(note: TensorNote, content: bytes = TWO_NUMBERS) -> Tensor | None:
    return TensorReader(lambda _stored: content).read(note)


def test_bytes_behind_the_last_whole_number_are_left_out() -> None:
    tensor = read(noted(), TWO_NUMBERS + b"\x01\x02")
    assert tensor is not None
    assert tensor.untyped_storage().nbytes() == len(TWO_NUMBERS)


@pytest.mark.parametrize(
    ("note", "content"),
    [
        (noted([3]), TWO_NUMBERS),
        (noted([2]), TWO_NUMBERS[:7]),
        (noted([1], start=2), TWO_NUMBERS),
        (noted([2], [2]), TWO_NUMBERS),
        (noted([2, 2], [1, 1]), TWO_NUMBERS),
        (noted([], []), b""),
        (noted([1 << 39], [1 << 39]), TWO_NUMBERS),
    ],
    ids=["longer", "cut", "behind", "strided", "square", "a number", "huge"],
)
def test_more_numbers_than_there_are_is_damage(note: TensorNote, content: bytes) -> None:
    with pytest.raises(ValueError, match="more numbers than the file holds"):
        read(note, content)


@pytest.mark.parametrize("note", [noted([2], [1, 1]), noted([2], []), noted(start=-1)])
def test_a_shape_that_contradicts_itself_is_damage(note: TensorNote) -> None:
    with pytest.raises(ValueError, match="shape is not that of its numbers"):
        read(note)


V3 = "torch._utils._rebuild_tensor_v3"


@pytest.mark.parametrize(
    "note",
    [
        noted(kind="torch.QInt8Storage"),
        noted(kind="os.system"),
        noted(name="torch._utils._rebuild_qtensor"),
        noted(name="mine.rebuild"),
        noted([-1]),
        noted(["2"]),
        noted([1 << 40]),
        noted([None]),
        noted([1] * 17, [1] * 17),
        noted(start="0"),
        noted(name=V3, more=(False, None)),
        noted(name=V3, more=(False, None, "float32")),
        noted(name=V3, more=(False, None, Global("torch.load"))),
        noted(name=V3, more=(False, None, Global("os.system"))),
        TensorNote(Call(REBUILD, ())),
        TensorNote(Call(REBUILD, ("0", 0, Items(), Items()))),
    ],
)
def test_what_is_no_plain_tensor_is_not_read(note: TensorNote) -> None:
    assert read(note) is None


def test_only_as_many_calls_around_a_tensor_are_followed_as_torch_writes() -> None:
    def around(note: TensorNote) -> TensorNote:
        return TensorNote(Call("torch._utils._rebuild_parameter", (note.call, True, None)))

    note = noted()
    for _ in range(3):
        note = around(note)
        assert read(note) is not None
    assert read(around(note)) is None

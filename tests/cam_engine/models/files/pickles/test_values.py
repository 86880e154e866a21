"""What pickles say, as plain values: of what libraries write, and of what nobody should."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.preprocessing
import torch
from torch import nn

from cam_engine.models.files.opening import opened, saved_in
from cam_engine.models.files.pickles.reading import (
    Call,
    Items,
    Pairs,
    PickleRefused,
    Value,
    read_pickle,
)
from cam_engine.models.files.pickles.values import (
    Budget,
    TensorNote,
    attributes,
    bytes_each,
    plain,
    shallow,
)

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 5])


class Configuration:
    """Of a class that nobody else has."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


class OwnList(list[object]):
    """A list by another name."""


class OwnDict(dict[str, object]):
    """A dict by another name."""


def pickled(value: object, protocol: int = 2) -> Value:
    return read_pickle(io.BytesIO(pickle.dumps(value, protocol))).value


def call(value: object) -> Call:
    read = pickled(value)
    assert isinstance(read, Call)
    return read


PLAIN: dict[str, tuple[Callable[[], object], object]] = {
    "an ordered dict": (lambda: collections.OrderedDict(a=1), {"a": 1}),
    "a default dict": (lambda: collections.defaultdict(list, a=[1]), {"a": [1]}),
    "a counter": (lambda: collections.Counter("aab"), {"a": 2, "b": 1}),
    "a deque": (lambda: collections.deque([1, 2]), [1, 2]),
    "a size": (lambda: torch.Size([3, 4]), [3, 4]),
    "a path": (lambda: Path("/data/crops"), "//data/crops"),
    "a namespace": (lambda: argparse.Namespace(arch="vit", lr=0.1), {"arch": "vit", "lr": 0.1}),
    "a list by another name": (lambda: OwnList([1, "a"]), [1, "a"]),
    "a dict by another name": (lambda: OwnDict(a=1), {"a": 1}),
    "an object": (lambda: Configuration(a=1), None),
    "a set": (lambda: {1, 2}, None),
    "bytes": (lambda: b"abc", None),
    "a function": (lambda: print, None),
    "a number of NumPy": (lambda: np.float64(0.5), 0.5),
    "text of NumPy": (lambda: np.str_("ring"), "ring"),
    "a truth of NumPy": (lambda: np.bool_(True), True),
    "an array": (lambda: np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "an array by columns": (lambda: np.asfortranarray([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "an array of big ends": (lambda: np.array([1, 2], ">i4"), [1, 2]),
    "an array of halves": (lambda: np.array([0.5, 2], np.float16), [0.5, 2.0]),
    "an array of text": (lambda: np.array(["ring", "Zürich"]), ["ring", "Zürich"]),
    "an array of text of big ends": (lambda: np.array(["ä"], ">U2"), ["ä"]),
    "an array of objects": (lambda: np.array(["a", None], object), ["a", None]),
    "an array of no axes": (lambda: np.array(0.75), 0.75),
    "an array of dates": (lambda: np.array(["2026-01-02"], "M8[D]"), None),
    "an array of complex numbers": (lambda: np.array([1j]), None),
    "a large array": (lambda: np.zeros(10_001), None),
    "one as large as is read": (lambda: np.zeros(10_000, np.int8), [0] * 10_000),
    "an encoder": (lambda: sklearn.preprocessing.LabelEncoder().fit(["b", "a"]), ["a", "b"]),
    "an encoder of a column": (
        lambda: sklearn.preprocessing.OrdinalEncoder().fit([["b"], ["a"]]),
        ["a", "b"],
    ),
    "an encoder of two": (
        lambda: sklearn.preprocessing.OrdinalEncoder().fit([["b", 1], ["a", 2]]),
        None,
    ),
    "a large integer": (lambda: 1 << 64, None),
    "one as large as is read too": (lambda: (1 << 64) - 1, (1 << 64) - 1),
    "long text": (lambda: "x" * 10_001, None),
    "a long list": (lambda: [0] * 100_001, None),
    "keys of all kinds": (
        lambda: {"a": 1, 2: "b", 0.5: 3, True: 4, (1, 2): 5, None: 6},
        {"a": 1, 2: "b", 0.5: 3, True: 4},
    ),
}


@PROTOCOLS
@pytest.mark.parametrize(("make", "expected"), PLAIN.values(), ids=PLAIN)
def test_plain_values_are_what_they_hold(
    make: Callable[[], object], expected: object, protocol: int
) -> None:
    said = plain(pickled(make(), protocol), None)
    assert said == expected
    assert type(said) is type(expected)


def saved(folder: Path, value: object) -> tuple[object, list[int | None]]:
    """What a file of torch says, and how many bytes were asked for at most."""
    path, asked = folder / "best.pt", list[int | None]()
    torch.save({"x": value}, path)
    with opened(path) as file, saved_in(file, path) as held:

        def numbers(key: str, most_bytes: int | None) -> bytes | None:
            asked.append(most_bytes)
            return held.numbers(key, most_bytes)

        said = plain(held.read.value, numbers)
    assert isinstance(said, dict)
    return said["x"], asked


@pytest.mark.parametrize(
    "kind",
    [
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32),
        *(torch.int16, torch.int8, torch.uint8, torch.bool),
    ],
)
def test_small_tensors_are_lists_of_their_numbers(tmp_path: Path, kind: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1, 2], [3, 4, 100]]).to(kind)
    assert saved(tmp_path, tensor)[0] == tensor.tolist()
    assert saved(tmp_path, tensor.t()[1:])[0] == tensor.t()[1:].tolist()
    assert saved(tmp_path, tensor[1, 2])[0] == tensor[1, 2].item()
    assert saved(tmp_path, [tensor[0]])[0] == [tensor[0].tolist()]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(10_001),
        lambda: torch.zeros(10_000, 0, 2),
        lambda: torch.zeros([1] * 9),
        lambda: torch.zeros(1 << 18, dtype=torch.float64)[:2],  # of a storage of 2 MiB
        lambda: torch.ones(2, dtype=torch.complex64),
        lambda: torch.eye(2).to_sparse(),
    ],
    ids=["large", "none in many", "many axes", "of a large one", "complex", "sparse"],
)
def test_other_tensors_are_not_read(tmp_path: Path, make: Callable[[], object]) -> None:
    said, asked = saved(tmp_path, make())
    assert said is None
    assert set(asked) <= {1 << 20}


def test_parameters_are_tensors_and_none_is_read_without_storages(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.tensor([0.5, 0.25]))
    assert saved(tmp_path, parameter)[0] == [0.5, 0.25]
    torch.save({"x": parameter}, tmp_path / "best.pt")
    with opened(tmp_path / "best.pt") as file, saved_in(file, tmp_path / "best.pt") as held:
        assert plain(held.read.value, None) == {"x": None}


def test_storages_that_are_cut_give_no_numbers(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(3)}, tmp_path / "best.pt")
    with opened(tmp_path / "best.pt") as file, saved_in(file, tmp_path / "best.pt") as held:
        with pytest.raises(IndexError):
            plain(held.read.value, lambda _key, _most: struct.pack("<2f", 1, 1))
        assert plain(held.read.value, lambda _key, _most: None) == {"x": None}


def test_what_a_shallow_look_sees() -> None:
    held = shallow(pickled({"a": [1], "b": 2}))
    assert isinstance(held, dict)
    assert held["b"] == 2
    assert isinstance(held["a"], Items)
    seen = shallow(pickled(collections.OrderedDict(a=1)))
    assert seen == {"a": 1}
    assert shallow(pickled(Configuration(a=1, b="c"))) == {"a": 1, "b": "c"}
    assert shallow(pickled(SimpleNamespace(a=1))) == {"a": 1}
    assert shallow(pickled(OwnDict(a=1))) == {"a": 1}
    assert shallow(pickled(Configuration(_content={"a": 1}))) == {"a": 1}
    for value in (3, "text", None):
        assert shallow(value) == value
    encoder = pickled(sklearn.preprocessing.LabelEncoder().fit(["a"]))
    assert shallow(encoder) is encoder
    empty = pickled(Configuration())
    assert shallow(empty) is empty


def test_tensors_are_noted_and_their_numbers_are_not_read(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(1), "b": nn.Parameter(torch.ones(1)), "c": torch.eye(2).to_sparse()}
    torch.save({**tensors, "d": 1}, tmp_path / "best.pt")
    with opened(tmp_path / "best.pt") as file, saved_in(file, tmp_path / "best.pt") as held:
        seen = shallow(held.read.value)
    assert isinstance(seen, dict)
    assert [key for key, value in seen.items() if isinstance(value, TensorNote)] == ["a", "b", "c"]


def test_keys_that_could_share_one_hash_are_left_out() -> None:
    colliding = Pairs([(number * (2**61 - 1), None) for number in range(100)])
    held = shallow(colliding)
    assert isinstance(held, dict)
    assert len(held) == 9  # those of 64 bits
    assert shallow(Pairs([(Items([1], is_tuple=True), 1), ("a", 2), (b"b", 3)])) == {"a": 2}


def test_attributes_are_those_of_all_states() -> None:
    assert attributes(call(Configuration(a=1))) == {"a": 1}
    slots = Call("mine.Thing", state=Items([None, Pairs([("a", 1)]), Pairs([("b", 2)])]))
    assert attributes(slots) == {"a": 1, "b": 2}
    assert attributes(Call("mine.Thing")) == {}
    assert attributes(Call("mine.Thing", state="text")) == {}


def test_of_omegaconf_the_values_are_read() -> None:
    node = Call("omegaconf.nodes.StringNode", state=Pairs([("_val", "vit")]))
    config = Call("omegaconf.dictconfig.DictConfig")
    config.state = Pairs([("_content", Pairs([("arch", node)])), ("_metadata", Call("x"))])
    assert plain(config, None) == {"arch": "vit"}


def test_of_fastai_the_items_are_read() -> None:
    items = Call("fastcore.foundation.L", state=Pairs([("items", Items(["a", "b"]))]))
    names = Call("fastai.data.transforms.CategoryMap", state=Pairs([("items", items)]))
    assert plain(names, None) == ["a", "b"]


def array(shape: Value, dtype: Call, data: Value) -> Call:
    state = Items([1, shape, dtype, False, data])
    return Call("numpy.core.multiarray._reconstruct", (), state)


def dtype(kind: Value, order: Value = "<") -> Call:
    return Call("numpy.dtype", (kind,), state=Items([3, order]))


@pytest.mark.parametrize(
    "value",
    [
        array(Items([2]), dtype("f4"), b"1234567"),
        array(Items([-1]), dtype("f4"), b"12345678"),
        array(Items(["2"]), dtype("f4"), b"12345678"),
        array(Items([1 << 70]), dtype("f4"), b"12345678"),
        array(Items([2]), dtype("f4", "?"), b"12345678"),
        array(Items([2]), dtype(4), b"12345678"),
        array(Items([2]), dtype("V8"), b"12345678"),
        array(Items([1 << 13, 1 << 13]), dtype("U0"), b"1"),
        array(Items([2]), dtype("f4"), 8),
        array(Items([2]), Call("numpy.dtype"), b"12345678"),
        array("2", dtype("f4"), b"12345678"),
        Call("numpy.core.multiarray._reconstruct"),
        Call("numpy.core.multiarray.scalar"),
        Call("numpy.core.multiarray.scalar", (dtype("f8"), b"1")),
        Call("sklearn.preprocessing.LabelEncoder"),
        Call(""),
    ],
)
def test_arrays_that_contradict_themselves_say_nothing(value: Call) -> None:
    assert plain(value, None) is None


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    "kind",
    [
        *("Float", "Double", "Half", "BFloat16", "Bool", "Long", "Int", "Short", "Char", "Byte"),
        *("ComplexFloat", "ComplexDouble", "QInt8", "QUInt8", "QInt32"),
    ],
)
def test_bytes_of_a_number_are_those_of_its_storage(kind: str) -> None:
    storage: Any = getattr(torch, f"{kind}Storage")
    assert bytes_each(f"torch.{kind}Storage") == storage.dtype.itemsize


@pytest.mark.parametrize("kind", ["torch.storage.UntypedStorage", "os.system", ""])
def test_other_storages_are_of_bytes(kind: str) -> None:
    assert bytes_each(kind) == 1


def test_a_budget_is_spent_to_its_last_step() -> None:
    budget = Budget(3)
    budget.spend()
    budget.spend(2)
    with pytest.raises(PickleRefused, match="too large"):
        budget.spend()


def test_a_walk_has_one_budget_and_one_depth() -> None:
    with pytest.raises(PickleRefused, match="too large"):
        plain(Items([0] * 10), None, Budget(10))
    assert plain(Items([0] * 10), None, Budget(11)) == [0] * 10
    with pytest.raises(PickleRefused, match="too large"):  # text costs as it is long
        plain(Items(["x" * 6_400] * 10), None, Budget(1_000))
    long = pickled(np.zeros(1_000, np.int8))
    with pytest.raises(PickleRefused, match="too large"):  # and arrays as they are large
        plain(Items([long] * 10), None, Budget(5_000))
    deep: Value = 1
    for _ in range(100):
        deep = Items([deep])
    assert plain(deep, None) is not None
    with pytest.raises(PickleRefused, match="deeply nested"):
        plain(Items([deep]), None)

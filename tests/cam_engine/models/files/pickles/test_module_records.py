"""Whole networks that were saved, as records: their state is that of the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cam_engine.models.files.pickles.module_records import (
    ModuleRecord,
    is_module,
    module_record,
)
from cam_engine.models.files.pickles.reading import Call, Items, Pairs, PickleRefused, Value
from cam_engine.models.files.pickles.values import Budget
from tests.cam_engine.models.recording import recorded


class Block(nn.Module):
    """With settings, buffers that are saved and one that is not, and a place that is empty."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4, eps=0.01)
        self.scale = nn.Parameter(torch.ones(4))
        self.register_parameter("shift", None)
        self.register_buffer("kept", torch.zeros(2))
        self.register_buffer("dropped", torch.zeros(2), persistent=False)
        self.shortcut: nn.Module | None = None
        self.depth, self.name, self.sizes = 3, "block", (1, 2)
        self.hook: Callable[[], None] = print


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_the_state_is_that_of_the_network(tmp_path: Path, protocol: int, *, zipped: bool) -> None:
    record = recorded(
        tmp_path,
        network(),
        _use_new_zipfile_serialization=zipped,
        pickle_protocol=protocol,
    )
    assert list(record.state()) == list(network().state_dict())


def test_modules_have_their_class_their_settings_and_their_place(tmp_path: Path) -> None:
    record = recorded(tmp_path, network())
    modules = dict(record.walk())
    assert list(modules) == [name for name, _ in network().named_modules()]
    assert record.kind == "torch.nn.modules.container.Sequential"
    assert modules["0"].kind.endswith("test_module_records.Block")
    convolution, norm = modules["0.conv"], modules["0.norm"]
    assert convolution.kind == "torch.nn.modules.conv.Conv2d"
    assert convolution.settings["stride"] == [2, 2]
    assert list(convolution.tensors) == ["weight"]
    assert norm.settings["eps"] == 0.01
    settings = modules["0"].settings
    assert (settings["depth"], settings["name"], settings["sizes"]) == (3, "block", [1, 2])
    assert settings["training"] is True
    assert settings["hook"] is None
    assert not [name for name in settings if name.startswith("_")]
    assert list(modules["0"].tensors) == ["scale", "kept"]


def test_names_within_begin_where_it_is_said(tmp_path: Path) -> None:
    record = recorded(tmp_path, nn.Sequential(nn.ReLU()))
    assert [name for name, _ in record.walk("features")] == ["features", "features.0"]


def test_a_compiled_network_is_the_one_that_was_compiled(tmp_path: Path) -> None:
    compiled: Any = torch.compile(nn.Linear(2, 2))
    record = recorded(tmp_path, compiled)
    assert record.kind == "torch.nn.modules.linear.Linear"
    assert list(record.state()) == ["weight", "bias"]
    within = recorded(tmp_path, nn.Sequential(compiled))
    assert list(within.state()) == ["0.weight", "0.bias"]


INNER: list[tuple[Value, Value]] = [
    (name, Pairs()) for name in ("_parameters", "_buffers", "_modules")
]


def made(*entries: tuple[Value, Value], name: str = "mine.Net") -> Call:
    return Call(name, state=Pairs([*INNER, *entries]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (made(), True),
        (Call("mine.Net", state=Pairs(INNER[:2])), False),
        (Call("mine.Net", state=Items([Pairs(INNER)])), False),
        (Call("mine.Net"), False),
        (Pairs(INNER), False),
        ({"_parameters": 1, "_buffers": 1, "_modules": 1}, False),
        (Call("torch._dynamo.eval_frame.OptimizedModule", (made(),)), True),
        (Call("torch._dynamo.eval_frame.OptimizedModule"), False),
        (Call("torch._dynamo.eval_frame.OptimizedModule", (3,)), False),
        (None, False),
    ],
)
def test_modules_are_told_by_what_all_modules_hold(value: object, *, expected: bool) -> None:
    assert is_module(value) is expected
    assert (module_record(value) is not None) is expected


def holding(child: Value, name: Value = "child") -> Call:
    call = made()
    call.state = Pairs([*INNER[:2], ("_modules", Pairs([(name, child)]))])
    return call


def test_children_that_are_no_modules_are_left_out() -> None:
    for child in (None, 3, Call("mine.Thing"), Pairs()):
        record = module_record(holding(child))
        assert record is not None
        assert record.children == {}
    record = module_record(holding(made(), 7))
    assert record is not None
    assert record.children == {}


@pytest.mark.parametrize("held", [None, 3, Items([1]), "text"])
def test_what_should_be_a_dict_and_is_none_holds_nothing(held: Value) -> None:
    state: list[tuple[Value, Value]] = [(name, held) for name, _ in INNER]
    record = module_record(Call("mine.Net", state=Pairs(state)))
    assert record == ModuleRecord("mine.Net", {}, {}, {})


def test_a_module_in_itself_is_refused() -> None:
    endless = made()
    endless.state = Pairs([*INNER[:2], ("_modules", Pairs([("again", endless)]))])
    with pytest.raises(PickleRefused, match="too deeply nested"):
        module_record(endless)


def test_modules_are_as_deep_as_they_may_be() -> None:
    module = made()
    for _ in range(60):
        module = holding(module)
    record = module_record(module)
    assert record is not None
    assert len([*record.walk()]) == 61
    with pytest.raises(PickleRefused, match="too deeply nested"):
        module_record(holding(module))


def test_one_module_in_many_places_costs_each_time() -> None:
    """Two of the one before, thirty times: a thousand million modules."""
    module = made()
    for _ in range(30):
        module = Call(
            "mine.Net",
            state=Pairs([*INNER[:2], ("_modules", Pairs([("a", module), ("b", module)]))]),
        )
    with pytest.raises(PickleRefused, match="too large"):
        module_record(module, Budget(10_000))


def test_a_set_of_names_costs_each_module_that_refers_to_it() -> None:
    names = Items([f"buffer {number}" for number in range(100)], is_set=True)
    module = made(("_non_persistent_buffers_set", names))
    for _ in range(20):
        module = holding(module)
        module.state = Pairs([*_pairs(module), ("_non_persistent_buffers_set", names)])
    assert module_record(module, Budget(5_000)) is not None
    with pytest.raises(PickleRefused, match="too large"):
        module_record(module, Budget(2_000))


def _pairs(call: Call) -> list[tuple[Value, Value]]:
    assert isinstance(call.state, Pairs)
    return call.state.pairs

"""Whole networks in a pickle: their modules as records, of which nothing was made.

`torch.save(network)` writes each module's class by name and its attributes as they are: parameters,
buffers, child modules, and its settings such as a convolution's stride
(https://pytorch.org/docs/stable/notes/serialization.html).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cam_engine.models.files.pickles.reading import Call, Items, Pairs, PickleRefused, Value
from cam_engine.models.files.pickles.values import Budget, TensorNote, attributes, plain, shallow

_INNER = frozenset({"_parameters", "_buffers", "_modules"})
_COMPILED = "torch._dynamo.eval_frame.OptimizedModule"
_NOT_SAVED = "_non_persistent_buffers_set"
_MOST_STEPS = 2_000_000
_DEEPEST = 60


@dataclass(frozen=True, slots=True)
class ModuleRecord:
    """One module as it was saved.

    kind: its class, "torch.nn.modules.conv.Conv2d". settings: attributes that are numbers, text,
    lists or None. tensors: its own parameters and buffers, without those that no state dict has.
    """

    kind: str
    settings: Mapping[str, object]
    tensors: Mapping[str, TensorNote]
    children: Mapping[str, ModuleRecord]

    def walk(self, prefix: str = "") -> Iterator[tuple[str, ModuleRecord]]:
        """(dotted name, record) of the module itself ("") and all in it, in their order."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.walk(f"{prefix}.{name}" if prefix else name)

    def state(self) -> dict[str, TensorNote]:
        """As the network's `state_dict()` was."""
        return {
            f"{name}.{key}" if name else key: tensor
            for name, module in self.walk()
            for key, tensor in module.tensors.items()
        }


def is_module(value: object) -> bool:
    """Whether it is a `torch.nn.Module`, of whatever class."""
    call = _uncompiled(value)
    if not isinstance(call, Call):
        return False
    return {key for key, _ in _state_of(call) if isinstance(key, str)} >= _INNER


def module_record(value: object, budget: Budget | None = None) -> ModuleRecord | None:
    """The record of a module and all in it; None for other values.

    Raises PickleRefused where there are too many, or one is in itself.
    """
    call = _uncompiled(value)
    if not isinstance(call, Call) or not is_module(call):
        return None
    return _record(call, budget or Budget(_MOST_STEPS), 0)


def _uncompiled(value: object) -> object:
    """What `torch.compile` made faster, of its result; other values as they are."""
    if isinstance(value, Call) and value.name == _COMPILED and value.arguments:
        return value.arguments[0]
    return value


def _record(call: Call, budget: Budget, depth: int) -> ModuleRecord:
    if depth > _DEEPEST:
        raise PickleRefused("its modules are too deeply nested")
    held = attributes(call)
    hidden = _names(held.get(_NOT_SAVED), budget)
    tensors = {
        key: tensor
        for inner in ("_parameters", "_buffers")
        for key, tensor in _entries(held.get(inner)).items()
        if isinstance(tensor, TensorNote) and key not in hidden
    }
    children = {}
    for key, saved in _entries(held.get("_modules")).items():
        child = _uncompiled(saved)
        if isinstance(child, Call):
            budget.spend(1 + len(_state_of(child)))
            if is_module(child):
                children[key] = _record(child, budget, depth + 1)
    settings = {
        str(key): plain(value, None, budget)
        for key, value in held.items()
        if not str(key).startswith("_") and not isinstance(value, TensorNote)
    }
    return ModuleRecord(call.name, settings, tensors, children)


def _names(value: object, budget: Budget) -> set[str]:
    """Text in a set, as any protocol has one; many modules may refer to the same."""
    match value:
        case Call(name="builtins.set" | "__builtin__.set", arguments=(Items() as listed,)):
            return _names(listed, budget)
        case Items(values=values):
            budget.spend(len(values))
            return {name for name in values if isinstance(name, str)}
    return set()


def _entries(value: object) -> dict[str, object]:
    held = shallow(value)
    return {k: v for k, v in held.items() if isinstance(k, str)} if isinstance(held, dict) else {}


def _state_of(call: Call) -> list[tuple[Value, Value]]:
    return call.state.pairs if isinstance(call.state, Pairs) else []

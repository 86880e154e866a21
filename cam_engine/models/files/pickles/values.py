"""What a pickle that was read without being run says, as plain values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from cam_engine.models.files.pickles.reading import Call, Items, Pairs, PickleRefused, Stored, Value

LARGEST_VALUE = 10_000  # elements of an array that is looked into
_LONGEST_LIST = 100_000  # longer ones are data
_LONGEST_TEXT = 10_000  # characters
_MOST_STEPS = 1_000_000  # of a walk over what one entry says
_CHARACTERS_A_STEP = 64
_DEEPEST = 100
_WIDEST_INTEGER = 64  # bits
_MOST_AXES = 8
_MOST_STORED_BYTES = 1 << 20

# (key, most bytes) to a tensor's numbers as they are stored; None where there are more.
ReadStorage = Callable[[str, int | None], bytes | None]

_BFLOAT16 = "bfloat16"
# How torch names kinds of numbers, and how `struct` does.
_STORAGES = {
    "Float": "f",
    "Double": "d",
    "Half": "e",
    "BFloat16": _BFLOAT16,
    "Bool": "?",
    "Long": "q",
    "Int": "i",
    "Short": "h",
    "Char": "b",
    "Byte": "B",
}
# Bytes of a number of kinds that are only passed over.
_BYTES_OF_OTHERS = {
    "ComplexFloat": 8,
    "ComplexDouble": 16,
    "QInt8": 1,
    "QUInt8": 1,
    "QInt32": 4,
}
_DTYPES = {
    "f2": "e",
    "f4": "f",
    "f8": "d",
    "b1": "?",
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
}
_ENCODER = "sklearn.preprocessing."  # its objects know the classes in their order
# Lists of fastai's own.
_OF_ITEMS = frozenset({"fastai.data.transforms.CategoryMap", "fastcore.foundation.L"})
_CHARACTER_BYTES = 4  # of numpy's text
_DICTS = frozenset(
    {"collections.OrderedDict", "collections.Counter", "collections.defaultdict", "builtins.dict"}
)
_LISTS = frozenset(
    f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("list", "tuple")
) | {"torch.Size", "collections.deque", "fastcore.basics.fastuple"}


@dataclass(frozen=True, slots=True)
class TensorNote:
    """Stands for a tensor, whose numbers are not read."""

    call: Call


def bytes_each(kind: str) -> int:
    """Bytes of a number in a storage of that kind, "torch.FloatStorage"; 1 where it is unknown."""
    name = kind.removeprefix("torch.").removesuffix("Storage")
    return _size(_STORAGES[name]) if name in _STORAGES else _BYTES_OF_OTHERS.get(name, 1)


class Budget:
    """Steps that a walk over values may take: they may refer to each other often, or in circles."""

    def __init__(self, steps: int = _MOST_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int = 1) -> None:
        """Raises PickleRefused where there are none left."""
        self._left -= steps
        if self._left < 0:
            raise PickleRefused("what it says is too large")


def shallow(value: Value) -> object:
    """Of a dict or an object, a dict of what it holds as it is; tensors as notes.

    Objects of unknown classes are what they hold: their entries, else their attributes. Other
    values are answered as they are.
    """
    match value:
        case Pairs():
            return _named(value.pairs)
        case Call(name=name) if name in _DICTS:
            return _named(_pairs(value))
        case Call(name=name) if name.startswith(_ENCODER):
            return value
        case Call() if not _is_tensor(value) and (value.pairs or attributes(value)):
            held = {**attributes(value), **_named(value.pairs)}
            # As OmegaConf keeps what a config says.
            return shallow(held["_content"]) if "_content" in held else held
    return _noted(value)


def attributes(call: Call) -> dict[object, object]:
    """What an object's state says, by the names of its attributes."""
    states = call.state.values if isinstance(call.state, Items) else [call.state]
    return _named([pair for state in states if isinstance(state, Pairs) for pair in state.pairs])


def plain(value: object, storage: ReadStorage | None, budget: Budget | None = None) -> object:
    """None, numbers, text, lists and dicts; None for what is none of these, such as sets.

    Raises PickleRefused for what is very large or deeply nested.
    """
    return _Plain(storage, budget or Budget()).of(value, 0)


def _named(pairs: Sequence[tuple[Value, Value]]) -> dict[object, object]:
    return {key: _noted(value) for key, value in pairs if _may_be_key(key)}


def _may_be_key(key: Value) -> bool:
    """Not what could be chosen to have one hash, which makes dicts slow."""
    if isinstance(key, int):
        return key.bit_length() <= _WIDEST_INTEGER
    return isinstance(key, str | float | None)


def _noted(value: Value) -> object:
    return TensorNote(value) if isinstance(value, Call) and _is_tensor(value) else value


def _is_tensor(call: Call) -> bool:
    return call.name.startswith(("torch._utils._rebuild_", "torch._tensor._rebuild_")) or (
        call.name in {"torch.Tensor", "torch.nn.parameter.Parameter"}
        or (call.name.startswith("torch.") and call.name.endswith("Tensor"))
    )


def _pairs(call: Call) -> list[tuple[Value, Value]]:
    """Entries of a dict of another kind: given to it as pairs or a dict, and set in it."""
    given = [
        (pair.values[0], pair.values[1])
        for argument in call.arguments
        if isinstance(argument, Items)
        for pair in argument.values
        if isinstance(pair, Items) and len(pair.values) == 2
    ]
    given += [
        p for argument in call.arguments if isinstance(argument, Pairs) for p in argument.pairs
    ]
    return [*given, *call.pairs]


class _Plain:
    """One walk."""

    def __init__(self, storage: ReadStorage | None, budget: Budget) -> None:
        self._storage = storage
        self._budget = budget

    def of(self, value: object, depth: int) -> object:
        self._budget.spend()
        if depth > _DEEPEST:
            raise PickleRefused("what it says is too deeply nested")
        answer: object = None
        match value:
            case bool() | float():
                answer = value
            case int() if value.bit_length() <= _WIDEST_INTEGER:
                answer = value
            case str() if len(value) <= _LONGEST_TEXT:
                self._budget.spend(len(value) // _CHARACTERS_A_STEP)
                answer = value
            case Items(is_set=False) if len(value.values) <= _LONGEST_LIST:
                answer = [self.of(inner, depth + 1) for inner in value.values]
            case TensorNote():
                answer = self._numbers(_numbers_of_tensor(value.call, self._storage))
            case Pairs():
                answer = self._dict(value.pairs, depth)
            case Call():
                answer = self._call(value, depth)
        return answer

    def _dict(self, pairs: Sequence[tuple[Value, Value]], depth: int) -> dict[object, object]:
        entries: dict[object, object] = {}
        for key, inner in pairs:
            name = self.of(key, depth + 1)
            if name is not None and not isinstance(name, list | dict):
                entries[name] = self.of(_noted(inner), depth + 1)
        return entries

    def _call(self, call: Call, depth: int) -> object:
        name, arguments = call.name, call.arguments
        answer: object = None
        if name in _DICTS:
            answer = self._dict(_pairs(call), depth)
        elif _is_tensor(call):
            answer = self._numbers(_numbers_of_tensor(call, self._storage))
        elif name.startswith("pathlib."):
            answer = "/".join(part for part in arguments if isinstance(part, str))
        elif name in _LISTS:
            answer = [self.of(inner, depth + 1) for inner in _listed(call)]
        elif name.endswith(".multiarray.scalar"):
            answer = self._numbers(_numpy_scalar(arguments))
        elif name.endswith(".multiarray._reconstruct"):
            answer = self._array(call.state, depth)
        elif name.endswith(".numeric._frombuffer"):
            answer = self._numbers(_numpy_buffer(arguments))
        else:
            answer = self._object(call, depth)
        return answer

    def _object(self, call: Call, depth: int) -> object:
        """Of a class that is not known: what it holds, where it is a dict or a list of its own."""
        held = attributes(call)
        if call.name.startswith("omegaconf.") and (kept := held.keys() & {"_val", "_content"}):
            return self.of(held[kept.pop()], depth + 1)
        if call.name.startswith(_ENCODER):
            return self._encoded(held, depth)
        if call.name in _OF_ITEMS:
            return self.of(held.get("items"), depth + 1)
        if call.pairs:
            return self._dict(call.pairs, depth)
        if call.items and not held:
            return [self.of(item, depth + 1) for item in call.items]
        return self._dict([*held.items()], depth) if call.name == "argparse.Namespace" else None

    def _encoded(self, held: Mapping[object, object], depth: int) -> object:
        """The classes of a label's encoder, or of one of columns, where it has only one."""
        if "classes_" in held:
            return self.of(held["classes_"], depth + 1)
        columns = self.of(held.get("categories_"), depth + 1)
        return columns[0] if isinstance(columns, list) and len(columns) == 1 else None

    def _array(self, state: Value, depth: int) -> object:
        match state:
            case Items(values=[_, _, _, _, Items() as objects]):  # an array of names, for one
                return self.of(objects, depth + 1)
        return self._numbers(_numpy_array(state))

    def _numbers(self, numbers: object) -> object:
        """Of arrays, which may be referred to often."""
        if isinstance(numbers, list):
            self._budget.spend(len(numbers))
            for number in numbers:
                self._numbers(number)
        return numbers


def _listed(call: Call) -> list[Value]:
    given = [value for a in call.arguments[:1] if isinstance(a, Items) for value in a.values]
    return [*given, *call.items]


def _numpy_scalar(arguments: Sequence[Value]) -> object:
    match arguments:
        case [Call() as dtype, data]:
            return next(iter(_numpy_numbers(dtype, data, 1) or []), None)
    return None


def _numpy_array(state: Value) -> object:
    match state:
        case Items(values=[_, Items(values=shape), Call() as dtype, fortran, data]):
            sizes = _sizes(shape)
            numbers = None if sizes is None else _numpy_numbers(dtype, data, prod(sizes))
            if sizes is None or numbers is None:
                return None
            strides = _strides(sizes[::-1])[::-1] if not fortran else _strides(sizes)
            return _nested(numbers, sizes, strides, 0)
    return None


def _numpy_buffer(arguments: Sequence[Value]) -> object:
    """An array as pickles of protocol 5 have it."""
    match arguments:
        case [data, Call() as dtype, Items() as shape, order]:
            return _numpy_array(Items([None, shape, dtype, order == "F", data]))
    return None


def _numpy_numbers(dtype: Call, data: Value, count: int) -> list[object] | None:
    order = (
        dtype.state.values[1] if isinstance(dtype.state, Items) and dtype.state.values[1:] else "="
    )
    kind = dtype.arguments[0] if dtype.arguments else ""
    content = _bytes(data)
    if content is None or count > LARGEST_VALUE or order not in ("<", ">", "|", "="):
        return None
    big = order == ">"
    if not isinstance(kind, str):
        return None
    if kind in _DTYPES:
        return _unpacked(_DTYPES[kind], content, count, big=big)
    if kind[:1] == "U" and kind[1:].isdecimal() and content:
        width = int(kind[1:]) * _CHARACTER_BYTES
        encoding = "utf-32-be" if big else "utf-32-le"
        pieces = (content[start : start + width] for start in range(0, count * width, width or 1))
        return [piece.decode(encoding, "replace").rstrip("\0") for piece in pieces]
    return None


def _bytes(data: Value) -> bytes | None:
    """Bytes as a pickle of protocol 2 has them: text to be encoded."""
    match data:
        case bytes():
            return data
        case str():
            return data.encode("latin-1", "replace")
        case Call(name="_codecs.encode", arguments=(str(text), *_)):
            return text.encode("latin-1", "replace")
    return None


def _numbers_of_tensor(call: Call, storage: ReadStorage | None) -> object:
    """Nested lists of a small tensor's numbers, or its one number; None for others."""
    match call.arguments:
        case (Call() as inner, *_) if call.name == "torch._utils._rebuild_parameter":
            return _numbers_of_tensor(inner, storage)
        case (Stored() as stored, int(start), Items(values=size), Items(values=stride), *_):
            sizes, strides = _sizes(size), _whole_numbers(stride)
            code = _STORAGES.get(stored.kind.removeprefix("torch.").removesuffix("Storage"))
            if sizes is None or strides is None or code is None or storage is None:
                return None
            content = storage(stored.key, _MOST_STORED_BYTES)
            if content is None or len(sizes) != len(strides):
                return None
            numbers = _unpacked(code, content, len(content) // _size(code), big=False)
            return None if numbers is None else _nested(numbers, sizes, strides, start)
    return None


def _sizes(values: Sequence[Value]) -> list[int] | None:
    """A shape; None where it is none, or that of a large array.

    Also one without elements may have many axes to go through.
    """
    sizes = _whole_numbers(values)
    too_many = sizes is None or prod(max(1, size) for size in sizes) > LARGEST_VALUE
    return None if too_many else sizes


def _whole_numbers(values: Sequence[Value]) -> list[int] | None:
    whole = [
        value for value in values if isinstance(value, int) and 0 <= value < 1 << _WIDEST_INTEGER
    ]
    return whole if len(whole) == len(values) <= _MOST_AXES else None


def _size(code: str) -> int:
    return 2 if code == _BFLOAT16 else struct.calcsize(f"<{code}")


def _strides(sizes: Sequence[int]) -> list[int]:
    """Of a dense array whose first index runs fastest."""
    return [prod(sizes[:axis]) for axis in range(len(sizes))]


def _unpacked(code: str, content: bytes, count: int, *, big: bool) -> list[object] | None:
    order = ">" if big else "<"
    if len(content) < count * _size(code):
        return None
    if code == _BFLOAT16:  # the upper half of a float32
        content = b"".join(b"\0\0" + content[i : i + 2] for i in range(0, 2 * count, 2))
        code = "f"
    return list(struct.unpack_from(f"{order}{count}{code}", content))


def _nested(numbers: list[object], sizes: list[int], strides: list[int], start: int) -> object:
    if not sizes:
        return numbers[start]
    return [
        _nested(numbers, sizes[1:], strides[1:], start + index * strides[0])
        for index in range(sizes[0])
    ]

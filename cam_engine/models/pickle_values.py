"""What a pickle that was read without being run says, as plain values."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from cam_engine.models.pickle_reading import Call, Items, Node, Pairs, Stored, Value

LARGEST_VALUE = 10_000  # elements of an array that is looked into
_LONGEST_TEXT = 10_000  # characters
_MOST_AXES = 8
_MOST_STORED_BYTES = 1 << 20

# (key, most bytes) to a tensor's numbers as they are stored; None where there are more.
ReadStorage = Callable[[str, int], bytes | None]

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
_CHARACTER_BYTES = 4  # of numpy's text
_DICTS = frozenset({"collections.OrderedDict", "collections.Counter"})


@dataclass(frozen=True, slots=True)
class TensorNote:
    """Stands for a tensor, whose numbers are not read."""

    call: Call


def bytes_each(kind: str) -> int:
    """Bytes of a number in a storage of that kind, "torch.FloatStorage"; 1 where it is unknown."""
    code = _STORAGES.get(kind.removeprefix("torch.").removesuffix("Storage"), "b")
    return _size(code)


def shallow(value: Value) -> object:
    """Of a dict, a dict of what it holds as it is; tensors as notes. Other values as they are."""
    if isinstance(value, Pairs) or (isinstance(value, Call) and value.name in _DICTS):
        return {key: _noted(one) for key, one in _pairs(value) if not isinstance(key, Node)}
    if isinstance(value, Call) and value.name == "argparse.Namespace":
        return shallow(value.state)
    return _noted(value)


def plain(value: object, storage: ReadStorage | None) -> object:
    """None, numbers, text, lists and dicts; None for what is none of these, or very large."""
    answer: object = None
    match value:
        case bool() | int() | float():
            answer = value
        case str() if len(value) <= _LONGEST_TEXT:
            answer = value
        case Items():
            answer = [plain(one, storage) for one in value.values]
        case TensorNote():
            answer = _numbers_of_tensor(value.call, storage)
        case Pairs():
            answer = _dict(value, storage)
        case Call():
            answer = _of_call(value, storage)
    return answer


def _noted(value: Value) -> object:
    return TensorNote(value) if isinstance(value, Call) and _is_tensor(value) else value


def _is_tensor(call: Call) -> bool:
    return call.name.startswith(("torch._utils._rebuild_", "torch._tensor._rebuild_")) or (
        call.name in {"torch.Tensor", "torch.nn.parameter.Parameter"}
        or call.name.endswith("Tensor")
    )


def _pairs(value: Pairs | Call) -> list[tuple[Value, Value]]:
    if isinstance(value, Pairs):
        return value.pairs
    given = [
        (pair.values[0], pair.values[1])
        for argument in value.arguments
        if isinstance(argument, Items)
        for pair in argument.values
        if isinstance(pair, Items) and len(pair.values) == 2
    ]
    given += [p for one in value.arguments if isinstance(one, Pairs) for p in one.pairs]
    return [*given, *value.pairs]


def _dict(value: Pairs | Call, storage: ReadStorage | None) -> dict[object, object]:
    found: dict[object, object] = {}
    for key, one in _pairs(value):
        name = plain(key, storage)
        if name is not None and not isinstance(name, list | dict):
            found[name] = plain(_noted(one), storage)
    return found


def _of_call(call: Call, storage: ReadStorage | None) -> object:
    name, arguments = call.name, call.arguments
    answer: object = None
    if name in _DICTS:
        answer = _dict(call, storage)
    elif _is_tensor(call):
        answer = _numbers_of_tensor(call, storage)
    elif name == "argparse.Namespace":
        answer = plain(call.state, storage)
    elif name.startswith("pathlib."):
        answer = "/".join(part for part in arguments if isinstance(part, str))
    elif name in {"torch.Size", "builtins.set", "__builtin__.set"}:
        answer = plain(arguments[0], storage) if arguments else []
    elif name.endswith(".multiarray.scalar"):
        answer = _numpy_scalar(arguments)
    elif name.endswith(".multiarray._reconstruct"):
        answer = _numpy_array(call.state, storage)
    return answer


def _numpy_scalar(arguments: Sequence[Value]) -> object:
    match arguments:
        case [Call() as dtype, data]:
            return next(iter(_numpy_numbers(dtype, data, 1) or []), None)
    return None


def _numpy_array(state: Value, storage: ReadStorage | None) -> object:
    match state:
        case Items(values=[_, Items(values=shape), Call() as dtype, fortran, data]):
            if isinstance(data, Items):  # an array of objects, such as names
                return plain(data, storage)
            sizes = _sizes(shape)
            numbers = None if sizes is None else _numpy_numbers(dtype, data, prod(sizes))
            if sizes is None or numbers is None:
                return None
            strides = _strides(sizes[::-1])[::-1] if not fortran else _strides(sizes)
            return _nested(numbers, sizes, strides, 0)
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
            sizes, strides = _sizes(size), _sizes(stride)
            code = _STORAGES.get(stored.kind.removeprefix("torch.").removesuffix("Storage"))
            if sizes is None or strides is None or code is None or storage is None:
                return None
            content = storage(stored.key, _MOST_STORED_BYTES)
            if content is None or prod(sizes) > LARGEST_VALUE or len(sizes) != len(strides):
                return None
            numbers = _unpacked(code, content, len(content) // _size(code), big=False)
            return None if numbers is None else _nested(numbers, sizes, strides, start)
    return None


def _sizes(values: Sequence[Value]) -> list[int] | None:
    sizes = [one for one in values if isinstance(one, int) and 0 <= one <= LARGEST_VALUE]
    return sizes if len(sizes) == len(values) <= _MOST_AXES else None


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

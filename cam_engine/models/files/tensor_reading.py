"""Tensors of a checkpoint, made of the numbers that it stores and of nothing else in it.

Only what torch's own restricted loader rebuilds by itself is rebuilt: plain tensors and parameters
(`torch._weights_only_unpickler`); quantised, sparse and other tensors are not weights of a network
that is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from cam_engine.models.files.pickles.reading import Call, Global, Items, Stored, Value
from cam_engine.models.files.pickles.values import TensorNote

# A storage's numbers as they are in the file, little-endian. Raises ValueError or OSError.
ReadNumbers = Callable[[Stored], bytes]

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "DoubleStorage": torch.float64,
        "FloatStorage": torch.float32,
        "HalfStorage": torch.float16,
        "BFloat16Storage": torch.bfloat16,
        "LongStorage": torch.int64,
        "IntStorage": torch.int32,
        "ShortStorage": torch.int16,
        "CharStorage": torch.int8,
        "ByteStorage": torch.uint8,
        "BoolStorage": torch.bool,
        "ComplexFloatStorage": torch.complex64,
        "ComplexDoubleStorage": torch.complex128,
    }
)
_WITH_A_DTYPE = "torch._utils._rebuild_tensor_v3"
_PLAIN = frozenset({"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"})
_AROUND = frozenset(
    {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
)
_SUBCLASS = "torch._tensor._rebuild_from_type_v2"
_MOST_AXES = 16


class TensorReader:
    """Reads tensors of one file; those that share a storage share its memory."""

    def __init__(self, numbers: ReadNumbers) -> None:
        self._numbers = numbers
        self._storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def read(self, note: TensorNote) -> Tensor | None:
        """The tensor; None for one of a kind that is not read.

        Raises ValueError where the file holds less than the tensor claims.
        """
        call = note.call
        for _ in range(3):  # a parameter of a subclass of a tensor, at most
            inner = _inner(call)
            if inner is None:
                break
            call = inner
        return self._plain(call)

    def _plain(self, call: Call) -> Tensor | None:
        match call.arguments:
            case (Stored() as stored, int(start), Items(values=size), Items(values=stride), *rest):
                dtype = _dtype(call.name, stored, rest)
                shape, strides = _counts(size), _counts(stride)
                if dtype is None or shape is None or strides is None:
                    return None
                if len(shape) != len(strides) or start < 0:
                    raise ValueError("a tensor's shape is not that of its numbers")
                return self._viewed(stored, dtype, shape, strides, start)
        return None

    def _viewed(
        self,
        stored: Stored,
        dtype: torch.dtype,
        shape: Sequence[int],
        strides: Sequence[int],
        start: int,
    ) -> Tensor:
        storage = self._storage(stored, dtype)
        last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and last >= len(storage):
            raise ValueError("a tensor has more numbers than the file holds of it")
        return storage.as_strided(shape, strides, min(start, len(storage)))

    def _storage(self, stored: Stored, dtype: torch.dtype) -> Tensor:
        key = stored.key, dtype
        if key not in self._storages:
            data = self._numbers(stored)
            whole = len(data) - len(data) % dtype.itemsize
            self._storages[key] = (
                torch.frombuffer(bytearray(data[:whole]), dtype=dtype)
                if whole
                else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def _inner(call: Call) -> Call | None:
    """The plain tensor in a parameter, or in a tensor of a subclass."""
    match call:
        case Call(name=name, arguments=(Call() as inner, *_)) if name in _AROUND:
            return inner
        case Call(arguments=(Global(name=function), _, Items(values=arguments), *_)) if (
            call.name == _SUBCLASS
        ):
            return Call(function, tuple(arguments))
    return None


def _dtype(function: str, stored: Stored, rest: Sequence[Value]) -> torch.dtype | None:
    if function in _PLAIN:
        return _DTYPES.get(stored.kind.rpartition(".")[2])
    if function == _WITH_A_DTYPE and len(rest) > 2 and isinstance(rest[2], Global):
        named = getattr(torch, rest[2].name.removeprefix("torch."), None)
        return named if isinstance(named, torch.dtype) else None
    return None


def _counts(values: Sequence[Value]) -> list[int] | None:
    counts = [value for value in values if isinstance(value, int) and 0 <= value < 1 << 40]
    return counts if len(counts) == len(values) <= _MOST_AXES else None

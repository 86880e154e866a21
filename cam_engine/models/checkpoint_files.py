"""Checkpoint files as untrusted input: read without running anything that they say.

A checkpoint is a pickle, and unpickling runs whatever the file names. torch's restricted
unpickler runs nothing but a short list of tensor constructors; the few more names that training
scripts leave in metadata (numpy scalars and arrays, paths, parsed arguments) get stand-ins here.
What a file would cost is looked at before; see `checkpoint_scan`.
"""

from __future__ import annotations

import argparse
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cam_engine.errors import CheckpointInvalid, CheckpointUnsafe
from cam_engine.models.checkpoint_scan import check, diagnosis, sorted_out
from cam_engine.models.pickle_values import LARGEST_VALUE

_DTYPES = re.compile(r"[biufSU]\d+")

_ONE_LOAD_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class CheckpointContents:
    """What a file holds: the state dict as saved, and the entries beside it."""

    weights: dict[str, Tensor]
    metadata: dict[str, object]


def read_contents(file: BufferedReader, path: Path) -> CheckpointContents:
    """Everything in the file, tensors on the CPU.

    Raises CheckpointUnsafe for a pickle that needs code, CheckpointInvalid for what is damaged,
    costs too much, or holds no weights.
    """
    check(file, path, thoroughly=True)
    try:
        file.seek(0)
        # safe_globals changes a set of the process: two loads at once would undo each other's.
        with _ONE_LOAD_AT_A_TIME, torch.serialization.safe_globals(_stand_ins()):
            saved = torch.load(file, map_location="cpu", weights_only=True)
        weights, metadata = sorted_out(saved, path, Tensor)
    except (CheckpointInvalid, CheckpointUnsafe):
        raise
    except Exception as error:  # damaged bytes raise nearly anything inside an unpickler
        raise diagnosis(file, path, error) from error
    return CheckpointContents({key: one.detach() for key, one in weights.items()}, metadata)


def plain(value: object) -> object:
    """A metadata value as Python's own: what was a numpy array or a tensor as a list or number."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu":
        return value.tolist() if value.numel() <= LARGEST_VALUE else None
    return value


class _Dtype:
    """Stands in for numpy.dtype: plain numbers and text only, whatever else the file says."""

    def __init__(self, spec: str, *_: object) -> None:
        self._spec = spec
        self._order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = str(state[1])

    def numpy(self) -> np.dtype[Any] | None:
        """The dtype, or None for one that is not plain."""
        if self._order in "<>|=" and _DTYPES.fullmatch(str(self._spec)):
            return np.dtype(self._order + str(self._spec))
        return None


class _Array:
    """Stands in for numpy.ndarray: its values as nested lists or one number; None if not plain."""

    values: object = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, list):  # an array of objects, such as names
            self.values = data
        elif isinstance(dtype, _Dtype) and (kind := dtype.numpy()) is not None:
            array = np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
            self.values = array.tolist() if array.size <= LARGEST_VALUE else None


def _scalar(dtype: _Dtype, data: bytes = b"") -> object:
    kind = dtype.numpy()
    return None if kind is None else np.frombuffer(data, kind)[0].item()


def _new_array(*_: object) -> _Array:
    return _Array()


def _path(*parts: str) -> str:
    return "/".join(map(str, parts))


def _stand_ins() -> list[Any]:
    """(stand-in, the name in the file that it answers to), as torch's allow-list takes them."""
    names: dict[str, Callable[..., object]] = {
        "numpy.dtype": _Dtype,
        "numpy.ndarray": _Array,
        "argparse.Namespace": argparse.Namespace,
    }
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names |= {f"{core}.scalar": _scalar, f"{core}._reconstruct": _new_array}
    for module in ("pathlib", "pathlib._local"):
        names |= {f"{module}.{kind}Path": _path for kind in ("Posix", "Windows", "PurePosix")}
    return [(stand_in, name) for name, stand_in in names.items()]

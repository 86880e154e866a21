"""Checkpoint files as untrusted input: read without running anything that they say.

A checkpoint is a pickle, and unpickling runs whatever the file names. torch's restricted
unpickler runs nothing but a short list of tensor constructors; the few more names that training
scripts leave in metadata (numpy scalars and arrays, paths, parsed arguments) get stand-ins here.
"""

from __future__ import annotations

import argparse
import os
import pickletools
import re
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from cam_engine.errors import CheckpointInvalid, CheckpointNotFound, CheckpointUnsafe

_WEIGHT_KEYS = (
    "model_state_dict",
    "state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "model_weights",
    "params",
)

_SAVE_AGAIN = (
    "where it was trained, save it again with torch.save({'model_state_dict': model.state_dict(), "
    "'model_name': ..., 'class_names': [...]}, path)"
)


# Names a file may hold without being a program: if it cannot be read it is damaged, not unsafe.
_HARMLESS = re.compile(
    r"torch\.(\w*Storage|Size|Tensor|device|bool|[a-z]+\d\w*|per_\w+)|torch\._utils\._rebuild\w+|torch\.(_tensor|nn\.parameter|serialization)\.\w+"
    r"|torch\.storage\.(Untyped|Typed)Storage|collections\.(OrderedDict|Counter)|_codecs\.encode"
    r"|(builtins|__builtin__)\.(bytearray|set|complex)"
    r"|numpy\.(dtype|ndarray)|numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)"
    r"|argparse\.Namespace|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path"
)
_DTYPES = re.compile(r"[biufSU]\d+")
_PICKLES_IN_LEGACY_FILE = 4  # a magic number, a version, the system's facts, then what was saved
_LARGEST_VALUE = 10_000  # elements of an array in metadata that is looked into

_CHUNK_BYTES = 1 << 20

_ONE_LOAD_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class CheckpointContents:
    """What a file holds: the state dict as saved, and the entries beside it."""

    weights: dict[str, Tensor]
    metadata: dict[str, object]


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a checkpoint to be read. Raises CheckpointNotFound, or CheckpointInvalid if denied."""
    try:
        if not path.is_file():
            what = "a folder, not a checkpoint file" if path.is_dir() else "not there"
            raise CheckpointNotFound(f"{path} is {what}: name a file such as best.pt")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read: {error}") from error


def read_contents(file: BufferedReader, path: Path, *, lazily: bool = False) -> CheckpointContents:
    """Everything in the file, tensors on the CPU.

    lazily: map tensors from the disk where the format allows it instead of reading them.
    Raises CheckpointUnsafe for a pickle that needs code, CheckpointInvalid for what is damaged
    or holds no weights.
    """
    try:
        saved = _unpickled(file, path, lazily=lazily)
    except CheckpointUnsafe:
        raise
    except Exception as error:  # damaged bytes raise nearly anything inside an unpickler
        raise _diagnosis(file, path, error) from error
    return _sorted_out(saved, path)


def plain(value: object) -> object:
    """A metadata value as Python's own: what was a numpy array or a tensor as a list or number."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu":
        return value.tolist() if value.numel() <= _LARGEST_VALUE else None
    return value


def _unpickled(file: BufferedReader, path: Path, *, lazily: bool) -> object:
    file.seek(0)
    zipped = zipfile.is_zipfile(file)
    if zipped:
        _check_archive(file, path, thoroughly=not lazily)
    file.seek(0)
    # safe_globals changes a set of the whole process: two loads at once would undo each other's.
    with _ONE_LOAD_AT_A_TIME, torch.serialization.safe_globals(_stand_ins()):
        if lazily and zipped:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_archive(file: BufferedReader, path: Path, *, thoroughly: bool) -> None:
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise CheckpointUnsafe(f"{path} is a TorchScript program, not weights; {_SAVE_AGAIN}")
        if sum(member.file_size for member in members) > size:
            raise zipfile.BadZipFile("it is compressed, which torch.save never does")
        for member in members if thoroughly else ():
            _check_sum(archive, member)


def _check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read to the end, where zipfile compares check sums: torch reads damaged weights as they are.

    A check sum of 0 was not recorded (torch.serialization.set_crc32_options).
    """
    with archive.open(member) as stream:
        while member.CRC and stream.read(_CHUNK_BYTES):
            pass


def _diagnosis(file: BufferedReader, path: Path, error: Exception) -> Exception:
    foreign = [name for name in _named_globals(file) if not _HARMLESS.fullmatch(name)]
    if not foreign:
        reason = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
        return CheckpointInvalid(f"{path} is damaged, or no PyTorch checkpoint ({reason})")
    whole = any(name.startswith(("torch.nn.modules.", "torchvision.", "timm.")) for name in foreign)
    holds = "holds a whole network instead of its state dict" if whole else "is a pickle"
    return CheckpointUnsafe(
        f"{path} {holds} and would have to run {foreign[0]} to be read; nothing was run; "
        f"{_SAVE_AGAIN}"
    )


def _sorted_out(saved: object, path: Path) -> CheckpointContents:
    if not isinstance(saved, Mapping):
        raise CheckpointInvalid(f"{path} holds a {type(saved).__name__}, not a dict of weights")
    entries = {str(key): value for key, value in saved.items()}
    bare = _tensors(entries)
    for key in (*_WEIGHT_KEYS, *(() if bare else entries)):
        weights = _tensors(entries.get(key))
        if weights and not key.startswith("optimizer"):
            return CheckpointContents(weights, {k: v for k, v in entries.items() if k != key})
    if not bare:
        found = ", ".join(list(entries)[:8]) or "nothing"
        raise CheckpointInvalid(
            f"{path} holds no model weights, under {', '.join(_WEIGHT_KEYS[:4])} or bare; "
            f"its entries are {found}; {_SAVE_AGAIN}"
        )
    return CheckpointContents(bare, {k: v for k, v in entries.items() if k not in bare})


def _tensors(value: object) -> dict[str, Tensor]:
    """The tensors of a state dict by name; empty for anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {
        key: tensor.detach()
        for key, tensor in value.items()
        if isinstance(key, str) and isinstance(tensor, Tensor)
    }


def _named_globals(file: BufferedReader) -> list[str]:
    """What the file's pickles name, without running them; of a damaged one, what can be read."""
    names: list[str] = []
    with suppress(Exception):  # the names are for a message; the damage is known already
        file.seek(0)
        if not zipfile.is_zipfile(file):
            file.seek(0)
            for _ in range(_PICKLES_IN_LEGACY_FILE):
                _add_globals(names, file)
            return names
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            with archive.open(pickles[0]) as stream:
                _add_globals(names, stream)
    return names


def _add_globals(names: list[str], stream: IO[bytes]) -> None:
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in {"GLOBAL", "INST"}:
            names.append(str(argument).replace(" ", ".", 1))
        elif opcode.name == "STACK_GLOBAL":
            names.append(".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)


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
            self.values = array.tolist() if array.size <= _LARGEST_VALUE else None


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

"""Checkpoint files before anything reads them: opened, checked, and what they say of themselves.

A file is a zip with a pickle in it, or (torch's older format) pickles with tensors behind them.
Both are followed without being run, within limits, so that what is handed to torch afterwards
cannot cost much. Nothing here needs torch: a process that only looks at files starts at once.
"""

from __future__ import annotations

import io
import os
import pickletools
import struct
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

from cam_engine.errors import CheckpointInvalid, CheckpointNotFound, CheckpointUnsafe
from cam_engine.models.pickle_reading import (
    HARMLESS,
    MOST_BYTES,
    MOST_OPCODES,
    TORCH_MAGIC,
    Stored,
    Value,
    read_pickle,
)
from cam_engine.models.pickle_values import ReadStorage, TensorNote, bytes_each, plain, shallow

WEIGHT_KEYS = (
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

SAVE_AGAIN = (
    "where it was trained, save it again with torch.save({'model_state_dict': model.state_dict(), "
    "'model_name': ..., 'class_names': [...]}, path)"
)
_ZIP_START = b"PK\3\4"
_ZIP_END = struct.Struct("<4s4H2LH")
_MOST_MEMBERS = 200_000
_COUNT_BYTES = 8  # that stand before each tensor's numbers in the older format
_MOST_NAMES = 100_000
_BEFORE_SAVED = 3  # pickles of the older format: a magic number, a version, the system's facts
_CHUNK_BYTES = 1 << 20


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


def check(file: BufferedReader, path: Path, *, thoroughly: bool) -> bool:
    """Whether it is a zip, after it was seen to be cheap to read.

    thoroughly: also compare check sums, which reads all of it. Raises CheckpointUnsafe or
    CheckpointInvalid.
    """
    with _diagnosed(file, path):
        zipped = is_zip(file)
        if zipped:
            with zipfile.ZipFile(file) as archive:
                pickled = _check_archive(archive, path, file.seek(0, os.SEEK_END))
                read_pickle(io.BytesIO(_content(archive, pickled)))
                for member in archive.infolist() if thoroughly else ():
                    _check_sum(archive, member)
        else:
            _read_older(file)
    return zipped


def scan(path: Path, wanted: Collection[str], nested: Collection[str]) -> dict[str, object]:
    """What a checkpoint says of itself, without torch and without running anything.

    Entries beside the weights: those of these names, and those within the entries that are named as
    nested; None, numbers, text, lists and dicts. Raises CheckpointNotFound, CheckpointInvalid or
    CheckpointUnsafe.
    """
    with opened(path) as file, _diagnosed(file, path):
        if not is_zip(file):
            return _described(_read_older(file), path, wanted, nested, None)
        with zipfile.ZipFile(file) as archive:
            pickled = _check_archive(archive, path, file.seek(0, os.SEEK_END))
            saved = read_pickle(io.BytesIO(_content(archive, pickled)))
            folder = pickled.filename.rpartition("/")[0]
            return _described(saved, path, wanted, nested, partial(_storage, archive, folder))


_Tensor = TypeVar("_Tensor")


def sorted_out(
    saved: object, path: Path, tensor: type[_Tensor]
) -> tuple[dict[str, _Tensor], dict[str, object]]:
    """(weights, metadata) of what was saved. Raises CheckpointInvalid without weights."""
    if not isinstance(saved, Mapping):
        raise CheckpointInvalid(f"{path} holds a {type(saved).__name__}, not a dict of weights")
    entries = {str(key): value for key, value in saved.items()}
    bare = _tensors(entries, tensor)
    for key in (*WEIGHT_KEYS, *(() if bare else entries)):
        weights = _tensors(entries.get(key), tensor)
        if weights and not key.startswith("optimizer"):
            return weights, {k: v for k, v in entries.items() if k != key}
    if not bare:
        found = ", ".join(key[:80] for key in list(entries)[:8]) or "nothing"
        raise CheckpointInvalid(
            f"{path} holds no model weights, under {', '.join(WEIGHT_KEYS[:4])} or bare; "
            f"its entries are {found}; {SAVE_AGAIN}"
        )
    return bare, {k: v for k, v in entries.items() if k not in bare}


def _tensors(value: object, tensor: type[_Tensor]) -> dict[str, _Tensor]:
    """The tensors of a state dict by name; empty for anything else."""
    value = shallow(value)
    if not isinstance(value, Mapping):
        return {}
    return {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, tensor)}


def is_zip(file: BufferedReader) -> bool:
    """Whether torch takes it for a zip. Raises BadZipFile where Python would not agree with it.

    Both look for the end of the archive from behind, in ways of their own; so nothing may follow.
    """
    file.seek(0)
    begins = file.read(len(_ZIP_START)) == _ZIP_START
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP_END.size))
    end = file.read(_ZIP_END.size)
    ends = len(end) == _ZIP_END.size and end[:4] == b"PK\5\6" and end[-2:] == b"\0\0"
    if begins and not ends:
        raise zipfile.BadZipFile("it begins as a zip, and does not end as one")
    file.seek(0)
    if not begins and (ends or zipfile.is_zipfile(file)):
        raise zipfile.BadZipFile("it ends as a zip, and does not begin as one")
    file.seek(0)
    return begins


def diagnosis(file: BufferedReader, path: Path, error: Exception) -> Exception:
    """The error for a file that could not be read, by what it names."""
    foreign = [name for name in _named_globals(file) if not HARMLESS.fullmatch(name)]
    if not foreign:
        reason = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
        return CheckpointInvalid(f"{path} is damaged, or no PyTorch checkpoint ({reason})")
    whole = any(name.startswith(("torch.nn.modules.", "torchvision.", "timm.")) for name in foreign)
    holds = "holds a whole network instead of its state dict" if whole else "is a pickle"
    return CheckpointUnsafe(
        f"{path} {holds} and would have to run {foreign[0][:200]} to be read; nothing was run; "
        f"{SAVE_AGAIN}"
    )


@contextmanager
def _diagnosed(file: BufferedReader, path: Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointInvalid, CheckpointUnsafe):
        raise
    except Exception as error:  # damaged bytes raise nearly anything
        raise diagnosis(file, path, error) from error


def _check_archive(archive: zipfile.ZipFile, path: Path, size: int) -> zipfile.ZipInfo:
    """The member with the pickle, where there is just one that torch may take for it."""
    members = archive.infolist()
    names = [member.filename.lower() for member in members]  # torch ignores the case
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointUnsafe(f"{path} is a TorchScript program, not weights; {SAVE_AGAIN}")
    if len(members) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise zipfile.BadZipFile("it has too many members, or some of one name")
    if sum(member.file_size for member in members) > size:
        raise zipfile.BadZipFile("it is compressed, which torch.save never does")
    pickled = [member for member in members if member.filename.lower().endswith("data.pkl")]
    if len(pickled) != 1 or pickled[0].filename.count("/") != 1:
        raise zipfile.BadZipFile("it has no pickle, or several")
    if pickled[0].file_size > MOST_BYTES:
        raise zipfile.BadZipFile("its pickle is too large")
    return pickled[0]


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The first `MOST_BYTES` of a member. A check sum of 0 was not recorded; see `_check_sum`."""
    if not member.CRC:
        member = copy(member)
        del member.CRC
    with archive.open(member) as stream:
        return stream.read(MOST_BYTES)


def _check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read to the end, where zipfile compares check sums: torch reads damaged weights as they are.

    A check sum of 0 was not recorded (torch.serialization.set_crc32_options).
    """
    with archive.open(member) as stream:
        while member.CRC and stream.read(_CHUNK_BYTES):
            pass


def _read_older(file: BufferedReader) -> Value:
    """What was saved in torch's older format. Raises ValueError where it is cut off."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    stream = io.BytesIO(file.read(MOST_BYTES))
    if read_pickle(stream) != TORCH_MAGIC:
        raise ValueError("it does not begin as torch writes it")
    for _ in range(_BEFORE_SAVED - 1):
        read_pickle(stream)
    stored: dict[str, Stored] = {}
    saved = read_pickle(stream, stored)
    read_pickle(stream)  # the keys in the order in which the numbers follow
    numbers = sum(_COUNT_BYTES + one.elements * bytes_each(one.kind) for one in stored.values())
    if stream.tell() + numbers > size:
        raise ValueError("it is cut off")
    return saved


def _described(
    saved: Value,
    path: Path,
    wanted: Collection[str],
    nested: Collection[str],
    storage: ReadStorage | None,
) -> dict[str, object]:
    _, metadata = sorted_out(shallow(saved), path, TensorNote)
    found = {key: plain(value, storage) for key, value in metadata.items() if key in wanted}
    for name in nested:
        within = shallow(metadata.get(name))
        if isinstance(within, Mapping):
            own = {str(key): value for key, value in within.items() if key in wanted}
            found[name] = {key: plain(value, storage) for key, value in own.items()}
    return found


def _storage(archive: zipfile.ZipFile, folder: str, key: str, most_bytes: int) -> bytes | None:
    """A tensor's numbers as they are stored; None where there are more."""
    member = archive.getinfo(f"{folder}/data/{key}")
    return _content(archive, member) if member.file_size <= most_bytes else None


def _named_globals(file: BufferedReader) -> list[str]:
    """What the file's pickles name, without running them; of a damaged one, what can be read."""
    names: list[str] = []
    with suppress(Exception):  # the names are for a message; the damage is known already
        file.seek(0)
        if file.read(len(_ZIP_START)) != _ZIP_START:
            file.seek(0)
            stream = io.BytesIO(file.read(MOST_BYTES))
            for _ in range(_BEFORE_SAVED + 1):
                _add_globals(names, stream)
            return names
        with zipfile.ZipFile(file) as archive:
            pickles = [one for one in archive.infolist() if one.filename.endswith("data.pkl")]
            _add_globals(names, io.BytesIO(_content(archive, pickles[0])))
    return names


def _add_globals(names: list[str], stream: IO[bytes]) -> None:
    strings: list[str] = []
    for opcode, argument, _ in islice(pickletools.genops(stream), MOST_OPCODES):
        if opcode.name in {"GLOBAL", "INST"}:
            names.append(str(argument).replace(" ", ".", 1))
        elif opcode.name == "STACK_GLOBAL":
            names.append(".".join(strings))
        elif isinstance(argument, str):
            strings = [*strings[-1:], argument]
        if len(names) >= _MOST_NAMES:
            return

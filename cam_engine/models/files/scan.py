"""Checkpoint files before anything reads them: opened, checked, and what they say of themselves.

A file is a zip with a pickle in it, or (torch's older format) pickles with tensors behind them.
Both are followed without being run, within limits. Nothing here needs torch: a process that only
looks at files starts at once.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

from cam_engine.errors import CheckpointInvalid, CheckpointNotFound, CheckpointUnsafe
from cam_engine.models.files.module_records import ModuleRecord, module_record
from cam_engine.models.files.pickle_reading import (
    MOST_BYTES,
    TORCH_MAGIC,
    Call,
    Global,
    Items,
    Read,
    Value,
    read_pickle,
)
from cam_engine.models.files.pickle_values import TensorNote, bytes_each, plain, shallow
from cam_engine.models.files.safetensors_headers import SUFFIX, read_said
from cam_engine.short_names import printable

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
_NO_CHECKPOINTS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file: fetch it with git lfs pull",
    b"\x89HDF": "an HDF5 file, as Keras writes them, and not of PyTorch",
    b"\x93NUMPY": "a NumPy array, not a checkpoint",
    b"\x89PNG": "a picture, not a checkpoint",
    b"\xff\xd8\xff": "a picture, not a checkpoint",
    b"%PDF": "a PDF, not a checkpoint",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
}
_MOST_START = 64  # bytes
_AVERAGED = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")
_MOST_MEMBERS = 200_000
_COUNT_BYTES = 8  # that stand before each tensor's numbers in the older format
_BEFORE_SAVED = 3  # pickles of the older format: a magic number, a version, the system's facts


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


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file holds, followed and not run.

    numbers: those of a storage as they are in the file, None where there are more than so many
    bytes. Raises ValueError, KeyError or BadZipFile where the file is damaged there.
    """

    read: Read
    numbers: Callable[[str, int | None], bytes | None]


@dataclass(frozen=True, slots=True)
class Entries:
    """What was saved, sorted: the weights, and the entries beside them.

    key: of the entry with the weights; None where they were saved without others. record: where a
    whole network was saved, its modules. averaged: keys of other weights, such as averages of
    those of several steps.
    """

    weights: Mapping[str, TensorNote]
    beside: Mapping[str, object]
    key: str | None = None
    record: ModuleRecord | None = None
    averaged: tuple[str, ...] = ()


@contextmanager
def saved_in(file: BufferedReader, path: Path) -> Iterator[Saved]:
    """Follow a file's pickle, in either format of torch.

    Raises CheckpointUnsafe, or CheckpointInvalid also for what goes wrong in the block.
    """
    with diagnosed(path):
        check_size(file, path)
        if not is_zip(file):
            yield _checked(_read_older(file, path), path)
            return
        with zipfile.ZipFile(file) as archive:
            pickled = _check_archive(archive, path, file.seek(0, os.SEEK_END))
            folder = pickled.filename.rpartition("/")[0]
            read = read_pickle(io.BytesIO(_content(archive, pickled, MOST_BYTES)))
            yield _checked(Saved(read, partial(_storage, archive, folder)), path)


def scan(path: Path, wanted: Collection[str], nested: Collection[str]) -> dict[str, object]:
    """What a checkpoint says of itself, without torch and without running anything.

    Entries beside the weights: those of these names, and those within the entries that are named as
    nested; None, numbers, text, lists and dicts. Raises CheckpointNotFound, CheckpointInvalid or
    CheckpointUnsafe.
    """
    with opened(path) as file:
        if path.suffix.lower() == SUFFIX:
            return said_in_safetensors(file, path, wanted, nested)
        with saved_in(file, path) as saved:
            entries = sorted_out(saved.read.value, path)
            return described(entries, saved, wanted, nested)


def said_in_safetensors(
    file: BufferedReader, path: Path, wanted: Collection[str], nested: Collection[str]
) -> dict[str, object]:
    """As `described`, of a file of that format. Raises CheckpointInvalid."""
    with diagnosed(path):
        check_size(file, path)
        said = read_said(file)
    return {key: value for key, value in said.items() if key in wanted or key in nested}


def described(
    entries: Entries, saved: Saved, wanted: Collection[str], nested: Collection[str]
) -> dict[str, object]:
    """The entries beside the weights as plain values, as `scan` has them. Raises ValueError."""
    found = {
        key: plain(value, saved.numbers) for key, value in entries.beside.items() if key in wanted
    }
    for name in nested:
        within = shallow(entries.beside.get(name))
        if isinstance(within, Mapping):
            own = {str(key): value for key, value in within.items() if key in wanted}
            found[name] = {key: plain(value, saved.numbers) for key, value in own.items()}
    return found


def sorted_out(saved: Value, path: Path, *, averaged: bool = False) -> Entries:
    """Weights and what is beside them.

    averaged: those of several steps, which training scripts keep beside the last ones. Raises
    CheckpointInvalid without weights.
    """
    record = module_record(saved)
    if record is not None:
        return Entries(record.state(), {}, record=record)
    held = shallow(saved)
    if not isinstance(held, Mapping):
        raise CheckpointInvalid(f"{path} holds {_kind(saved)}, not a dict of weights")
    entries = {str(key): value for key, value in held.items()}
    bare = {key: value for key, value in entries.items() if isinstance(value, TensorNote)}
    means = tuple(key for key in _AVERAGED if _tensors(entries.get(key)))
    if averaged and not means:
        raise CheckpointInvalid(
            f"{path} holds no averaged weights, under {', '.join(_AVERAGED)}; load its others"
        )
    others = () if bare else tuple(key for key in entries if key not in _AVERAGED)
    for key in means if averaged else (*WEIGHT_KEYS, *others, *means):
        value = entries.get(key)
        record = module_record(value)
        weights = record.state() if record is not None else _tensors(value)
        if weights and not key.startswith("optimizer"):
            beside = {k: v for k, v in entries.items() if k != key}
            return Entries(weights, beside, key, record, tuple(k for k in means if k != key))
    if not bare:
        found = ", ".join(key[:80] for key in list(entries)[:8]) or "nothing"
        raise CheckpointInvalid(
            f"{path} holds no model weights, under {', '.join(WEIGHT_KEYS[:4])} or bare; "
            f"its entries are {found}; {SAVE_AGAIN}"
        )
    return Entries(bare, {k: v for k, v in entries.items() if k not in bare})


def _tensors(value: object) -> dict[str, TensorNote]:
    """The tensors of a state dict by name; empty for anything else."""
    held = shallow(value)
    if not isinstance(held, Mapping):
        return {}
    return {k: v for k, v in held.items() if isinstance(k, str) and isinstance(v, TensorNote)}


def _kind(value: Value) -> str:
    """What a value is, in a word."""
    match value:
        case Call() | Global():
            return f"an object of {value.name[:200] or 'no name'}"
        case Items(is_tuple=True):
            return "a tuple"
        case Items():
            return "a list"
    return f"a {type(value).__name__}"


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


def _checked(saved: Saved, path: Path) -> Saved:
    """Refuse what was made to harm who reads it. Raises CheckpointUnsafe."""
    if attacks := saved.read.attacks:
        raise CheckpointUnsafe(
            f"{path} names {', '.join(attacks[:3])}, which no training script writes: it was made "
            "to run code where it is read; nothing was run"
        )
    return saved


def check_size(file: BufferedReader, path: Path) -> None:
    """What is no checkpoint at a glance, in a sentence. Raises CheckpointInvalid."""
    file.seek(0)
    begins = file.read(_MOST_START)
    file.seek(0)
    if not begins:
        raise CheckpointInvalid(f"{path} is empty (0 bytes): copy it again from where it was saved")
    what = next((one for start, one in _NO_CHECKPOINTS.items() if begins.startswith(start)), None)
    if what is not None:
        raise CheckpointInvalid(f"{path} is {what}")


@contextmanager
def diagnosed(path: Path) -> Iterator[None]:
    """Turn what damaged bytes raise in the block, nearly anything, into CheckpointInvalid."""
    try:
        yield
    except (CheckpointInvalid, CheckpointUnsafe):
        raise
    except Exception as error:  # damaged bytes raise nearly anything
        reason = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
        raise CheckpointInvalid(
            f"{path} is damaged, or no PyTorch checkpoint ({printable(reason)})"
        ) from error


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


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int | None) -> bytes:
    """The first bytes of a member; all of it is compared with its check sum.

    One of 0 was not recorded (torch.serialization.set_crc32_options).
    """
    if not member.CRC:
        member = copy(member)
        del member.CRC
    with archive.open(member) as stream:
        return stream.read(-1 if most is None else most)


def _storage(
    archive: zipfile.ZipFile, folder: str, key: str, most_bytes: int | None
) -> bytes | None:
    """A tensor's numbers as they are stored; None where there are more."""
    member = archive.getinfo(f"{folder}/data/{key}")
    if most_bytes is not None and member.file_size > most_bytes:
        return None
    return _content(archive, member, None)


def _read_older(file: BufferedReader, path: Path) -> Saved:
    """What was saved in torch's older format. Raises ValueError where it is cut off."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    stream = io.BytesIO(file.read(MOST_BYTES))
    first = read_pickle(stream)
    if first.value != TORCH_MAGIC:
        if first.attacks:
            _checked(Saved(first, _no_numbers), path)
        raise CheckpointInvalid(f"{path} is a pickle that torch.save did not write; {SAVE_AGAIN}")
    for _ in range(_BEFORE_SAVED - 1):
        read_pickle(stream)
    read = read_pickle(stream)
    keys = read_pickle(stream).value  # in the order in which the numbers follow
    if not isinstance(keys, Items):
        raise ValueError("its storages are not listed")
    places: dict[str, tuple[int, int]] = {}
    at = stream.tell()
    for key in keys.values:
        stored = read.stored[str(key)]
        length = stored.elements * bytes_each(stored.kind)
        places[stored.key] = at + _COUNT_BYTES, length
        at += _COUNT_BYTES + length
    if at > size:
        raise ValueError("it is cut off")
    return Saved(read, partial(_numbers_at, file, places))


def _numbers_at(
    file: BufferedReader, places: Mapping[str, tuple[int, int]], key: str, most_bytes: int | None
) -> bytes | None:
    start, length = places[key]
    if most_bytes is not None and length > most_bytes:
        return None
    file.seek(start)
    return file.read(length)


def _no_numbers(_key: str, _most_bytes: int | None) -> bytes | None:
    return None

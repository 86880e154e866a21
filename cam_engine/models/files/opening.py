"""Checkpoint files opened, checked and followed, in either format of torch.

A file is a zip with a pickle in it, or (torch's older format) pickles with tensors behind them.
Both are followed without being run, within limits.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

from cam_engine.errors import CheckpointInvalid, CheckpointNotFound, CheckpointUnsafe
from cam_engine.models.files.foreign import (
    SAVE_AGAIN,
    foreign,
    foreign_folder,
    foreign_object,
    foreign_zip,
    is_exported,
    program,
)
from cam_engine.models.files.pickles.reading import (
    MOST_BYTES,
    TORCH_MAGIC,
    Call,
    Items,
    Read,
    read_pickle,
)
from cam_engine.models.files.pickles.values import bytes_each
from cam_engine.short_names import printable
from cam_engine.stores import access

_ZIP_START = b"PK\3\4"
_ZIP_END = struct.Struct("<4s4H2LH")
_MOST_MEMBERS = 200_000
_COUNT_BYTES = 8  # that stand before each tensor's numbers in the older format
_BEFORE_SAVED = 3  # pickles of the older format: a magic number, a version, the system's facts


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a checkpoint to be read. Raises CheckpointNotFound, or CheckpointInvalid if denied."""
    try:
        if not path.is_file():
            what = foreign_folder(path)
            if what is not None:
                raise CheckpointInvalid(f"{path} is {what}")
            what = "a folder, not a checkpoint file" if path.is_dir() else "not there"
            raise CheckpointNotFound(f"{path} is {what}: name a file such as best.pt")
        access.bring(path)
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


def is_exported_program(path: Path) -> bool:
    """Whether it is a program of `torch.export`; False for what cannot be opened as a zip."""
    try:
        access.bring(path)
        with zipfile.ZipFile(path) as archive:
            return is_exported([name.lower() for name in archive.namelist()])
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


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
    what = foreign(file, path)
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
    if (what := program(names)) is not None:
        raise CheckpointUnsafe(f"{path} is {what}")
    if len(members) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise zipfile.BadZipFile("it has too many members, or some of one name")
    pickled = [member for member in members if member.filename.lower().endswith("data.pkl")]
    if not pickled and (what := foreign_zip(names)) is not None:
        raise CheckpointInvalid(f"{path} is {what}")
    if sum(member.file_size for member in members) > size:
        raise zipfile.BadZipFile("it is compressed, which torch.save never does")
    if len(pickled) != 1 or pickled[0].filename.count("/") != 1:
        raise zipfile.BadZipFile("it has no pickle, or several")
    if pickled[0].file_size > MOST_BYTES:
        raise CheckpointInvalid(
            f"{path} has more than {MOST_BYTES >> 20} MiB beside its tensors, such as arrays of "
            f"NumPy, which are not read: {SAVE_AGAIN}"
        )
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
        told = foreign_object(first.value.name) if isinstance(first.value, Call) else None
        what = told or f"a pickle that torch.save did not write; {SAVE_AGAIN}"
        raise CheckpointInvalid(f"{path} is {what}")
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

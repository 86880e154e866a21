"""Files opened and followed in both formats of torch, and what is refused on the way."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sklearn.svm
import torch
from torch import nn

from cam_engine.errors import CamError, CheckpointInvalid, CheckpointNotFound, CheckpointUnsafe
from cam_engine.models.files.opening import (
    Saved,
    check_size,
    diagnosed,
    is_exported_program,
    is_zip,
    opened,
    saved_in,
)
from cam_engine.models.files.pickles.reading import Pairs
from cam_engine.models.files.pickles.values import shallow

BOTH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
WEIGHTS = {"a": torch.arange(6, dtype=torch.float32), "b": torch.tensor([7, 8], dtype=torch.int16)}


def written(folder: Path, content: bytes, name: str = "best.pt") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def by_torch(saved: object = WEIGHTS, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(saved, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def archive(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as made:
        for name, content in members:
            made.writestr(name, content)
    return file.getvalue()


PICKLE = pickle.dumps({}, 2)
MEMBER = ("archive/data.pkl", PICKLE)


@contextmanager
def followed(path: Path) -> Iterator[Saved]:
    with opened(path) as file, saved_in(file, path) as saved:
        yield saved


def test_what_is_opened_is_closed_again(tmp_path: Path) -> None:
    path = written(tmp_path, b"content")
    with opened(path) as file:
        assert file.read() == b"content"
    assert file.closed


def test_what_is_no_file_is_not_found_and_what_is_denied_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointNotFound, match=r"none\.pt is not there: name a file"),
        opened(tmp_path / "none.pt"),
    ):
        pass
    with pytest.raises(CheckpointNotFound, match="is a folder, not a checkpoint"), opened(tmp_path):
        pass
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(CheckpointInvalid, match="is a SavedModel of TensorFlow"), opened(tmp_path):
        pass
    with (
        pytest.raises(CheckpointInvalid, match=r"cannot be read: .*too long"),
        opened(tmp_path / ("x" * 300)),
    ):
        pass


def test_a_disk_that_fails_in_the_block_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, b"content")
    with pytest.raises(CheckpointInvalid, match="cannot be read: of the disk"), opened(path):
        raise OSError("of the disk")


@BOTH
def test_a_file_is_followed_and_numbers_are_as_they_are_stored(
    tmp_path: Path, *, zipped: bool
) -> None:
    path = written(tmp_path, by_torch({"model": WEIGHTS, "epoch": 3}, zipped=zipped))
    with followed(path) as saved:
        assert isinstance(saved.read.value, Pairs)
        held = shallow(saved.read.value)
        assert isinstance(held, dict)
        assert held["epoch"] == 3
        by_kind = {stored.kind: key for key, stored in saved.read.stored.items()}
        floats, shorts = by_kind["torch.FloatStorage"], by_kind["torch.ShortStorage"]
        assert saved.numbers(floats, None) == struct.pack("<6f", *range(6))
        assert saved.numbers(shorts, None) == struct.pack("<2h", 7, 8)
        assert saved.numbers(floats, 24) is not None
        assert saved.numbers(floats, 23) is None
        with pytest.raises(KeyError):
            saved.numbers("none", None)


@BOTH
def test_what_goes_wrong_in_the_block_is_damage(tmp_path: Path, *, zipped: bool) -> None:
    path = written(tmp_path, by_torch(zipped=zipped))
    said = r"best\.pt is damaged.*ValueError: of the block"
    with pytest.raises(CheckpointInvalid, match=said), followed(path):
        raise ValueError("of the block")


@BOTH
def test_damaged_numbers_are_noticed_in_a_zip_by_its_check_sums(
    tmp_path: Path, *, zipped: bool
) -> None:
    content = by_torch({"a": torch.full((1000,), 7.0)}, zipped=zipped)
    at = content.index(struct.pack("<4f", *[7.0] * 4))
    path = written(tmp_path, content[:at] + b"\x01" + content[at + 1 :])
    if zipped:
        with pytest.raises(CheckpointInvalid, match="BadZipFile: Bad CRC"), followed(path) as saved:
            saved.numbers("0", None)
    else:
        with followed(path) as saved:
            (key,) = saved.read.stored
            assert (saved.numbers(key, None) or b"")[0] == 1


def test_a_zip_without_check_sums_is_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = written(tmp_path, by_torch())
    finally:
        torch.serialization.set_crc32_options(True)
    with followed(path) as saved:
        assert saved.numbers("0", None) == struct.pack("<6f", *range(6))


class Evil:
    """Unpickling one would make a file."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.evidence}",)


@pytest.mark.parametrize("form", ["zip", "older", "pickle"])
def test_what_attacks_is_refused_before_the_block_and_nothing_runs(
    tmp_path: Path, form: str
) -> None:
    evil = {"a": Evil(tmp_path / "ran")}
    content = pickle.dumps(evil) if form == "pickle" else by_torch(evil, zipped=form == "zip")
    path = written(tmp_path, content)
    said = r"best\.pt names posix\.system.*nothing was run"
    with pytest.raises(CheckpointUnsafe, match=said), followed(path):
        pytest.fail("the block was entered")
    assert not (tmp_path / "ran").exists()


# Pickles of the older format: a magic number, a version, the system's facts, what was saved.
BEFORE: tuple[object, ...] = (0x1950A86A20F9469CFC6C, 1001, {}, {})
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "two of one name": (
        lambda: archive(MEMBER, ("archive/DATA.PKL", PICKLE)),
        "too many members, or some of one name",
    ),
    "compressed": (
        lambda: archive(MEMBER, ("archive/data/0", bytes(100_000)), how=zipfile.ZIP_DEFLATED),
        "compressed, which torch.save never does",
    ),
    "no pickle": (lambda: archive(("letter.txt", b"x")), "no pickle, or several"),
    "two pickles": (lambda: archive(MEMBER, ("b/data.pkl", PICKLE)), "no pickle, or several"),
    "a pickle at the top": (lambda: archive(("data.pkl", PICKLE)), "no pickle, or several"),
    "a pickle too deep": (lambda: archive(("a/b/data.pkl", PICKLE)), "no pickle, or several"),
    "arrays": (lambda: archive(("arr_0.npy", b"x")), "arrays of NumPy"),
    "a program": (lambda: archive(MEMBER, ("a/constants.pkl", b"")), "a TorchScript program"),
    "something behind a zip": (lambda: by_torch() + b"\0", "does not end as one"),
    "a zip behind something": (lambda: PICKLE + by_torch(), "does not begin as one"),
    "cut": (lambda: by_torch()[:-30], "does not end as one"),
    "cut, older": (lambda: by_torch(zipped=False)[:-4], "is cut off"),
    "another pickle": (lambda: PICKLE, "a pickle that torch.save did not write"),
    "scikit-learn": (lambda: pickle.dumps(sklearn.svm.SVC()), "a model of sklearn"),
    "no storages": (
        lambda: b"".join(pickle.dumps(one, 2) for one in (*BEFORE, "none")),
        "storages are not listed",
    ),
    "a storage that is not there": (
        lambda: b"".join(pickle.dumps(one, 2) for one in (*BEFORE, ["none"])),
        "damaged.*KeyError",
    ),
    "text": (lambda: b"no weights here", "damaged, or no PyTorch checkpoint"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_torch_does_not_write_is_refused(
    tmp_path: Path, content: Callable[[], bytes], said: str
) -> None:
    path = written(tmp_path, content())
    with pytest.raises(CamError, match=said) as refused, followed(path):
        pytest.fail("the block was entered")
    assert str(refused.value).startswith(str(path))


def test_a_pickle_is_as_large_as_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, archive(("archive/data.pkl", pickle.dumps("x" * 100, 2))))
    monkeypatch.setattr("cam_engine.models.files.opening.MOST_BYTES", 100)  # in place of 64 MiB
    with pytest.raises(CheckpointInvalid, match="MiB beside its tensors"), followed(path):
        pass


def test_zips_have_as_many_members_as_they_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cam_engine.models.files.opening._MOST_MEMBERS", 3)  # in place of 200,000
    members = [MEMBER, *((f"archive/{n}", b"") for n in range(3))]
    with followed(written(tmp_path, archive(*members[:3]))) as saved:
        assert saved.read.value is not None
    path = written(tmp_path, archive(*members))
    with pytest.raises(CheckpointInvalid, match="too many members"), followed(path):
        pass


@pytest.mark.parametrize(
    ("content", "expected"),
    [(by_torch(), True), (by_torch(zipped=False), False), (b"", False), (b"PK", False)],
)
def test_a_zip_is_told_and_the_file_is_at_its_beginning(
    tmp_path: Path, content: bytes, *, expected: bool
) -> None:
    with opened(written(tmp_path, content)) as file:
        assert is_zip(file) is expected
        assert file.tell() == 0


def test_a_zip_with_a_remark_is_none_that_torch_writes(tmp_path: Path) -> None:
    buffer = io.BytesIO(by_torch())
    with zipfile.ZipFile(buffer, "a") as made:
        made.comment = b"hello"
    path = written(tmp_path, buffer.getvalue())
    with opened(path) as file, pytest.raises(zipfile.BadZipFile, match="does not end as one"):
        is_zip(file)


def test_what_begins_as_no_checkpoint_is_said_at_a_glance(tmp_path: Path) -> None:
    path = written(tmp_path, b"\x89PNG\r\n\x1a\n" + bytes(20))
    with opened(path) as file, pytest.raises(CheckpointInvalid, match=r"pt is a picture, not a"):
        check_size(file, path)
    path = written(tmp_path, by_torch())
    with opened(path) as file:
        check_size(file, path)


@pytest.mark.parametrize("error", [CheckpointInvalid("as said"), CheckpointUnsafe("as said")])
def test_what_was_said_already_is_not_said_anew(error: CamError) -> None:
    with pytest.raises(CamError) as raised, diagnosed(Path("best.pt")):
        raise error
    assert raised.value is error


def test_a_reason_is_one_line_of_bounded_length_without_control_characters() -> None:
    with pytest.raises(CheckpointInvalid) as raised, diagnosed(Path("best.pt")):
        raise KeyError("\x1b[31mred" + "x" * 1000)
    assert len(str(raised.value)) < 300
    assert str(raised.value).isprintable()
    with pytest.raises(CheckpointInvalid, match=r"\(ValueError: first\)$"), diagnosed(Path("a")):
        raise ValueError("first\nsecond")


def test_a_program_of_torch_export_is_told(tmp_path: Path) -> None:
    torch.export.save(
        torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "best.pt2"
    )
    assert is_exported_program(tmp_path / "best.pt2")
    with (
        pytest.raises(CheckpointUnsafe, match=r"a program of torch\.export"),
        followed(tmp_path / "best.pt2"),
    ):
        pass
    assert not is_exported_program(written(tmp_path, by_torch()))
    assert not is_exported_program(written(tmp_path, b"text"))
    assert not is_exported_program(tmp_path / "none.pt2")

"""Small files that would cost an unpickler much: read as what they are, or refused at once."""

from __future__ import annotations

import io
import pickle
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cam_engine.errors import ArchitectureUnknown, CheckpointInvalid
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

MOST_CPU_SECONDS = 20.0  # the files below take hours, or all memory

PROTO, STOP = b"\x80\x02", b"."
A_TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n(("
    b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    b"K\x00K\x01\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)


def text(word: str) -> bytes:
    data = word.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def entry(name: str, value: bytes) -> bytes:
    return text(name) + value


def pickled(*entries: bytes) -> bytes:
    """A dict with weights and these entries."""
    weights = entry("model", b"}(" + text("fc.weight") + A_TENSOR + b"u")
    return PROTO + b"}(" + weights + b"".join(entries) + b"u" + STOP


def zipped(pickle_: bytes, **more: bytes) -> bytes:
    """As torch.save puts it together."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/data/0", struct.pack("<f", 1.0))
        for name, content in more.items():
            archive.writestr(name, content)
    return file.getvalue()


def tuples(times: int = 60) -> bytes:
    """A tuple with the one before in it twice, and so on."""
    return b")" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(times))


def lists(name: str, times: int = 60) -> bytes:
    """Entries of lists, each with the one before in it twice; the last one has the name."""
    names = [*(f"list {number}" for number in range(times)), name]
    entries = [entry(names[0], b"]q\x00")]
    entries += [entry(names[n], b"](h%ch%ceq%c" % (n - 1, n - 1, n)) for n in range(1, times + 1)]
    return b"".join(entries)


def growing_lists(name: str, times: int = 60) -> bytes:
    """The same, filled after they were put into one another, the outermost first."""
    made = [entry(f"list {number}", b"]q%c" % number) for number in range(times)]
    filled = [b"h%c(h%ch%ce" % (n, n - 1, n - 1) for n in reversed(range(1, times))]
    return (
        b"".join(made)
        + entry("filled", b"(" + b"".join(filled) + b"t")
        + entry(name, b"h%c" % (times - 1))
    )


def colliding_integers(count: int = 60_000) -> bytes:
    """Keys of a dict, all of one hash."""
    pairs = []
    for number in range(count):
        data = (number * (2**61 - 1)).to_bytes(16, "little")
        pairs.append(b"\x8a\x10" + data + b"N")
    return b"}(" + b"".join(pairs) + b"u"


def large_dict(count: int = 100_000) -> bytes:
    """That can be referred to as number 0."""
    entries = (text(f"entry {number}") + b"N" for number in range(count))
    return b"}q\x00(" + b"".join(entries) + b"u"


def object_with(state: bytes) -> bytes:
    """Of a class that nobody has, in that state."""
    return b"cmine\nThing\n)\x81" + state + b"b"


COSTLY = {
    "one dict often in a list": zipped(
        PROTO + b"](" + large_dict() + b"h\x00" * 500_000 + b"e" + STOP
    ),
    "one dict often in a dict": zipped(
        PROTO
        + b"}("
        + text("x")
        + large_dict()
        + b"".join(text(f"{number}") + b"h\x00" for number in range(200_000))
        + b"u"
        + STOP
    ),
    "one dict often in dicts": zipped(
        PROTO
        + b"}("
        + text("x")
        + large_dict()
        + b"".join(text(f"{number}") + b"}" + text("y") + b"h\x00s" for number in range(200_000))
        + b"u"
        + STOP
    ),
    "one state often": zipped(
        PROTO
        + b"]("
        + large_dict()
        + b"".join(object_with(b"h\x00") for _ in range(100_000))
        + b"e"
        + STOP
    ),
    "an object with integers of one hash": zipped(
        PROTO + b"}" + text("x") + object_with(colliding_integers()) + b"s" + STOP
    ),
    "a tuple as a key": zipped(pickled(entry("x", b"}" + tuples() + b"Ns"))),
    "tuples in a set": zipped(pickled(entry("x", b"c__builtin__\nset\n](" + tuples() + b"e\x85R"))),
    "tuples in pairs": zipped(
        pickled(entry("x", b"ccollections\nOrderedDict\n](](" + tuples() + b"Nee\x85R"))
    ),
    "tuples in a counter": zipped(
        pickled(entry("x", b"ccollections\nCounter\n](" + tuples() + b"e\x85R"))
    ),
    "lists as class names": zipped(pickled(lists("class_names"))),
    "lists as an input size": zipped(
        pickled(lists("input_size"), entry("model_name", text("resnet18")))
    ),
    "lists that grow": zipped(pickled(growing_lists("class_names"))),
    "lists as a mean": zipped(
        pickled(
            entry("config", b"}(" + lists("mean") + b"u"), entry("model_name", text("resnet18"))
        )
    ),
    "lists that are called": zipped(pickled(lists("y"), entry("x", b"h\x3c)R"))),
    "integers of one hash": zipped(pickled(entry("x", colliding_integers()))),
    "deep lists": zipped(pickled(entry("class_names", b"](" * 100_000 + b"e" * 100_000))),
    "deep tuples": zipped(pickled(entry("x", b")" + b"\x85" * 1_000_000))),
    "text that is used often": zipped(
        pickled(
            entry(
                "class_names", b"](" + text("x" * 1_000_000) + b"q\x00" + b"h\x00" * 900_000 + b"e"
            )
        )
    ),
    "memory": zipped(pickled(entry("x", b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R"))),
    "an odd encoding": zipped(
        pickled(
            entry("x", b"c_codecs\nencode\n" + text("ä" * 200_000) + text("punycode") + b"\x86R")
        )
    ),
    "steps without end": zipped(pickled(entry("x", b"(" + b"N" * 2_500_000 + b"t"))),
    "no stop": zipped(PROTO + b"N" * 1000),
}


def many_names(count: int) -> bytes:
    """Names that repeat, so that the message lists them."""
    names = b"".join(text(f"class {number}") for number in range(count)) * 2
    return zipped(
        pickled(entry("model_name", text("resnet18")), entry("class_names", b"](" + names + b"e"))
    )


class Overdue(BaseException):
    """That is taken for no damage of a file."""


@contextmanager
def bounded_time() -> Iterator[None]:
    """A signal of the kernel where it takes too much of a processor."""

    def over(*_: object) -> None:
        raise Overdue

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "best.pt"
    path.write_bytes(content)
    return path


# Nothing is hashed, called or encoded, so that these cost nothing: they say nothing either.
HARMLESS = {
    "a tuple as a key",
    "tuples in a set",
    "tuples in pairs",
    "tuples in a counter",
    "lists that are called",
    "integers of one hash",
    "deep tuples",
    "memory",
    "an odd encoding",
    "text that is used often",
}


@pytest.mark.parametrize("reader", [load_classifier, read_header])
@pytest.mark.parametrize("name", sorted(COSTLY.keys() - HARMLESS))
def test_what_would_cost_much_is_refused_at_once(
    tmp_path: Path, name: str, reader: Callable[[Path], object]
) -> None:
    path = written(tmp_path, COSTLY[name])
    with bounded_time(), pytest.raises(CheckpointInvalid, match=r"best\.pt"):
        reader(path)


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_would_cost_an_unpickler_much_costs_nothing_here(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, COSTLY[name])
    with bounded_time():
        assert read_header(path).class_names is None
        with pytest.raises(ArchitectureUnknown):  # of a single number
            load_classifier(path)


def test_the_same_file_without_what_costs_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, zipped(pickled(entry("class_names", b"](" + text("a") + b"e"))))
    assert read_header(path).class_names == ("a",)
    assert torch.load(path, weights_only=True)["model"]["fc.weight"].tolist() == [1.0]


def test_many_names_are_counted_once(tmp_path: Path) -> None:
    path = written(tmp_path, many_names(200_000))
    with bounded_time():
        assert read_header(path).class_names is None


@pytest.mark.parametrize("reader", [load_classifier, read_header])
@pytest.mark.parametrize("behind", [1, 70_000])
def test_a_zip_with_something_behind_it_is_refused(
    tmp_path: Path, behind: int, reader: Callable[[Path], object]
) -> None:
    """Python would not take it for a zip then, and torch would, unfolding what is in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled())
        archive.writestr("archive/data/0", bytes(50_000_000))
    path = written(tmp_path, file.getvalue() + bytes(behind))
    with pytest.raises(CheckpointInvalid, match="does not end as one"):
        reader(path)


@pytest.mark.parametrize("reader", [load_classifier, read_header])
def test_a_zip_with_two_pickles_is_refused(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    """Which of them is looked into, and which is read, could differ."""
    for name in ("archive/DATA.PKL", "other/data.pkl"):
        path = written(tmp_path, zipped(pickled(), **{name: pickled()}))
        with pytest.raises(CheckpointInvalid):
            reader(path)


@pytest.mark.parametrize("reader", [load_classifier, read_header])
def test_a_pickle_with_a_zip_behind_it_is_refused(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    path = written(tmp_path, pickle.dumps({}, 2) + zipped(pickled()))
    with pytest.raises(CheckpointInvalid, match="does not begin as one"):
        reader(path)

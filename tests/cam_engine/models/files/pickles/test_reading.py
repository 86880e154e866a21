"""Pickles of whatever origin: nothing of them runs, and reading them is bounded."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import resource
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cam_engine.models.files.pickles import reading
from cam_engine.models.files.pickles.reading import (
    Call,
    Global,
    Items,
    Pairs,
    PickleRefused,
    read_pickle,
)
from cam_engine.models.files.pickles.values import Budget, plain, shallow

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Marks:
    """Unpickling one would write a file."""

    def __init__(self, path: Path, *, how: str = "reduce") -> None:
        self.path, self.how = path, how

    def __reduce__(self) -> tuple[Any, ...]:
        touch = f"open({str(self.path)!r}, 'w').close()"
        return {
            "reduce": (exec, (touch,)),
            "state": (Marks, (self.path,), {"x": 1}),
            "items": (list, (), None, iter([1, 2])),
            "pairs": (dict, (), None, None, iter([("a", 1)])),
        }[self.how]


class Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class NewArguments:
    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, int]]:
        return (1,), {"b": 2}

    def __new__(cls, *_: int, **__: int) -> NewArguments:
        return super().__new__(cls)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_runs_in_any_protocol(tmp_path: Path, protocol: int) -> None:
    evidence = tmp_path / "ran"
    for how in ("reduce", "state", "items", "pairs"):
        data = pickle.dumps({"deep": [({"x": Marks(evidence, how=how)},)]}, protocol)
        read_pickle(io.BytesIO(data))
    assert not evidence.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_what_unpickling_makes_of_them(protocol: int) -> None:
    value = {
        "text": "Zürich",
        "numbers": [0, -1, 255, 65536, 2**40, -(2**33), 1.5, True, None],
        "nested": {"a": {"b": [{"c": (1, (2, 3))}]}},
        3: "three",
    }
    read = read_pickle(io.BytesIO(pickle.dumps(value, protocol)))
    expected = {**value, "nested": {"a": {"b": [{"c": [1, [2, 3]]}]}}}
    assert plain(read.value, None) == expected


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
@pytest.mark.parametrize("make", [Slots, NewArguments, object])
def test_objects_are_records(protocol: int, make: type) -> None:
    if make is NewArguments and protocol < 4:
        pytest.skip("written as a call of a call, which has no name")
    value = read_pickle(io.BytesIO(pickle.dumps(make(), protocol))).value
    assert isinstance(value, Call)
    assert value.name.endswith(make.__name__)
    assert make is not Slots or shallow(value) == {"a": 1}


def test_circles_are_followed_no_further_than_there_are_steps() -> None:
    circle: list[object] = []
    circle.append(circle)
    value = read_pickle(io.BytesIO(pickle.dumps(circle))).value
    assert isinstance(value, Items)
    assert value.values[0] is value
    with pytest.raises(PickleRefused, match="deeply nested"):
        plain(value, None)
    wide: list[object] = []
    wide += [wide] * 100
    with pytest.raises(PickleRefused):
        plain(read_pickle(io.BytesIO(pickle.dumps(wide))).value, None, Budget(10_000))


def test_billions_of_laughs_take_no_memory() -> None:
    lines = b"\x80\x02]q\x00" + b"".join(
        b"](" + b"h%c" % n * 100 + b"eq%c" % (n + 1) for n in range(50)
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value = read_pickle(io.BytesIO(lines + b".")).value
    assert isinstance(value, Items)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
    with pytest.raises(PickleRefused):
        plain(value, None, Budget(10_000))


FEW_OPCODES = 20_000  # in place of two million, which take seconds


def many(opcode: bytes, count: int = 2 * FEW_OPCODES) -> bytes:
    return b"\x80\x04" + opcode * count + b"."


@pytest.mark.parametrize(
    "data",
    [
        many(b"N"),
        many(b"("),
        many(b"]\x94"),
        many(b"2"),
        b"\x80\x04" + b"\x82\x01.",  # of a registry
        b"\x80\x05\x97.",  # a buffer that is elsewhere
        b"\x80\x04t.",
        b"\x80\x04R.",
        b"\x80\x04K\x01K\x02a.",
        b"\x80\x04h\x05.",
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
        b"\x80\x04K\x01K\x02\x93.",
        b"L" + b"9" * 100_000 + b"L\n.",
        b"",
    ],
)
def test_what_no_pickler_writes_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_OPCODES", FEW_OPCODES)
    with pytest.raises((PickleRefused, ValueError, KeyError)):
        read_pickle(io.BytesIO(data))


def test_deep_nesting_ends_nothing() -> None:
    for depth in (1_000, 100_000):
        data = b"\x80\x04" + b"]" + b"]" * depth + b"a" * depth + b"."
        value = read_pickle(io.BytesIO(data)).value
        with pytest.raises(PickleRefused, match="deeply nested"):
            plain(value, None)
        del value


def test_names_that_only_attackers_write_are_told() -> None:
    def attacks(*functions: object) -> list[str]:
        data = b"".join(pickle.dumps(function, 2)[:-1] for function in functions) + b"."
        return read_pickle(io.BytesIO(data)).attacks

    assert attacks(os.system, eval, getattr, sys.exit) == [
        "__builtin__.eval",
        "posix.system",
        "sys.exit",
    ]
    assert attacks(dict, Path, pickletools.genops) == []


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pieces=st.lists(
        st.one_of(
            st.sampled_from(OPCODES),
            st.binary(max_size=12),
            st.sampled_from([b"cos\nsystem\n", b"X\x04\x00\x00\x00evil", b"(", b"t", b"R", b"b"]),
        ),
        max_size=60,
    )
)
def test_any_opcodes_in_any_order_read_or_are_refused(pieces: list[bytes]) -> None:
    data = b"\x80\x04" + b"".join(pieces) + b"."
    try:
        value = read_pickle(io.BytesIO(data)).value
        plain(value, None, Budget(1000))
        shallow(value)
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return


def test_records_say_what_was_named() -> None:
    data = pickle.dumps({"f": os.path.join, "p": Path("a")}, 2)
    value = read_pickle(io.BytesIO(data)).value
    assert isinstance(value, Pairs)
    function, path = (one for _, one in value.pairs)
    assert isinstance(function, Global)
    assert function.name == "posixpath.join"
    assert isinstance(path, Call)
    assert plain(path, None) == "a"

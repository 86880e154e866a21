"""Processes that work for another: in turns, replaced after errors, and gone with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from cam_engine.process.children import Child, Children, TooSlow, read_exactly, write_all

ECHO = "tests.cam_engine.process.echoing"
LONGEST = 1000


def echo() -> Child:
    return Child(ECHO)


@pytest.fixture
def children() -> Iterator[Children[Child]]:
    with closing(Children(echo, 2)) as made:
        yield made


def said(children: Children[Child], words: bytes) -> bytes:
    with children.one() as child:
        return child.ask(words, LONGEST)


def test_it_answers_and_both_have_the_file(children: Children[Child]) -> None:
    with children.one() as child:
        assert child.ask(b"cell", LONGEST) == b"CELL"
        data = bytearray(4)
        read_exactly(child.file, memoryview(data))
        assert data == b"llec"


def test_pieces_stand_one_after_the_other(children: Children[Child]) -> None:
    with children.one() as child:
        write_all(child.file, memoryview(b"ring"))
        write_all(child.file, memoryview(b"schizont"), 4)
        data = bytearray(6)
        read_exactly(child.file, memoryview(data), 2)
        assert data == b"ngschi"
        with pytest.raises(ValueError, match="shorter"):
            read_exactly(child.file, memoryview(data), 7)


def test_the_same_one_works_while_nothing_goes_wrong(children: Children[Child]) -> None:
    assert children.pids == []
    for _ in range(5):
        said(children, b"x")
    assert len(children.pids) == 1


def test_no_more_work_at_once_than_there_are(children: Children[Child]) -> None:
    with ThreadPoolExecutor(6) as threads:
        words = [f"w{number}".encode() for number in range(30)]
        assert list(threads.map(lambda word: said(children, word), words)) == [
            word.upper() for word in words
        ]
    assert len(children.pids) <= 2


def test_one_that_is_too_slow_is_replaced(children: Children[Child]) -> None:
    said(children, b"x")
    (first,) = children.pids
    with pytest.raises(TooSlow), children.one() as child:
        child.ask(b"wait", LONGEST, 0.2)
    assert first not in children.pids
    assert said(children, b"x") == b"X"


@pytest.mark.parametrize(("words", "status"), [(b"end 3", 3), (b"end 0", 0)])
def test_an_end_of_its_own_is_an_error_with_its_status(words: bytes, status: int) -> None:
    child = echo()
    with pytest.raises((EOFError, OSError)):
        child.ask(words, LONGEST)
    assert (child.status(), child.alive) == (status, False)
    child.kill()


def test_one_that_was_killed_while_idle_is_replaced(children: Children[Child]) -> None:
    said(children, b"x")
    (first,) = children.pids
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert said(children, b"y") == b"Y"
    assert first not in children.pids


def test_an_error_of_the_one_who_asks_costs_the_child_as_well(children: Children[Child]) -> None:
    """Nobody knows what it has been told."""
    said(children, b"x")
    (first,) = children.pids
    with pytest.raises(KeyError), children.one():
        raise KeyError
    assert first not in children.pids


def test_started_at_once_and_gone_at_once(children: Children[Child]) -> None:
    children.start()
    assert len(children.pids) == 2
    children.start()
    assert len(children.pids) == 2
    children.close()
    assert children.pids == []
    with pytest.raises(RuntimeError, match="closed"):
        said(children, b"x")


def test_a_module_that_does_not_start_is_said_with_its_command() -> None:
    with (
        closing(Children(lambda: Child("no.such.module"), 1)) as wrong,
        pytest.raises(RuntimeError, match=r"-m no\.such\.module"),
    ):
        said(wrong, b"x")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_tells_its_parent_to_end_does_not_end_it(number: signal.Signals) -> None:
    child = echo()
    child.ask(b"x", LONGEST)
    os.kill(child.pid, number)
    assert child.ask(b"y", LONGEST) == b"Y"
    child.kill()


def test_it_ends_with_its_socket() -> None:
    child = echo()
    child.ask(b"x", LONGEST)
    child._connection.close()
    assert child.status() == 0
    child.kill()

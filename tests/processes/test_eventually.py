"""Waiting: what it answers, and what it says of what did not come to pass."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from processes.eventually import eventually, eventually_answers


def seen(*values: object) -> Iterator[object]:
    """Values, one a look; errors are raised."""
    yield from values


def look_at(values: Iterator[object]) -> object:
    value = next(values)
    if isinstance(value, Exception):
        raise value
    return value


def test_it_answers_the_first_value_that_is_true() -> None:
    values = seen(None, 0, [], "here", "not looked for")
    assert eventually("it is here", lambda: look_at(values), pause=0) == "here"
    assert next(values) == "not looked for"


def test_what_did_not_come_to_pass_is_said_with_what_was_seen_and_the_evidence() -> None:
    with pytest.raises(TimeoutError) as late:
        eventually("the lock is free", lambda: "", seconds=0, evidence=lambda: "the log")
    assert str(late.value) == "not within 0 s: the lock is free; last seen: ''\nthe log"


def test_only_errors_that_are_named_mean_not_yet() -> None:
    values = seen(KeyError("early"), 1)
    assert eventually("it is there", lambda: look_at(values), pause=0, not_yet=KeyError) == 1
    with pytest.raises(TimeoutError, match=r"last seen: KeyError\('late'\)"):
        eventually("x", lambda: look_at(seen(KeyError("late"))), seconds=0, not_yet=KeyError)
    with pytest.raises(ValueError, match="another"):
        eventually("x", lambda: look_at(seen(ValueError("another"))), not_yet=KeyError)


def test_a_process_that_ends_is_not_waited_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait()
        with pytest.raises(AssertionError, match="ended with 3\nits log"):
            eventually_answers("http://127.0.0.1:9/", process, evidence=lambda: "its log")

"""Names that files can have and JSON can hold."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_engine.short_names import first, printable, short_name, speakable, start_of


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ä b.png", "ä b.png"),
        (os.fsdecode(b"\xe4 \xff\x80"), "%E4 %FF%80"),
        ("\ud800x\udc7f", "\ufffdx\ufffd"),  # no byte that a name could have
    ],
)
def test_a_byte_that_is_no_text_is_said_in_hexadecimal(name: str, said: str) -> None:
    assert speakable(name) == said


@given(st.binary(max_size=40))
def test_any_name_of_a_file_can_be_said(name: bytes) -> None:
    assert bool(speakable(os.fsdecode(name)).encode()) == bool(name)


def test_a_name_that_fits_is_kept_and_a_longer_one_ends_in_its_digest() -> None:
    assert short_name("ä" * 20, 40) == "ä" * 20
    name = "ä" * 21
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    assert short_name(name, 40) == f"{'ä' * 13}_{digest}"
    assert len(short_name("x" * 99, 40)) == 40


@given(st.text(max_size=30), st.integers(0, 40))
def test_the_start_of_a_name_has_whole_characters_and_as_many_as_fit(name: str, most: int) -> None:
    name = name.encode(errors="ignore").decode()
    start = start_of(name, most)
    assert name.startswith(start)
    assert len(start.encode()) <= most
    longer = name[: len(start) + 1]
    assert start == name or len(longer.encode()) > most


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x1b[31;1mred\x1b[0m\ttext", "red text"),
        ("a\nb\x00c\u202ed", "a b c d"),
        ("ä \u00a0", "ä  "),
    ],
)
def test_what_a_terminal_would_obey_is_left_out(text: str, said: str) -> None:
    assert printable(text) == said


@pytest.mark.parametrize(
    ("texts", "count", "said"),
    [
        ([], 3, ""),
        (["a", "b", "c"], 3, "a, b, c"),
        (["a", "b", "c", "d"], 3, "a, b, c and 1 more"),
        (["a", "b", "c"], 1, "a and 2 more"),
        (["x" * 300], 3, "x" * 200),
        (["a\nb"], 3, "a b"),
    ],
)
def test_the_first_few_are_named_and_the_others_counted(
    texts: list[str], count: int, said: str
) -> None:
    assert first(texts, count) == said

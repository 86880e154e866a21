"""What was left out: counted by reason, with a few examples, and said in words."""

from __future__ import annotations

import os
from typing import get_args

import pytest

from cam_engine.experiments.skipped import NOTHING, Reason, Skipped, SkippedKind, Tally


def tallied(*reasons: tuple[Reason, str]) -> Skipped:
    tally = Tally()
    for reason, example in reasons:
        tally.add(reason, example)
    return tally.skipped()


def test_nothing_is_nothing() -> None:
    assert not NOTHING
    assert (NOTHING.total, NOTHING.words) == (0, "")
    assert Tally().skipped() == NOTHING
    tally = Tally()
    tally.add("hidden", ".a", count=0)
    assert tally.skipped() == NOTHING


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_has_words_for_one_and_for_several(reason: Reason) -> None:
    one, several = (SkippedKind(reason, count, ()).words for count in (1, 2))
    assert one.startswith("1 ")
    assert several.startswith("2 ")
    assert len(one) > 3


def test_what_a_person_should_see_first_comes_first() -> None:
    skipped = tallied(("another-kind", ".txt"), ("hidden", ".a"), ("not-readable", "x"))
    assert [kind.reason for kind in skipped.kinds] == ["not-readable", "hidden", "another-kind"]
    assert skipped.total == 3
    assert skipped.words == "3 (1 that cannot be read: x; 1 hidden: .a; 1 of another kind: .txt)"


def test_a_few_examples_are_named_once_each() -> None:
    tally = Tally()
    for number in range(6):
        tally.add("hidden", ".same", f".{number}")
    (kind,) = tally.skipped().kinds
    assert kind == SkippedKind("hidden", 6, (".same", ".0", ".1", ".2"))
    assert kind.words == "6 hidden: .same, .0, .1, .2, ..."
    four = SkippedKind("hidden", 4, ("a", "b", "c", "d"))
    assert four.words == "4 hidden: a, b, c, d"
    assert SkippedKind("hidden", 9, ("a",)).words == "9 hidden: a"


def test_examples_can_be_said() -> None:
    assert tallied(("hidden", os.fsdecode(b"\xe9"))).kinds[0].examples == ("%E9",)


def test_two_together_are_counted_together() -> None:
    here = tallied(("hidden", ".a"), ("link-loop", "l"))
    there = Skipped((SkippedKind("hidden", 5, (".b",)),))
    both = here + there
    assert both.total == 7
    assert both.kinds[1] == SkippedKind("hidden", 6, (".a", ".b"))
    assert here + NOTHING == here == NOTHING + here

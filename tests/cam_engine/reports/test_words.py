"""Figures in sentences, and verdicts by intervals."""

from __future__ import annotations

import math

import pytest

from cam_engine.evidence.resampling import Interval
from cam_engine.reports.criteria import Criterion
from cam_engine.reports.words import (
    above,
    below,
    counted,
    figure_with,
    if_informed,
    judged,
    listed,
    percent,
    percent_with,
)


def test_figures_in_words() -> None:
    assert percent(0.8249) == "82%"
    assert percent(math.nan) == "n/a"
    assert percent_with(Interval(0.82, 0.7, 0.91)) == "82% (95% interval 70 to 91%)"
    assert percent_with(Interval(0.82, math.nan, math.nan)) == "82%"
    assert figure_with(Interval(0.825, 0.7, 0.91)) == "0.82 (95% interval 0.70 to 0.91)"
    assert figure_with(Interval(0.011, 0.002, 0.02)) == "0.011 (95% interval 0.002 to 0.020)"
    assert figure_with(Interval(math.nan, math.nan, math.nan)) == "n/a"
    assert figure_with(Interval(0.5, math.nan, math.nan)) == "0.50"


def test_counts_and_lists() -> None:
    assert [counted(n, what) for n, what in ((1, "crop"), (3, "crop"), (2, "class"))] == [
        "1 crop",
        "3 crops",
        "2 classes",
    ]
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefgh"), 3) == "a, b, c and 5 more"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.5, "pass"), (-0.5, -0.1, "fail"), (-0.1, 0.2, "cannot_tell"), (0.0, 1, "cannot_tell")],
)
def test_a_verdict_is_the_intervals(low: float, high: float, verdict: str) -> None:
    found = Interval((low + high) / 2, low, high)
    assert above(found, 0.0) == verdict
    mirrored = {"pass": "fail", "fail": "pass"}.get(verdict, verdict)
    assert below(found, 0.0) == mirrored


def test_without_an_interval_nothing_can_be_told() -> None:
    nothing = Interval(0.9, math.nan, math.nan)
    assert above(nothing, 0.0) == "cannot_tell"
    assert below(nothing, 0.0) == "cannot_tell"


def test_few_units_take_a_verdict_back_and_say_so() -> None:
    found = Interval(0.5, 0.4, 0.6)
    few = judged("a.b", "pass", "It is so.", found, n=19, threshold=0.0)
    assert few.verdict == "cannot_tell"
    assert few.sentence.startswith("It is so. There are 19 independent units only")
    enough = judged("a.b", "fail", "It is so.", found, n=20, threshold=0.0)
    assert (enough.verdict, enough.sentence) == ("fail", "It is so.")
    assert (enough.value, enough.interval, enough.n) == (0.5, found, 20)


def test_a_pass_counts_only_for_a_model_that_tells_classes_apart() -> None:
    passed, failed = Criterion("a.b", "pass", "Said."), Criterion("a.b", "fail", "Said.")
    assert if_informed(passed, informed=True) is passed
    assert if_informed(failed, informed=False) is failed
    told = if_informed(passed, informed=False)
    assert told.verdict == "cannot_tell"
    assert told.sentence.startswith("Said. The model is not shown to be better than chance")

"""Plots are SVG of the same bytes for the same numbers, and show each of them."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
import pytest

from cam_engine.reports import plots
from cam_engine.reports.criteria import Picture

X = np.linspace(0, 1, 4)
PLOTS: dict[str, Callable[[float], Picture]] = {
    "reliability": lambda by: plots.reliability("p", X * by, X, np.full(4, 0.25)),
    "confusion": lambda by: plots.confusion("p", np.array([[3, 1], [0, int(9 * by)]]), ["a", "b"]),
    "curves": lambda by: plots.curves(
        "p", "c", {"one": (X, X * by), "control": (X, X)}, ("x", "y")
    ),
    "bars": lambda by: plots.bars("p", "c", [("one", 0.5 * by, 0.4, 0.6)], "x", 0.1),
}


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_numbers_are_the_same_bytes_and_others_are_not(name: str) -> None:
    one, again, other = (PLOTS[name](by) for by in (1.0, 1.0, 0.7))
    assert one.media_type == "image/svg+xml"
    assert one.data == again.data
    assert one.data != other.data
    assert ElementTree.fromstring(one.data).tag.endswith("svg")  # noqa: S314  our own bytes
    assert one.caption


def test_nothing_of_the_time_or_the_program_is_in_it() -> None:
    data = PLOTS["bars"](1.0).data
    assert b"date" not in data.lower().replace(b"update", b"")
    assert b"http://matplotlib" not in data

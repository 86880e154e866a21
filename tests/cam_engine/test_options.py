"""Options are checked where they are written down, and refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from cam_engine.errors import InvalidOption
from cam_engine.options import CamOptions, DecodingOptions, FigureStyle


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "camcam"}, "method 'camcam' is unknown; choose one of gradcam"),
        ({"taps": "cooked"}, "taps 'cooked' is unknown; choose one of rectified, raw"),
        ({"colormap": "red"}, "colormap 'red' is unknown; choose one of inferno, viridis"),
        ({"blend": "mixed"}, "blend 'mixed' is unknown; choose one of adaptive, uniform"),
        ({"alpha": -0.01}, "alpha must lie between 0 and 1, got -0.01"),
        ({"alpha": 1.01}, "alpha must lie between 0 and 1, got 1.01"),
        ({"alpha": float("nan")}, "alpha must lie between 0 and 1, got nan"),
        ({"layers": ()}, "no layer asked for: name at least one, or ask for the fused map"),
        (
            {"layers": ("mid", "late", "mid", "late")},
            "layers asked for twice: late, mid",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        CamOptions(**options)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 1.0}, {"layers": (), "fused": True}])
def test_what_is_just_allowed_is_taken(options: dict[str, Any]) -> None:
    assert CamOptions(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"intensity": "loud"}, "intensity 'loud' is unknown; choose one of type, depth, min-max"),
        (
            {"background": "red"},
            "background 'red' is unknown; choose one of white, black, beneath",
        ),
        ({"page": 0}, "page must lie between 1 and 65,536, got 0"),
        ({"page": 65_537}, "page must lie between 1 and 65,536, got 65537"),
        ({"depth_bits": 0}, "depth_bits must lie between 1 and 64, got 0"),
        ({"depth_bits": 65}, "depth_bits must lie between 1 and 64, got 65"),
    ],
)
def test_so_are_options_of_decoding(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        DecodingOptions(**options)
    assert str(refused.value) == said
    assert DecodingOptions(page=1, depth_bits=1) != DecodingOptions(page=65_536, depth_bits=64)


@pytest.mark.parametrize(
    ("style", "is_paper"),
    [
        (FigureStyle(), False),
        (FigureStyle(paper_dpi=300), True),
        (FigureStyle(paper_format="pdf", paper_dpi=300), False),
    ],
)
def test_a_paper_figure_takes_the_main_ones_place_as_a_png_alone(
    style: FigureStyle, is_paper: bool
) -> None:
    assert style.paper_png is is_paper

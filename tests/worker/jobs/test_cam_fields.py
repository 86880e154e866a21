"""How maps are made and drawn: one schema, whose fields are the engine's options."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cam_engine.method_facts import DEFAULT_METHOD
from cam_engine.options import CamOptions, DecodingOptions
from worker.jobs.cam_fields import CamFields, split_names, whole


def test_nothing_said_is_the_engines_own_choice() -> None:
    assert CamFields().options_for(("late",), fused=False) == CamOptions(layers=("late",))


def test_every_field_reaches_the_engine() -> None:
    fields: dict[str, Any] = {
        "method": "hirescam",
        "fusion": "layercam",
        "score": "margin",
        "target": "ring",
        "taps": "raw",
        "clahe": False,
        "colormap": "viridis",
        "alpha": 0.25,
        "blend": "uniform",
    }
    decoding: dict[str, Any] = {"intensity": "type", "background": "white", "page": 2}
    told = CamFields(**fields, **decoding)
    assert set(CamFields.model_fields) == {*fields, *decoding}
    assert told.options_for(("mid", "late"), fused=True) == CamOptions(
        layers=("mid", "late"), fused=True, decoding=DecodingOptions(**decoding), **fields
    )
    assert CamFields().method is None
    assert CamFields().options_for(("late",), fused=False).method == DEFAULT_METHOD


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "camcam"},
        {"alpha": 1.5},
        {"alpha": float("nan")},
        {"page": 0},
        {"target": -1},
        {"target": ""},
        {"colour": "red"},
    ],
)
def test_what_is_no_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CamFields(**wrong)


@pytest.mark.parametrize(
    ("given", "names"),
    [("a, b c,,", ["a", "b", "c"]), ("", []), (["a b"], ["a b"]), (None, None)],
)
def test_names_of_a_variable_are_separated_by_commas_and_blanks(
    given: object, names: object
) -> None:
    assert split_names(given) == names


@pytest.mark.parametrize(("given", "number"), [(3.0, 3), (3, 3), (3.5, 3.5), ("3", "3")])
def test_a_whole_number_is_an_integer_however_it_is_written(given: object, number: object) -> None:
    assert whole(given) == number
    assert type(whole(given)) is type(number)

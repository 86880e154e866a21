"""Whose a picture is, by the recipe in its text chunks."""

from __future__ import annotations

import json

import pytest

from cam_engine import text_keys
from cam_engine.outputs.provenance import is_made_by


def recipe(**changes: object) -> dict[str, str]:
    whole = {"run": "r1", "image": "a/x.jpg", "image_sha256": "0" * 64, "facts": {}}
    return {text_keys.RECIPE: json.dumps({**whole, **changes})}


def test_a_picture_is_of_its_run_and_its_image() -> None:
    assert is_made_by(recipe(), "r1", "0" * 64)
    assert not is_made_by(recipe(), "r2", "0" * 64)
    assert not is_made_by(recipe(), "r1", "1" * 64)


@pytest.mark.parametrize(
    "text",
    [{}, {text_keys.RECIPE: "two eggs"}, recipe(run=["r1"]), recipe(facts=None), {"Row": "{}"}],
)
def test_what_carries_no_recipe_of_ours_is_of_no_run(text: dict[str, str]) -> None:
    assert not is_made_by(text, "r1", "0" * 64)

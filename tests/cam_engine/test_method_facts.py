"""The table of CAM methods: whole, without torch, and what the entrances say."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
import torch

from cam_engine.maps.methods import METHOD_FUNCTIONS
from cam_engine.maps.targets import rectified
from cam_engine.method_facts import (
    DEFAULT_METHOD,
    FUSION_FACTS,
    METHOD_FACTS,
    SCORES,
    Fusion,
    FusionChoice,
    Method,
    Score,
    fusion_for,
    label_of,
)
from cam_engine.models.architectures import Sign
from cam_engine.options import FUSIONS, METHODS, CamOptions
from worker.jobs.cam_fields import CamFields

SIGNED = torch.tensor([[[[-1.0, 3.0], [2.0, -4.0]], [[0.5, -0.5], [1.0, 2.0]]]])
GRADIENTS = torch.tensor([[[[0.5, 1.0], [-1.0, 2.0]], [[1.0, 0.25], [0.5, -0.5]]]])


def test_types_facts_and_formulas_have_the_same_names_in_the_same_order() -> None:
    assert get_args(Method) == tuple(METHOD_FACTS) == tuple(METHOD_FUNCTIONS) == METHODS


def test_ways_to_fuse_and_scores_have_the_names_of_their_types() -> None:
    assert get_args(Fusion) == tuple(FUSION_FACTS)
    assert get_args(FusionChoice) == ("auto", *FUSION_FACTS) == FUSIONS
    assert get_args(Score) == tuple(SCORES)


@pytest.mark.parametrize(
    ("choice", "averaged", "fusion"),
    [
        ("auto", True, "class-aware"),
        ("auto", False, "layercam"),
        ("class-aware", False, "class-aware"),
        ("layercam", True, "layercam"),
    ],
)
def test_what_is_not_chosen_goes_by_the_head(
    choice: FusionChoice, averaged: bool, fusion: Fusion
) -> None:
    assert fusion_for(choice, averaged=averaged) == fusion


def test_methods_and_ways_to_fuse_have_names_to_show() -> None:
    assert label_of("gradcam++") == "Grad-CAM++"
    assert label_of("class-aware") == "class-aware"
    assert label_of("layercam") == "LayerCAM"


@pytest.mark.parametrize("name", METHOD_FACTS)
def test_a_method_that_needs_no_gradients_ignores_them(name: Method) -> None:
    formula = METHOD_FUNCTIONS[name]
    same = torch.equal(formula(SIGNED, GRADIENTS), formula(SIGNED, -GRADIENTS))
    assert same != METHOD_FACTS[name].needs_gradients


@pytest.mark.parametrize("name", METHOD_FACTS)
def test_signed_activations_are_rectified_where_the_formula_needs_it(name: Method) -> None:
    given = rectified(SIGNED, Sign.SIGNED, name)
    assert bool((given >= 0).all()) == METHOD_FACTS[name].needs_rectified


def test_the_api_document_has_each_methods_sentence() -> None:
    said = CamFields.model_json_schema()["properties"]["method"]["description"]
    assert all(f"{name}: {facts.sentence}" in said for name, facts in METHOD_FACTS.items())


def test_the_default_is_one() -> None:
    options = CamFields().options_for(("late",), fused=False)
    assert CamOptions().method == options.method == DEFAULT_METHOD


def test_the_table_needs_no_torch() -> None:
    code = "import sys, cam_engine.options; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

"""Heads of one linear layer, found among weights and put into a network."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.fitting.single_heads import (
    Head,
    find_head,
    keys_below,
    matrices,
    place,
)


def weights(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {key.replace("__", "."): torch.zeros(shape) for key, shape in shapes.items()}


def test_keys_below_a_module_are_those_in_it() -> None:
    keys = ["fc.weight", "fc.0.bias", "fc2.weight", "fc", "a.fc.weight"]
    assert keys_below("fc", keys) == ["fc.weight", "fc.0.bias"]
    assert keys_below("fc", []) == []


def test_matrices_are_weights_of_two_axes_or_more() -> None:
    of_all = weights(
        fc__weight=(3, 4), fc__bias=(3,), conv__weight=(3, 4, 1, 1), bn__weight=(4,), mask=(3, 4)
    )
    assert matrices(of_all, of_all) == ["fc.weight", "conv.weight"]
    assert matrices([], of_all) == []


SITES = ["classifier.1", "classifier"]


@pytest.mark.parametrize(
    ("found", "head"),
    [
        (
            weights(classifier__1__weight=(3, 8), classifier__1__bias=(3,)),
            Head("classifier.1", "classifier.1.weight", "classifier.1.bias", 3, 8),
        ),
        (
            weights(classifier__1__weight=(3, 8)),
            Head("classifier.1", "classifier.1.weight", None, 3, 8),
        ),
        (
            weights(classifier__1__weight=(3, 8, 1, 1)),
            Head("classifier.1", "classifier.1.weight", None, 3, 8),
        ),
        (
            weights(classifier__weight=(3, 8), classifier__bias=(3,)),
            Head("classifier", "classifier.weight", "classifier.bias", 3, 8),
        ),
        (
            weights(classifier__1__1__weight=(3, 8), classifier__1__1__bias=(3,)),
            Head("classifier.1", "classifier.1.1.weight", "classifier.1.1.bias", 3, 8),
        ),
        (
            weights(classifier__0__weight=(8, 8), classifier__1__weight=(3, 8)),
            Head("classifier.1", "classifier.1.weight", None, 3, 8),
        ),
        (weights(classifier__0__weight=(8, 8), classifier__2__weight=(3, 8)), None),
        (weights(classifier__1__weight=(3, 8), classifier__1__scale=(3,)), None),
        (weights(classifier__1__weight=(0, 8)), None),
        (weights(classifier__1__bias=(3,)), None),
        (weights(other__weight=(3, 8)), None),
        ({}, None),
    ],
    ids=[
        *("its own", "no bias", "a convolution", "its parent", "in a sequence", "behind another"),
        *("two layers", "more in it", "no rows", "bias alone", "elsewhere", "nothing"),
    ],
)
def test_the_first_site_that_holds_one_layer_and_nothing_else(
    found: dict[str, Tensor], head: Head | None
) -> None:
    assert find_head(SITES, found) == head


def network(*head: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(features=nn.Conv2d(3, 8, 1), classifier=nn.Sequential(*head)))


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_layer_in_its_own_place_is_made_anew_only_for_its_bias(*, has_bias: bool) -> None:
    whole = network(nn.Dropout(), nn.Linear(8, 3))
    own = whole.get_submodule("classifier.1")
    bias = "classifier.1.bias" if has_bias else None
    assert place(whole, "classifier.1", Head("classifier.1", "classifier.1.weight", bias, 3, 8))
    made = whole.get_submodule("classifier.1")
    assert (made is own) is has_bias
    assert (made.bias is not None) is has_bias


def test_a_layer_takes_the_place_of_a_sequence_that_reads_its_features() -> None:
    whole = network(nn.Dropout(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1000))
    assert place(whole, "classifier.3", Head("classifier", "a", "b", 4, 8))
    made = whole.get_submodule("classifier")
    assert isinstance(made, nn.Linear)
    assert (made.in_features, made.out_features) == (8, 4)
    assert made.weight.is_meta


def test_a_convolution_is_replaced_by_one() -> None:
    whole = network(nn.Conv2d(8, 1000, 1))
    assert place(whole, "classifier.0", Head("classifier.0", "a", None, 4, 8))
    made = whole.get_submodule("classifier.0")
    assert isinstance(made, nn.Conv2d)
    assert (made.in_channels, made.out_channels, made.bias) == (8, 4, None)


@pytest.mark.parametrize(
    "head",
    [
        (nn.Linear(9, 1000),),
        (nn.Conv2d(8, 1000, 1), nn.Flatten()),
        (nn.BatchNorm1d(8), nn.Linear(8, 1000)),
    ],
    ids=["other features", "cells", "a norm first"],
)
def test_a_layer_does_not_stand_where_it_could_not_be_read(head: tuple[nn.Module, ...]) -> None:
    whole = network(*head)
    before = repr(whole)
    assert not place(whole, "classifier.0", Head("classifier", "a", "b", 4, 8))
    assert repr(whole) == before


def test_what_is_no_sequence_keeps_its_place() -> None:
    whole = nn.ModuleDict({"head": nn.ModuleDict({"fc": nn.Linear(8, 1000)})})
    assert not place(whole, "head.fc", Head("head", "a", "b", 4, 8))

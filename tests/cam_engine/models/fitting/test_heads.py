"""Heads in words, and in the place of a network's own."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from cam_engine.errors import InvalidOption
from cam_engine.models.fitting.heads import (
    LAYER_WORDS,
    head_layers,
    head_words,
    headed,
    last_layer,
    outputs_of,
    sites_of,
    suggested_head,
)


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("linear", ("linear",)),
        ("Linear, ReLU > dropout linear", ("linear", "relu", "dropout", "linear")),
        ("dense swish bn fc", ("linear", "silu", "batchnorm", "linear")),
        (" ".join(LAYER_WORDS), LAYER_WORDS),
    ],
)
def test_a_head_is_said_in_words(text: str, layers: tuple[str, ...]) -> None:
    assert head_layers(text) == layers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it has no linear layer"),
        ("relu dropout", "it has no linear layer"),
        ("linear dance", "'dance' is no layer; give the layers in their order, from batchnorm"),
    ],
)
def test_words_that_make_no_head_are_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        head_layers(text)


def below(site: str, *layers: nn.Module, **named: nn.Module) -> dict[str, Tensor]:
    head = nn.Sequential(*layers) if layers else nn.Sequential(OrderedDict(named))
    return {f"{site}.{key}": tensor for key, tensor in head.state_dict().items()}


LINEAR, OTHER = nn.Linear(4, 8), nn.Linear(8, 2)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (below("fc", LINEAR, nn.ReLU(), OTHER), "linear relu linear"),
        (
            below("fc", nn.Dropout(), LINEAR, nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), OTHER),
            "relu linear batchnorm relu dropout linear",
        ),
        (below("fc", LINEAR, nn.LayerNorm(8), OTHER), "linear layernorm linear"),
        (below("fc", first=LINEAR, second=OTHER), "linear relu linear"),
        (below("other", LINEAR), ""),
    ],
)
def test_a_line_to_begin_with_has_as_many_layers_as_there_are_numbers(
    weights: dict[str, Tensor], expected: str
) -> None:
    assert suggested_head("fc", weights) == expected


def network() -> nn.Sequential:
    features = nn.Conv2d(3, 4, 1)
    return nn.Sequential(OrderedDict(features=features, classifier=nn.Linear(4, 1000)))


def test_a_head_in_words_takes_its_weights_in_their_order() -> None:
    torch.manual_seed(0)
    saved = nn.Sequential(
        OrderedDict(
            first=nn.Linear(4, 8, bias=False),
            norm=nn.BatchNorm1d(8),
            scale=nn.LayerNorm(8, bias=False),
            second=nn.Linear(8, 2),
        )
    ).eval()
    weights = {f"classifier.{key}": tensor for key, tensor in saved.state_dict().items()}
    weights["features.weight"] = torch.ones(4, 3, 1, 1)
    whole = network()
    words = ("linear", "batchnorm", "gelu", "layernorm", "dropout", "linear")
    placed = headed(whole, ["classifier"], weights, words)
    assert placed is not None
    renamed, last = placed
    assert last == "classifier.5"
    assert "features.weight" in renamed
    head = whole.get_submodule("classifier")
    names = [type(layer).__name__ for layer in head.children()]
    assert names == ["Linear", "BatchNorm1d", "GELU", "LayerNorm", "Dropout", "Linear"]
    assert all(parameter.is_meta for parameter in head.parameters())
    own = {k.removeprefix("classifier."): t for k, t in renamed.items() if k.startswith("cl")}
    head.load_state_dict(own, assign=True)
    values = torch.randn(3, 4)
    first, norm, scale, second = saved.children()
    expected = second(scale(nn.functional.gelu(norm(first(values)))))
    torch.testing.assert_close(head.eval()(values), expected)


def test_a_head_goes_where_weights_are_split_the_innermost_first() -> None:
    weights = below("head.fc", LINEAR, nn.ReLU(), OTHER)
    whole = nn.ModuleDict({"head": nn.ModuleDict({"fc": nn.Linear(4, 1000)})})
    placed = headed(whole, ["head.fc", "head"], weights, ("linear", "relu", "linear"))
    assert placed is not None
    assert placed[1] == "head.fc.2"
    before = repr(whole)
    assert headed(whole, ["head.fc"], below("head", LINEAR), ("linear",)) is None
    assert headed(whole, ["head.fc"], {}, ("linear",)) is None
    assert repr(whole) == before


def test_words_that_the_weights_contradict_are_refused_with_both() -> None:
    weights = below("classifier", LINEAR, nn.BatchNorm1d(8), OTHER)
    said = (
        r"'linear relu linear' has linear linear with weights, but those of the file are "
        r"classifier\.0 \(linear\), classifier\.1 \(batchnorm\), classifier\.2 \(linear\)"
    )
    with pytest.raises(InvalidOption, match=said):
        headed(network(), ["classifier"], weights, ("linear", "relu", "linear"))
    with pytest.raises(InvalidOption, match="has linear layernorm linear with weights"):
        headed(network(), ["classifier"], weights, ("linear", "layernorm", "linear"))


@pytest.mark.parametrize(
    ("head", "last", "words"),
    [
        (nn.Linear(4, 2), "head", "linear"),
        (nn.Sequential(nn.Dropout(), nn.Linear(4, 2)), "head.1", "dropout linear"),
        (
            nn.Sequential(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), nn.Linear(4, 2)),
            "head.1",
            "batchnorm relu linear",
        ),
        (nn.ModuleDict({"fc": nn.Linear(4, 2)}), "head.fc", "linear"),
    ],
)
def test_a_head_that_is_there_is_told_in_words(head: nn.Module, last: str, words: str) -> None:
    assert head_words(nn.ModuleDict({"head": head}), last) == words


def test_sites_are_the_heads_name_and_its_parents() -> None:
    assert sites_of("head.fc.1") == ["head.fc.1", "head.fc", "head"]
    assert sites_of("fc") == ["fc"]


def test_the_last_layer_is_linear_or_a_convolution_of_the_region() -> None:
    whole = network()
    assert last_layer(whole, "") == "classifier"
    assert last_layer(whole, "features") == "features"
    assert last_layer(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), "") == "0"
    assert last_layer(nn.Sequential(nn.ReLU()), "") is None
    assert last_layer(nn.Linear(1, 1), "") == ""


@pytest.mark.parametrize("layer", [nn.Linear(4, 7), nn.Conv2d(4, 7, 1)])
def test_outputs_are_counted(layer: nn.Module) -> None:
    assert outputs_of(layer) == 7

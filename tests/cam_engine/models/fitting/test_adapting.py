"""Networks of other inputs and outputs answer as they did, of RGB and with a logit a class."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.fitting.adapting import (
    OpaqueAlpha,
    input_channels,
    logits_only,
    take_rgb,
    two_outputs,
    with_channels,
)

pytestmark = pytest.mark.usefixtures("one_thread")

COLOURS = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601


def network(channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)
    return nn.Sequential(*layers).eval()


def weight(*shape: int) -> dict[str, Tensor]:
    return {"0.weight": torch.zeros(shape), "2.weight": torch.zeros(2, 4, 1, 1)}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (weight(4, 1, 3, 3), ("0", 1)),
        (weight(4, 4, 3, 3), ("0", 4)),
        (weight(4, 3, 3, 3), None),
        (weight(4, 2, 3, 3), None),
        (weight(4, 5, 3, 3), None),
        (weight(5, 1, 3, 3), None),
        (weight(4, 1, 5, 5), None),
        (weight(4, 1), None),
        ({}, None),
    ],
)
def test_only_one_or_four_channels_of_the_first_convolution_are_others(
    weights: dict[str, Tensor], expected: tuple[str, int] | None
) -> None:
    assert input_channels(network(), weights) == expected


def test_networks_that_do_not_begin_with_rgb_are_left_alone() -> None:
    assert input_channels(nn.Sequential(nn.Linear(3, 1)), weight(4, 1, 3, 3)) is None
    assert input_channels(network(1), weight(4, 4, 3, 3)) is None
    grouped = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3))
    assert input_channels(grouped, {"0.weight": torch.zeros(6, 1, 3, 3)}) is None


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 4, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(2, 1)),
        nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect", bias=False),
    ],
)
@pytest.mark.parametrize("channels", [1, 4])
def test_channels_change_and_nothing_else_does(convolution: nn.Conv2d, channels: int) -> None:
    changed = nn.Sequential(copy.deepcopy(convolution))
    with_channels(changed, "0", channels)
    made = changed[0]
    assert isinstance(made, nn.Conv2d)
    assert made.weight.is_meta
    assert made.weight.shape == (4, channels, *convolution.kernel_size)
    assert repr(made) == repr(convolution).replace("3, 4", f"{channels}, 4", 1)


class Padding(nn.Conv2d):
    """As libraries have them, which pad in their own way."""


def test_a_convolution_of_a_class_of_its_own_stays_of_that_class() -> None:
    own = Padding(3, 4, 3)
    changed = nn.Sequential(own)
    with_channels(changed, "0", 1)
    assert changed[0] is own
    assert (own.in_channels, own.weight.shape) == (1, (4, 1, 3, 3))
    bare = nn.Sequential(nn.Linear(3, 4))
    with_channels(bare, "0", 1)
    assert isinstance(bare[0], nn.Linear)


def test_grey_networks_take_the_luma_of_colours() -> None:
    grey = network(1)
    expected = grey((COLOURS * LUMA).sum(1, keepdim=True))
    assert take_rgb(grey, "0", alpha=1) == (
        "the network takes grey images: they are made grey (ITU-R 601-2 luma) first"
    )
    torch.testing.assert_close(grey(COLOURS), expected)
    assert grey[0].in_channels == 3
    assert not grey[0].weight.requires_grad


@pytest.mark.parametrize("alpha", [1.0, 0.25])
def test_a_fourth_channel_is_the_same_everywhere(alpha: float) -> None:
    of_four = network(4)
    expected = of_four(torch.cat([COLOURS, torch.full((2, 1, 8, 8), alpha)], 1))
    assert "opaque alpha" in take_rgb(of_four, "0", alpha=alpha)
    assert isinstance(of_four[0], OpaqueAlpha)
    torch.testing.assert_close(of_four(COLOURS), expected)


def test_what_is_no_convolution_or_no_layer_with_weights_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="1 is no convolution"):
        take_rgb(network(), "1", alpha=1)
    with pytest.raises(TypeError, match="1 has no weights"):
        two_outputs(network(), "1")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_a_sigmoid_is_a_softmax_over_two(kind: str, *, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 1, bias=bias) if kind == "linear" else nn.Conv2d(5, 1, 1, bias=bias)
    values = torch.randn(6, 5) if kind == "linear" else torch.randn(6, 5, 2, 2)
    single = nn.Sequential(layer)
    probability = single(values)[:, 0].sigmoid()
    two_outputs(single, "0")
    torch.testing.assert_close(single(values).softmax(1)[:, 1], probability)
    torch.testing.assert_close(single(values).sum(1), torch.zeros_like(probability))
    assert getattr(layer, "out_features", getattr(layer, "out_channels", None)) == 2
    assert not any(parameter.requires_grad for parameter in single.parameters())


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Softmax(1), nn.LogSoftmax(1)])
def test_what_makes_probabilities_is_taken_away(last: nn.Module) -> None:
    head = nn.Sequential(nn.Linear(4, 2), last)
    whole = nn.ModuleDict({"head": head})
    assert logits_only(whole, "head") == type(last).__name__
    assert isinstance(head[-1], nn.Identity)
    assert logits_only(whole, "head") is None


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.Sigmoid(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(4, 2), nn.ReLU()),
        nn.Sequential(),
        nn.Linear(4, 2),
        nn.Sigmoid(),
    ],
)
def test_other_heads_are_left_as_they_are(head: nn.Module) -> None:
    before = repr(head)
    assert logits_only(nn.ModuleDict({"head": head}), "head") is None
    assert repr(head) == before

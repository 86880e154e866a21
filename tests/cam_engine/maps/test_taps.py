"""Taps on real architectures: what autograd is asked, and what comes back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cam_engine.errors import LayerNotSpatial
from cam_engine.maps.taps import LayerTap
from cam_engine.models.networks import build
from tests.networks import small_network


@pytest.mark.usefixtures("one_thread")
def test_the_late_tap_of_densenet_has_the_gradient_of_the_rectified_activation() -> None:
    """torchvision applies a functional in-place ReLU after norm5; timm has it inside norm5.

    With the same weights both must give the same rectified activation, and the same gradient with
    respect to it: with global average pooling, one number a channel.
    """
    torch.manual_seed(0)
    ours, theirs = build("densenet121", "torchvision", 3).eval(), build("densenet121", "timm", 3)
    theirs.load_state_dict(ours.state_dict())
    batch = torch.randn(2, 3, 64, 64)
    taken = []
    for network, rectify in ((ours, ["features.norm5"]), (theirs.eval(), [])):
        network.requires_grad_(False)
        modules = ["features.denseblock4", "features.norm5"]
        plain = network(batch)
        with LayerTap(network, modules, rectify) as tap:
            logits = network(batch)
            torch.testing.assert_close(logits, plain)
            gradients = tap.gradients(logits[:, 1].sum())
            taken.append((tap.outputs, gradients))
    (first, second) = taken
    for one, other in zip((*first[0], *first[1]), (*second[0], *second[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    late = first[1][1]
    weights = ours.get_parameter("classifier.weight")[1] / late[0, 0].numel()
    torch.testing.assert_close(late, weights[None, :, None, None].expand_as(late))


def test_autograd_builds_nothing_before_the_earliest_tap() -> None:
    network = small_network().requires_grad_(False)
    batch = torch.rand(1, 3, 16, 16)
    with LayerTap(network, ["late", "mid"]) as tap:
        logits = network(batch)
        late, mid = tap.outputs
        assert mid.is_leaf
        assert not late.is_leaf
        gradients = tap.gradients(logits.sum())
    assert [g.shape for g in gradients] == [late.shape, mid.shape]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_an_in_place_operation_after_the_tap_does_not_change_what_is_kept() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    with LayerTap(network, ["0"]) as tap:
        network(torch.randn(1, 3, 8, 8))
    assert float(tap.outputs[0].detach().min()) < 0


def test_a_layer_that_never_runs_is_named() -> None:
    network = small_network()
    network.spare = nn.Conv2d(1, 1, 1)
    with LayerTap(network, ["late", "spare"]) as tap:
        network(torch.rand(1, 3, 16, 16))
        with pytest.raises(LayerNotSpatial, match="spare took no part"):
            _ = tap.outputs


class Block(nn.Module):
    """Answers as blocks of transformers do: what it made, and what nobody asked for."""

    def __init__(self, *beside: object) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.beside = beside

    def forward(self, images: torch.Tensor) -> tuple[object, ...]:
        return (self.convolution(images), *self.beside)


class Blocks(nn.Module):
    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        self.head = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.block(images)[0]
        logits: torch.Tensor = self.head(features.square().mean((2, 3)))
        return logits


def test_a_block_that_answers_with_a_tuple_around_one_tensor_is_tapped() -> None:
    torch.manual_seed(0)
    network = Blocks(Block(None)).requires_grad_(False)
    images = torch.randn(1, 3, 8, 8)
    with LayerTap(network, ["block"]) as tap:
        logits = network(images)
        (gradient,) = tap.gradients(logits[:, 1].sum())
        (output,) = tap.outputs
    torch.testing.assert_close(output, network.block.convolution(images))
    weights = network.head.weight[1].view(1, 4, 1, 1)
    torch.testing.assert_close(gradient, 2 * output * weights / output[0, 0].numel())


def test_a_block_that_answers_with_several_tensors_is_not() -> None:
    network = Blocks(Block(torch.zeros(1)))
    with pytest.raises(LayerNotSpatial, match="tuple"), LayerTap(network, ["block"]):
        network(torch.randn(1, 3, 8, 8))

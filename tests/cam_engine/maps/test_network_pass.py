"""One pass of a batch: what it answers, and on which copy of the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cam_engine.errors import LayerNotFound
from cam_engine.maps.network_pass import NetworkPass, normalised
from cam_engine.maps.precision import choose_precision
from cam_engine.method_facts import FusionChoice
from cam_engine.options import CamOptions
from tests.networks import SIDE, classifier_of, small_network

CPU = torch.device("cpu")
CLASSIFIER = classifier_of(small_network())


@pytest.fixture
def network_pass() -> NetworkPass:
    precision = choose_precision(depthwise=False, transformer=False, device=CPU, wanted="float32")
    return NetworkPass(CLASSIFIER, CPU, precision)


@pytest.fixture
def batch() -> Tensor:
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def test_logits_are_the_networks(network_pass: NetworkPass, batch: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(network_pass.logits(batch), CLASSIFIER.network(batch))


def test_a_pass_has_logits_the_classes_explained_and_a_map_a_layer(
    network_pass: NetworkPass, batch: Tensor
) -> None:
    plan = network_pass.plan(CamOptions(fused=True))
    logits, chosen, raw = network_pass.maps(batch, [None, 0, 2], plan)
    torch.testing.assert_close(logits, network_pass.logits(batch).detach())
    assert chosen.tolist() == [int(logits[0].argmax()), 0, 2]
    sides = [SIDE // 2, SIDE // 4, SIDE // 8, SIDE // 2]
    assert [tuple(maps.shape) for maps in raw] == [(3, side, side) for side in sides]
    assert not any(maps.requires_grad for maps in raw)


def test_how_the_fused_map_was_made_is_known_after_the_pass(
    network_pass: NetworkPass, batch: Tensor
) -> None:
    choices: tuple[tuple[FusionChoice, str], ...] = (
        ("auto", "class-aware"),
        ("layercam", "layercam"),
    )
    for choice, fusion in choices:
        plan = network_pass.plan(CamOptions(fused=True, fusion=choice))
        network_pass.maps(batch, [None] * 3, plan)
        assert network_pass.fusion(plan) == fusion


def test_blocks_are_those_of_the_method_and_the_taps(
    network_pass: NetworkPass, batch: Tensor
) -> None:
    plan = network_pass.plan(CamOptions())
    network_pass.maps(batch, [None] * 3, plan)
    taps = [layer.tap for layer in plan.layers]
    assert [network_pass.block(tap, plan, "layercam") for tap in taps] == [2, 2, 1]
    assert [network_pass.block(tap, plan, "eigencam") for tap in taps] == [1, 1, 1]
    raw = network_pass.plan(CamOptions(taps="raw"))
    assert [network_pass.block(tap, raw, "layercam") for tap in taps] == [1, 1, 1]


def test_a_tapped_convolution_needs_a_copy_that_is_not_folded(
    network_pass: NetworkPass, batch: Tensor
) -> None:
    network_pass.maps(batch, [None] * 3, network_pass.plan(CamOptions()))
    assert len(network_pass.networks) == 1
    network_pass.maps(batch, [None] * 3, network_pass.plan(CamOptions(taps="raw")))
    assert len(network_pass.networks) == 2


def test_a_layer_that_is_not_there_is_refused_before_anything_is_computed(
    network_pass: NetworkPass,
) -> None:
    with pytest.raises(LayerNotFound):
        network_pass.plan(CamOptions(layers=("nowhere",)))


def test_maps_are_scaled_to_their_own_maximum_and_empty_ones_stay() -> None:
    values, maxima = normalised(torch.tensor([[[1.0, 4.0]], [[0.0, 0.0]]]))
    assert values.tolist() == [[[0.25, 1.0]], [[0.0, 0.0]]]
    assert maxima.tolist() == [4.0, 0.0]

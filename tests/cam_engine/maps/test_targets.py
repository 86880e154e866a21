"""From names to classes and taps, and what formulas are given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cam_engine.errors import ClassNotFound, LayerNotFound, LayerNotSpatial
from cam_engine.maps.targets import plan_layers, rectified, resolve_class, score_of, spatial
from cam_engine.method_facts import Method
from cam_engine.models.architectures import Layout, Sign, Stage, Tap, transformer_layout
from cam_engine.options import METHODS
from tests.networks import classifier_of, small_network

ACTIVATIONS = torch.tensor([[[[-1.0, 2.0]]]])


@pytest.mark.parametrize("method", METHODS)
def test_signed_activations_are_rectified_for_formulas_that_were_derived_so(method: Method) -> None:
    """Grad-CAM++ (Chattopadhay et al. 2018, sec. 3.2) and LayerCAM (Jiang et al. 2021, eq. 5)."""
    answer = rectified(ACTIVATIONS, Sign.SIGNED, method)
    needs = method in {"gradcam++", "layercam"}
    expected = torch.tensor([[[[0.0, 2.0]]]]) if needs else ACTIVATIONS
    torch.testing.assert_close(answer, expected)


@pytest.mark.parametrize("sign", [sign for sign in Sign if sign is not Sign.SIGNED])
def test_what_the_tap_rectified_is_left_alone(sign: Sign) -> None:
    assert rectified(ACTIVATIONS, sign, "gradcam++") is ACTIVATIONS


@pytest.mark.parametrize(
    ("target", "index"), [(0, 0), (2, 2), ("ring", 1), ("Ring", 1), ("2", 2), ("0", 0)]
)
def test_a_class_is_found_by_index_or_name(target: int | str, index: int) -> None:
    assert resolve_class(target, ("gametocyte", "ring", "schizont")) == index


def test_a_class_named_like_a_number_goes_before_the_index() -> None:
    assert resolve_class("1", ("2", "0", "1")) == 2


@pytest.mark.parametrize("target", [-1, 3, "3", "rang", "-1", "²"])
def test_an_unknown_class_is_said_with_those_there_are(target: int | str) -> None:
    with pytest.raises(ClassNotFound) as refused:
        resolve_class(target, ("gametocyte", "ring", "schizont"))
    assert str(refused.value) == (
        f"class {target!r} is unknown to this classifier; "
        "choose an index from 0 to 2 or one of gametocyte, ring, schizont"
    )


def test_a_name_that_may_mean_several_classes_is_said() -> None:
    with pytest.raises(ClassNotFound) as refused:
        resolve_class("RING", ("Ring", "ring"))
    assert str(refused.value) == (
        "class 'RING' may mean Ring or ring; give it exactly, or by its index"
    )


def test_the_logit_is_the_classs_own() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert score_of(logits, torch.tensor([1, 2]), "logit").tolist() == [2.0, 6.0]


def test_the_margin_is_over_the_others_by_their_softmax() -> None:
    """By hand: 2 - (1 e^1 + 3 e^3) / (e^1 + e^3), whose weights count as constants."""
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64, requires_grad=True)
    (margin,) = score_of(logits, torch.tensor([1]), "margin")
    low, high = 1 / (1 + torch.e**2), 1 / (1 + torch.e**-2)
    assert margin.item() == pytest.approx(2 - (low + 3 * high))
    margin.backward()
    torch.testing.assert_close(logits.grad, logits.new_tensor([[-low, 1.0, -high]]))


def test_of_a_single_class_the_margin_is_the_logit() -> None:
    assert score_of(torch.tensor([[1.5]]), torch.tensor([0]), "margin").tolist() == [1.5]


LAYOUT = classifier_of(small_network()).layout


def test_an_unknown_layer_is_said_with_those_near_it() -> None:
    with pytest.raises(LayerNotFound) as refused:
        plan_layers(["stage_lat"], LAYOUT, small_network(), "rectified")
    known = "early, mid, late, fused, stage_early, stage_mid, stage_late"
    assert str(refused.value) == (
        "layer 'stage_lat' is not in this network; "
        f"choose from {known}, or any module name; near it: stage_late, stage_early, stage_mid"
    )


def test_nothing_near_is_made_up() -> None:
    with pytest.raises(LayerNotFound) as refused:
        plan_layers(["zzz"], LAYOUT, small_network(), "rectified")
    assert "near it" not in str(refused.value)
    with pytest.raises(LayerNotFound):
        plan_layers([""], LAYOUT, small_network(), "rectified")


def test_layers_are_found_by_place_label_and_module() -> None:
    names = ["late", "stage_mid", "early.0", "mid.2"]
    rectified_ones = plan_layers(names, LAYOUT, small_network(), "rectified")
    assert [(one.name, one.label, one.tap.module) for one in rectified_ones] == [
        ("late", "stage_late", "late"),
        ("stage_mid", "stage_mid", "mid"),
        ("early.0", "stage_early", "early"),
        ("mid.2", "mid.2", "mid.2"),
    ]
    assert rectified_ones[3].tap.sign is Sign.SIGNED
    raw = plan_layers(names, LAYOUT, small_network(), "raw")
    assert [one.tap.module for one in raw] == ["late.0", "mid.0", "early.0", "mid.2"]
    assert {one.tap.sign for one in raw} == {Sign.NONNEGATIVE}


def test_tokens_are_folded_to_their_grid_and_the_class_token_left_out() -> None:
    """Token 1 + 3 row + column of channel c holds 100 c + 3 row + column."""
    cells = torch.arange(9.0)[:, None] + 100 * torch.arange(2.0)
    tokens = torch.cat([torch.full((1, 2), -1.0), cells])[None]
    folded = spatial(tokens, Tap("block", Sign.SIGNED, tokens=1))
    assert folded.shape == (1, 2, 3, 3)
    expected = torch.arange(9.0).reshape(3, 3)
    torch.testing.assert_close(folded[0, 0], expected)
    torch.testing.assert_close(folded[0, 1], expected + 100)


def test_tokens_without_a_square_grid_are_refused() -> None:
    with pytest.raises(LayerNotSpatial, match="layer block has 6 tokens: not a square grid"):
        spatial(torch.zeros(1, 7, 2), Tap("block", Sign.SIGNED, tokens=1))


def test_channels_that_come_last_are_brought_forward() -> None:
    output = torch.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    last = spatial(output, Tap("stage", Sign.SIGNED, channels=5))
    torch.testing.assert_close(last, output.permute(0, 3, 1, 2))
    assert spatial(output, Tap("stage", Sign.SIGNED)) is output


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1), (1, 4, 7), (4,)])
def test_what_has_no_grid_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LayerNotSpatial) as refused:
        spatial(torch.zeros(shape), Tap("pool", Sign.SIGNED))
    assert str(refused.value) == (
        f"layer pool answers with shape {shape}: no grid of cells to make a map of; "
        "name a layer before pooling and flattening"
    )
    assert spatial(torch.zeros(1, 4, 1, 2), Tap("strip", Sign.SIGNED)).shape == (1, 4, 1, 2)


def test_a_raw_tap_is_read_as_the_stages_own() -> None:
    """Tokens and channels are where the network has them, whichever module is tapped."""
    tap = Tap("block", Sign.RELU_NEXT, tokens=1, channels=6)
    layout = Layout((Stage("stage", "block.raw", tap),), "stage", "stage", "stage")
    network = torch.nn.Sequential()
    (planned,) = plan_layers(["late"], layout, network, "raw")
    assert planned.tap == Tap("block.raw", Sign.NONNEGATIVE, tokens=1, channels=6)
    (planned,) = plan_layers(["late"], layout, network, "rectified")
    assert planned.tap == tap


CHANNELS_LAST = Layout(
    tuple(
        Stage(f"layers.{n}", f"layers.{n}", Tap(f"layers.{n}", Sign.SIGNED, channels=8 * 2**n))
        for n in range(3)
    ),
    *("layers.0", "layers.1", "layers.2"),
)


@pytest.mark.parametrize(("channels", "inside"), [(32, "norm1"), (128, "mlp.act")])
def test_a_module_is_laid_out_as_the_stage_that_it_is_in(channels: int, inside: str) -> None:
    network = nn.Module()
    network.layers = nn.ModuleList(nn.Module() for _ in range(3))
    parent: nn.Module = network.layers[2]
    for name in inside.split("."):
        parent.add_module(name, nn.Module())
        parent = parent.get_submodule(name)
    [layer] = plan_layers([f"layers.2.{inside}"], CHANNELS_LAST, network, "rectified")
    output = torch.rand(2, 5, 5, channels)
    torch.testing.assert_close(spatial(output, layer.tap), output.permute(0, 3, 1, 2))


def test_a_module_of_a_transformer_is_folded_as_its_blocks_are() -> None:
    network = nn.Module()
    network.blocks = nn.ModuleList([nn.ModuleDict({"norm1": nn.Identity(), "mlp": nn.Identity()})])
    layout = transformer_layout(1, "blocks.{}.norm1", tokens=1, grid=(2, 3))
    [layer] = plan_layers(["blocks.0.mlp"], layout, network, "rectified")
    output = torch.rand(1, 7, 4)
    assert torch.equal(spatial(output, layer.tap)[0, :, 1, 2], output[0, 6])

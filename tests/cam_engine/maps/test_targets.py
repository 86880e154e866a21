"""From names to classes and taps, and what formulas are given."""

from __future__ import annotations

import pytest
import torch

from cam_engine.errors import ClassNotFound, LayerNotFound, LayerNotSpatial
from cam_engine.maps.targets import plan_layers, rectified, resolve_class, spatial
from cam_engine.method_facts import Method
from cam_engine.models.architectures import Layout, Sign, Stage, Tap
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
    assert spatial(output, Tap("stage", Sign.SIGNED, channels=3)) is output
    assert spatial(output, Tap("stage", Sign.SIGNED)) is output
    square = torch.zeros(1, 5, 5, 5)
    assert spatial(square, Tap("stage", Sign.SIGNED, channels=5)) is square


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

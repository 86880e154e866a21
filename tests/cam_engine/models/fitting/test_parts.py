"""Which of a file's weights may be the network's, by keys written down here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.fitting.parts import (
    LONE_HEAD,
    Part,
    parts,
    with_lone_head,
    without_prefixes,
)
from tests.cam_engine.models.recording import recorded


def state(*keys: str) -> dict[str, Tensor]:
    return {key: torch.zeros(1) for key in keys}


@pytest.mark.parametrize(
    ("keys", "stripped"),
    [
        (["module.fc.weight", "module.fc.bias"], ["fc.weight", "fc.bias"]),
        (["module._orig_mod.model.fc.weight"], ["fc.weight"]),
        (["module.module.fc.weight"], ["fc.weight"]),
        (["net.fc.weight", "loss.weight"], ["net.fc.weight", "loss.weight"]),
        (["classifier.weight"], ["classifier.weight"]),
        (["modules.fc.weight"], ["modules.fc.weight"]),
        (["model"], ["model"]),
        ([], []),
        (
            ["module.features.denselayer1.layers.norm1.weight", "module.class_layers.out.weight"],
            ["features.denselayer1.norm1.weight", "classifier.weight"],
        ),
    ],
)
def test_wrappers_that_all_keys_share_are_taken_off(keys: list[str], stripped: list[str]) -> None:
    assert list(without_prefixes(state(*keys))) == stripped


def listed(weights: dict[str, Tensor]) -> list[tuple[list[str], tuple[str, ...], str | None]]:
    return [(list(part.weights), part.aside, part.lone_head) for part in parts(weights, None)]


BODY = [f"layer{number}.weight" for number in range(4)]


def test_what_has_no_attribute_with_most_of_it_is_one_part() -> None:
    assert listed(state("a.weight", "b.weight")) == [(["a.weight", "b.weight"], (), None)]
    assert listed({}) == [([], (), None)]


def test_an_attribute_that_holds_most_is_a_part_and_the_rest_is_aside() -> None:
    keys = [*(f"classifier_net.{key}" for key in BODY), "criterion.weight"]
    assert listed(state(*keys)) == [(keys, (), None), (BODY, ("criterion.weight",), None)]


def test_attributes_are_followed_three_deep() -> None:
    keys = [f"a.b.c.d.{key}" for key in BODY]
    found = [weights for weights, _, _ in listed(state(*keys))]
    starts = ("a.b.c.d.", "b.c.d.", "c.d.", "d.")
    assert found == [[f"{start}{key}" for key in BODY] for start in starts]


def test_a_layer_beside_the_network_may_be_its_head() -> None:
    weights = state(*(f"encoder.{key}" for key in BODY), "loss.scale")
    weights |= {"fc.weight": torch.zeros(3, 8), "fc.bias": torch.zeros(3)}
    *_, last = parts(weights, None)
    assert list(last.weights) == [*BODY, f"{LONE_HEAD}.weight", f"{LONE_HEAD}.bias"]
    assert last.aside == ("loss.scale",)
    assert last.lone_head == "fc.weight"
    (said,) = last.assumed
    assert said.startswith("fc.weight stands beside the network in the file, and is taken for")
    assert said.endswith("with nothing but dropout between")


def test_several_layers_beside_the_network_are_a_head_in_words() -> None:
    weights = state(*(f"encoder.{key}" for key in BODY))
    weights |= {"head.0.weight": torch.zeros(8, 8), "head.2.weight": torch.zeros(3, 8)}
    *_, last = parts(weights, None)
    assert [key for key in last.weights if key.startswith(LONE_HEAD)] == [
        f"{LONE_HEAD}.0.weight",
        f"{LONE_HEAD}.2.weight",
    ]
    assert last.assumed[0].endswith("with the layers that were said in words")
    apart = state(*(f"encoder.{key}" for key in BODY))
    apart |= {"fc1.weight": torch.zeros(8, 8), "fc2.weight": torch.zeros(3, 8)}
    *_, last = parts(apart, None)
    assert f"{LONE_HEAD}.fc1.weight" in last.weights
    assert f"{LONE_HEAD}.fc2.weight" in last.weights


@pytest.mark.parametrize("beside", [torch.zeros(3), torch.zeros(3, 8, 1, 1)])
def test_what_is_no_matrix_beside_the_network_is_no_head(beside: Tensor) -> None:
    weights = {**state(*(f"encoder.{key}" for key in BODY)), "fc.weight": beside}
    assert [part.lone_head for part in parts(weights, None)] == [None, None]


def test_children_of_a_resnet_in_a_sequence_have_their_names_again() -> None:
    keys = ["0.weight", "1.running_mean", "4.0.conv1.weight", "7.0.conv1.weight"]
    weights = {**state(*keys), "9.weight": torch.zeros(3, 512)}
    _, children = parts(weights, None)
    assert list(children.weights) == [
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer4.0.conv1.weight",
        f"{LONE_HEAD}.weight",
    ]
    assert children.assumed[0].endswith(
        "with a mean over all cells, and nothing but dropout, between"
    )


def test_a_lone_head_takes_the_place_of_the_networks_own() -> None:
    weights = state("conv.weight", f"{LONE_HEAD}.weight", f"{LONE_HEAD}.0.bias")
    assert list(with_lone_head(weights, "head.fc")) == [
        "conv.weight",
        "head.fc.weight",
        "head.fc.0.bias",
    ]
    without = state("conv.weight")
    assert with_lone_head(without, "fc") is without


class Lightning(nn.Module):
    """A class of one's own around a network."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def parts_of(folder: Path, network: nn.Module) -> list[Part]:
    return list(parts(network.state_dict(), recorded(folder, network)))


def test_records_are_unwrapped_as_the_keys_are(tmp_path: Path) -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    first, *_ = parts_of(tmp_path, nn.DataParallel(inner))
    assert first.record is not None
    assert first.record.kind.endswith(".Sequential")
    assert first.record.state().keys() == first.weights.keys()
    assert first.assumed == ()


def test_what_code_that_is_not_there_does_is_said_to_be_left_out(tmp_path: Path) -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    first, *_ = parts_of(tmp_path, Lightning(model=inner))
    (said,) = first.assumed
    assert said == (
        "the network was saved in Lightning, whose code is not in the file: what that does beside "
        "calling it is left out"
    )
    second = parts_of(tmp_path, Lightning(cells=inner, loss=nn.BatchNorm1d(1)))[1]
    assert second.record is not None
    assert second.record.state().keys() == second.weights.keys()
    assert second.assumed == (said,)

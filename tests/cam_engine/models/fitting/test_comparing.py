"""Weights against networks of torchvision and timm: what fits, and what is said of the rest."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown, InvalidOption
from cam_engine.models.architectures import Naming
from cam_engine.models.fitting.comparing import (
    Fit,
    Hints,
    as_it_is,
    closest_row,
    compare,
    loaded,
    of_torchvision,
)
from tests.cam_engine.models.recording import recorded

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def network(name: str = "resnet18", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=3, **options)
    return made.eval()


def weights(**changed: Tensor) -> dict[str, Tensor]:
    return {**network().state_dict(), **{k.replace("__", "."): t for k, t in changed.items()}}


def without(*starts: str) -> dict[str, Tensor]:
    return {key: one for key, one in weights().items() if not key.startswith(starts)}


def with_head(*layers: nn.Module) -> dict[str, Tensor]:
    head = nn.Sequential(*layers).state_dict()
    return {**without("fc."), **{f"fc.{key}": one for key, one in head.items()}}


def fit_of(found: dict[str, Tensor], **hints: Any) -> Fit:
    return compare("resnet18", "torchvision", "fc", found, Hints(**hints))


def test_weights_of_the_network_fit() -> None:
    fit = fit_of(weights())
    assert (fit.differences, fit.describe(), fit.problem) == (0, "", None)
    assert (fit.name, fit.naming, fit.head, fit.classes) == ("resnet18", "torchvision", "fc", 3)
    assert (fit.head_region, fit.first_layer, fit.image_size) == ("fc", None, None)
    assert all(parameter.is_meta for parameter in fit.skeleton.parameters())
    assert fit.weights.keys() == weights().keys()


def test_each_difference_is_counted_and_named() -> None:
    found = without("bn1.weight", "bn1.num_batches_tracked")
    found |= {"extra.weight": torch.ones(1), "conv1.weight": torch.ones(64, 2, 7, 7)}
    fit = fit_of(found)
    assert fit.missing == ("bn1.weight",)
    assert fit.unexpected == ("extra.weight",)
    assert fit.misshapen == (
        "conv1.weight is (64, 2, 7, 7) float32 instead of (64, 3, 7, 7) float32",
    )
    assert fit.differences == 3
    assert fit.describe() == (
        "missing: bn1.weight; unexpected: extra.weight; wrong shape: " + fit.misshapen[0]
    )


def quantised() -> Tensor:
    made: Tensor = torch.quantize_per_tensor(torch.ones(64), 0.1, 0, torch.qint8)
    return made


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: torch.ones(64, dtype=torch.int8), "(64,) int8"),
        (lambda: torch.ones(64, dtype=torch.complex64), "(64,) complex64"),
        (lambda: torch.ones(1).expand(64), "(64,) float32 out of 1 number"),
        (lambda: torch.ones(2, 1).expand(2, 32).as_strided((64,), (0,)), "out of 2 numbers"),
        (lambda: torch.ones(64).to_sparse(), "(64,) float32"),
        (lambda: torch.ones(64, device="meta"), "(64,) float32"),
        (quantised, "(64,) qint8"),
    ],
    ids=["int8", "complex", "expanded", "expanded by two", "sparse", "meta", "quantised"],
)
def test_tensors_that_are_no_plain_numbers_of_that_kind_do_not_fit(make: Any, said: str) -> None:
    (misshapen,) = fit_of(weights(bn1__weight=make())).misshapen
    assert misshapen.startswith("bn1.weight is ")
    assert f"{said} instead of (64,) float32" in misshapen


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_fit_and_are_loaded_in_the_networks_own(kind: torch.dtype) -> None:
    found = {key: one.to(kind) for key, one in weights().items()}
    fit = fit_of(found)
    assert fit.differences == 0
    state = loaded(fit).state_dict()
    assert {one.dtype for one in state.values()} == {torch.float32, torch.int64}
    torch.testing.assert_close(state["conv1.weight"], found["conv1.weight"].float())


def test_a_loaded_network_has_copies_and_is_frozen() -> None:
    found = without("bn1.num_batches_tracked")
    found["fc.weight"] = found["fc.weight"].t().contiguous().t()
    made = loaded(fit_of(found))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(made(images), network()(images))
    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert all(parameter.is_contiguous() for parameter in made.parameters())
    state = made.state_dict()
    assert state["bn1.num_batches_tracked"] == 0
    assert state["fc.bias"].data_ptr() != found["fc.bias"].data_ptr()


def test_a_head_in_another_place_is_given_to_the_network() -> None:
    fit = fit_of(with_head(nn.Dropout(), nn.Linear(512, 4, bias=False)))
    assert (fit.differences, fit.head, fit.classes) == (0, "fc", 4)
    assert "fc.weight" in fit.weights
    assert fit.skeleton.get_submodule("fc").bias is None


def test_several_layers_are_refused_with_the_line_to_give_and_fit_with_it() -> None:
    found = with_head(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 4))
    fit = fit_of(found)
    assert fit.describe().startswith("its head has several layers (fc.0.weight, fc.2.weight)")
    assert '--head "linear relu linear"' in fit.describe()
    fit = fit_of(found, layers=("linear", "relu", "linear"))
    assert (fit.differences, fit.head, fit.classes) == (0, "fc.2", 4)
    with pytest.raises(InvalidOption, match="has linear with weights"):
        fit_of(found, layers=("linear", "relu"))


def test_layers_that_the_weights_do_not_have_are_a_problem() -> None:
    fit = fit_of(weights(), layers=("linear", "relu", "linear"))
    assert fit.problem == "its head (fc) is one linear layer, not linear relu linear"
    assert fit.differences == 1
    assert fit.describe() == fit.problem
    assert fit_of(weights(), layers=("dropout", "linear")).differences == 0


def test_weights_without_a_head_are_said_to_have_none() -> None:
    fit = fit_of(without("fc."))
    assert fit.describe() == "there is no classifier head (fc); missing: fc.weight, fc.bias"


def test_more_that_is_odd_than_the_head_says_nothing_of_the_head() -> None:
    fit = fit_of(without("fc.", "conv1."))
    assert fit.describe() == "missing: conv1.weight, fc.weight, fc.bias"


def test_grey_weights_have_one_channel_in_the_first_layer() -> None:
    fit = fit_of(weights(conv1__weight=torch.ones(64, 1, 7, 7)))
    assert (fit.differences, fit.first_layer) == (0, ("conv1", 1))


def test_a_record_says_what_no_weights_do(tmp_path: Path) -> None:
    saved = torchvision.models.resnet18(num_classes=3)
    saved.layer1[0].relu = nn.SiLU()
    saved.fc = nn.Sequential(nn.Linear(512, 8), nn.Tanh(), nn.Linear(8, 4))
    fit = fit_of(saved.state_dict(), record=recorded(tmp_path, saved))
    assert (fit.differences, fit.head, fit.classes) == (0, "fc.2", 4)
    assert isinstance(fit.skeleton.get_submodule("layer1.0.relu"), nn.SiLU)
    saved.fc = nn.Sequential(nn.Tanh())
    fit = fit_of(saved.state_dict(), record=recorded(tmp_path, saved))
    assert fit.problem == "there is no classifier head (fc)"


class Unknown(nn.Module):
    """Whose code is not in the file."""


def test_a_record_of_unknown_code_is_a_problem(tmp_path: Path) -> None:
    saved = torchvision.models.resnet18(num_classes=3)
    saved.fc = Unknown()
    fit = fit_of(weights(), record=recorded(tmp_path, saved))
    assert fit.problem is not None
    assert fit.problem.endswith("Unknown, whose code is not in the file")


def test_shape_makes_the_same_of_another_network_of_that_name() -> None:
    found = with_head(nn.Dropout(), nn.Linear(512, 4, bias=False))
    shaped = fit_of(found).shape(torchvision.models.resnet18(num_classes=4))
    assert shaped.get_submodule("fc").bias is None


def test_heads_for_training_alone_are_left_out_of_both() -> None:
    found = network("googlenet", init_weights=False, aux_logits=True).state_dict()
    assert any(key.startswith("aux1.") for key in found)
    fit = compare("googlenet", "torchvision", "fc", found)
    assert fit.differences == 0
    assert not any(key.startswith("aux") for key in fit.weights)
    assert fit.skeleton.aux1 is None


@pytest.mark.parametrize(
    ("name", "naming", "head", "said"),
    [
        ("resnet18", "torchvision", "classifier", "resnet18 has no module classifier"),
        ("nobody", "torchvision", "fc", "'nobody' is unknown; supported are"),
        ("regnety_002", "torchvision", "fc", "is unknown"),
    ],
)
def test_networks_and_heads_that_there_are_not_are_refused(
    name: str, naming: Naming, head: str, said: str
) -> None:
    with pytest.raises(ArchitectureUnknown, match=said):
        compare(name, naming, head, weights())


def test_the_closest_row_is_by_all_but_the_head() -> None:
    fit = closest_row(with_head(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 4)))
    assert fit is not None
    assert (fit.name, fit.naming) == ("resnet18", "torchvision")
    damaged = closest_row(without("conv1.", "layer2.1.bn1.weight"))
    assert damaged is not None
    assert damaged.name == "resnet18"
    assert damaged.differences == 2
    of_timm = timm.create_model("mobilenetv3_small_100", num_classes=3).state_dict()
    fit = closest_row(of_timm)
    assert fit is not None
    assert (fit.name, fit.naming, fit.differences) == ("mobilenet_v3_small", "timm", 0)


@pytest.mark.parametrize("found", [{}, {"layer.weight": torch.ones(2, 2)}])
def test_weights_like_no_rows_have_no_closest_one(found: dict[str, Tensor]) -> None:
    assert closest_row(found) is None
    assert of_torchvision(found) is None


def test_networks_outside_the_table_are_found_by_their_body() -> None:
    found = network("mnasnet0_5").state_dict()
    fit = of_torchvision(found)
    assert fit is not None
    assert (fit.name, fit.naming, fit.differences) == ("mnasnet0_5", "torchvision", 0)
    first = next(iter(found))
    assert of_torchvision({key: one for key, one in found.items() if key != first}) is None


def test_a_network_that_is_there_is_compared_as_it_is() -> None:
    own = nn.Sequential(OrderedDict(body=nn.Conv2d(3, 4, 1), head=nn.Linear(4, 2), act=nn.ReLU()))
    fit = as_it_is("mine", own, own.state_dict())
    assert (fit.name, fit.naming, fit.head, fit.classes) == ("mine", "file", "head", 2)
    assert fit.skeleton is own
    assert fit.differences == 0
    assert as_it_is("mine", own, {}).missing == tuple(own.state_dict())
    with pytest.raises(ArchitectureUnknown, match="mine has no linear layer"):
        as_it_is("mine", nn.Sequential(nn.ReLU()), {})

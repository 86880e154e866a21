"""The table against torchvision and timm themselves: their modules, shapes and signs."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.architectures import (
    ARCHITECTURES,
    NAMINGS,
    Architecture,
    Layout,
    Naming,
    Sign,
    Stage,
    find_architecture,
    supported,
)
from cam_engine.models.networks import build, recorded_layout
from cam_engine.models.tracing.layouts import traced_layout

GRIDS = {  # (early, mid, late) at 224 x 224 px
    "vgg": (56, 28, 14),
    "vit": (14, 14, 14),
}
USUAL_GRIDS = (28, 14, 7)


pytestmark = pytest.mark.usefixtures("one_thread")

every_row = pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
every_naming = pytest.mark.parametrize("naming", NAMINGS)


@cache
def skeleton(name: str, naming: Naming) -> nn.Module:
    with torch.device("meta"):
        return build(name, naming, num_classes=3).eval()


def outputs(network: nn.Module, modules: list[str], images: Tensor) -> dict[str, Tensor]:
    """What the modules answer, copied before anything later can change it in place."""
    kept: dict[str, Tensor] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: kept.update({name: output.clone()})
        )
        for name in modules
    ]
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    return kept


def chosen(layout: Layout) -> list[Stage]:
    by_label = {stage.label: stage for stage in layout.stages}
    return [by_label[layout.early], by_label[layout.mid], by_label[layout.late]]


def side(output: Tensor, stage: Stage) -> float:
    """Cells a side of a stage's square grid."""
    if stage.tap.tokens is not None:
        return math.sqrt(output.shape[1] - stage.tap.tokens)
    assert output.shape[2] == output.shape[3]
    return output.shape[2]


def grids(row: Architecture, naming: Naming) -> list[float]:
    stages = row.variant(naming).layout.stages
    network = skeleton(row.name, naming)
    names = [name for stage in stages for name in (stage.raw, stage.tap.module)]
    kept = outputs(network, names, torch.zeros(1, 3, 224, 224, device="meta"))
    for stage in stages:
        if row.family != "densenet":  # its transitions' ReLU comes before they halve the grid
            assert side(kept[stage.raw], stage) == side(kept[stage.tap.module], stage)
    return [side(kept[stage.tap.module], stage) for stage in stages]


@every_row
def test_stages_have_the_stated_grids_and_are_the_same_in_both_namings(row: Architecture) -> None:
    in_torchvision = grids(row, "torchvision")
    assert grids(row, "timm") == in_torchvision
    assert in_torchvision == sorted(in_torchvision, reverse=True)

    layout = row.torchvision.layout
    by_label = dict(zip([s.label for s in layout.stages], in_torchvision, strict=True))
    assert [stage.label for stage in row.timm.layout.stages] == list(by_label)
    positions = (layout.early, layout.mid, layout.late)
    assert positions == (row.timm.layout.early, row.timm.layout.mid, row.timm.layout.late)
    assert tuple(by_label[p] for p in positions) == GRIDS.get(row.family, USUAL_GRIDS)


@every_row
@every_naming
def test_head_is_a_linear_layer_with_a_row_for_each_class(
    row: Architecture, naming: Naming
) -> None:
    head = skeleton(row.name, naming).get_submodule(row.variant(naming).head)
    assert isinstance(head, nn.Linear)
    assert head.out_features == 3


@every_row
@every_naming
def test_a_state_dict_restores_the_whole_network(row: Architecture, naming: Naming) -> None:
    """Else loading into a network that was built on the meta device would leave holes."""
    network = skeleton(row.name, naming)
    saved = network.state_dict(keep_vars=True)
    tensors = [*network.parameters(), *network.buffers()]
    loose = [v for m in network.modules() for v in vars(m).values() if isinstance(v, Tensor)]
    assert {id(t) for t in tensors} == {id(t) for t in saved.values()}
    assert loose == []


@pytest.mark.parametrize(
    "row", [r for r in ARCHITECTURES if r.family == "vgg"], ids=lambda row: row.name
)
@every_naming
def test_vggs_taps_are_its_relus_and_raw_is_what_they_read(
    row: Architecture, naming: Naming
) -> None:
    network = skeleton(row.name, naming)
    for stage in row.variant(naming).layout.stages:
        assert type(network.get_submodule(stage.tap.module)) is nn.ReLU
        kind = nn.BatchNorm2d if row.name.endswith("_bn") else nn.Conv2d
        assert type(network.get_submodule(stage.raw)) is kind


def test_no_two_rows_have_the_same_weights() -> None:
    shapes = {
        (row.name, naming): frozenset(
            (key, tuple(tensor.shape))
            for key, tensor in skeleton(row.name, naming).state_dict().items()
        )
        for row in ARCHITECTURES
        for naming in NAMINGS
    }
    for (name, _), keys in shapes.items():
        assert {other for (other, _), theirs in shapes.items() if theirs == keys} == {name}


def row_of(spelling: str) -> Architecture:
    found = find_architecture(spelling)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    ["densenet121", "resnet18", "efficientnet_b0", "mobilenet_v2", "mobilenet_v3_small"],
)
@every_naming
def test_signs_hold_on_random_input(name: str, naming: Naming) -> None:
    torch.manual_seed(0)
    layout = row_of(name).variant(naming).layout
    network = build(name, naming, num_classes=3)
    kept = outputs(network, [s.tap.module for s in layout.stages], torch.randn(2, 3, 64, 64))
    for stage in layout.stages:
        rectified = bool(kept[stage.tap.module].min() >= 0)
        assert rectified is (stage.tap.sign is Sign.NONNEGATIVE), stage


@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_both_libraries_taps_hold_the_same_values(name: str) -> None:
    """These two have the same keys in both libraries, so one network's weights fit the other."""
    row = row_of(name)
    torch.manual_seed(0)
    ours, theirs = build(name, "torchvision", 3), build(name, "timm", 3)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(1, 3, 64, 64)
    layouts = row.torchvision.layout, row.timm.layout
    kept = outputs(ours, [s.tap.module for s in layouts[0].stages], images)
    expected = outputs(theirs, [s.tap.module for s in layouts[1].stages], images)
    for stage, other in zip(layouts[0].stages, layouts[1].stages, strict=True):
        values = kept[stage.tap.module]
        values = values.relu() if stage.tap.sign is Sign.RELU_NEXT else values
        torch.testing.assert_close(values, expected[other.tap.module])


def test_torchvisions_densenet_relu_follows_its_last_tap() -> None:
    torch.manual_seed(0)
    network = build("densenet121", "torchvision", 3)
    kept = outputs(network, ["features.norm5", "classifier"], torch.randn(1, 3, 64, 64))
    assert kept["features.norm5"].min() < 0
    pooled = kept["features.norm5"].relu().mean(dim=(2, 3))
    with torch.no_grad():
        head = network.get_submodule("classifier")
        torch.testing.assert_close(head(pooled), kept["classifier"])


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("densenet121", "densenet121"),
        ("DenseNet-121", "densenet121"),
        ("tv_densenet121", "densenet121"),
        ("timm/resnet50.a1_in1k", "resnet50"),
        ("ResNet_50", "resnet50"),
        (" efficientnet-b1 ", "efficientnet_b1"),
        ("EfficientNetB1", "efficientnet_b1"),
        ("mobilenetv2_100.ra_in1k", "mobilenet_v2"),
        ("mobilenetv3_large_100", "mobilenet_v3_large"),
        ("mobilenet_v3_small", "mobilenet_v3_small"),
        ("torchvision.models.vgg16_bn", "vgg16_bn"),
        ("hf-hub:timm/vit_base_patch16_224.augreg_in21k", "vit_b_16"),
        ("vit_b_16", "vit_b_16"),
    ],
)
def test_a_row_is_found_by_any_usual_spelling(spelling: str, name: str) -> None:
    assert row_of(spelling).name == name


@pytest.mark.parametrize("name", ["", "resnet", "resnet51", "tf_efficientnet_b0", "densenet", "."])
def test_what_is_not_in_the_table_is_not_found(name: str) -> None:
    assert find_architecture(name) is None


@pytest.mark.parametrize(
    ("name", "positions", "sides"),
    [
        ("regnety_002", ("s2", "s3", "s4"), (28, 14, 7)),
        ("tf_efficientnet_b0", ("blocks.2", "blocks.4", "blocks.6"), (28, 14, 7)),
        ("vgg11", ("features.14", "features.19", "features.20"), (28, 14, 7)),
        ("deit_tiny_patch16_224", ("block4", "block8", "block12"), (14, 14, 14)),
    ],
)
def test_layout_of_a_timm_network_without_a_row(
    name: str, positions: tuple[str, ...], sides: tuple[int, ...]
) -> None:
    network = skeleton(name, "timm")
    layout = recorded_layout(network)
    assert layout is not None
    assert (layout.early, layout.mid, layout.late) == positions
    modules = [stage.tap.module for stage in chosen(layout)]
    kept = outputs(network, modules, torch.zeros(1, 3, 224, 224, device="meta"))
    assert tuple(side(kept[s.tap.module], s) for s in chosen(layout)) == sides
    assert {stage.tap.sign for stage in layout.stages} == {Sign.SIGNED}


def test_layout_knows_the_channels_of_outputs_with_channels_last() -> None:
    network = skeleton("swin_tiny_patch4_window7_224", "timm")
    recorded = recorded_layout(network)
    assert recorded is not None
    network.eval().requires_grad_(requires_grad=False)
    stages = chosen(traced_layout(network, (224, 224), recorded))
    assert [s.tap.module for s in stages] == [s.tap.module for s in chosen(recorded)]
    modules = [stage.tap.module for stage in stages]
    kept = outputs(network, modules, torch.zeros(1, 3, 224, 224, device="meta"))
    shapes = [kept[module].shape for module in modules]
    assert [tuple(shape[1:3]) for shape in shapes] == [(28, 28), (14, 14), (7, 7)]
    assert [stage.tap.channels for stage in stages] == [shape[3] for shape in shapes]


def test_supported_names_every_row() -> None:
    assert all(row.name in supported() for row in ARCHITECTURES)

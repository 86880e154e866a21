"""Which axis is that of the channels, of modules that somebody names."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import LayerNotSpatial
from cam_engine.maps.targets import plan_layers, spatial
from cam_engine.models.architectures import Layout, Sign, Tap, find_architecture
from cam_engine.models.tracing.layouts import traced_layout
from cam_engine.models.tracing.named import named_tap

pytestmark = pytest.mark.usefixtures("one_thread")


def output_of(network: nn.Module, module: str, size: tuple[int, int]) -> Tensor:
    kept: list[Tensor] = []
    handle = network.get_submodule(module).register_forward_hook(
        lambda _module, _inputs, output: kept.append(output)
    )
    with torch.no_grad():
        network(torch.randn(1, 3, *size))
    handle.remove()
    return kept[-1]


def mapped(network: nn.Module, layout: Layout, module: str, size: tuple[int, int]) -> Tensor:
    """What is made a map of, (1, C, h, w)."""
    (layer,) = plan_layers([module], layout, network, "rectified")
    return spatial(output_of(network, module, size), layer.tap)


class Transposed(nn.Module):
    """Stages of a grid whose sides are the numbers of channels of other modules in them.

    Images of 96 x 64 px have 12 x 8 cells of 8 px, and the stages answer with 8 channels last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=8, padding=1)
        self.stages = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        cells = self.stem(images).permute(0, 2, 3, 1)
        for stage in self.stages:
            cells = stage(cells)
        logits: Tensor = self.head(cells.mean((1, 2)))
        return logits


class Block(nn.Module):
    """(N, h, w, 8): a linear layer to 12, and a convolution of these, whose channels come first."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(8, 12)
        self.mixed = nn.Conv2d(12, 8, 3, padding=1)
        self.out = nn.Linear(8, 8)

    def forward(self, cells: Tensor) -> Tensor:
        mixed = self.mixed(self.wide(cells).permute(0, 3, 1, 2))
        answer: Tensor = cells + self.out(mixed.permute(0, 2, 3, 1))
        return answer


@pytest.fixture(scope="module")
def transposed() -> tuple[nn.Module, Layout]:
    torch.manual_seed(0)
    network = Transposed().eval()
    return network, traced_layout(network, (96, 64))


@pytest.mark.parametrize(
    ("module", "is_last"),
    [
        ("stages.1", True),
        ("stages.1.wide", True),  # (1, 12, 8, 12)
        ("stages.1.mixed", False),  # (1, 8, 12, 8)
        ("stages.1.out", True),  # (1, 12, 8, 8)
        ("stem", False),
    ],
)
def test_numbers_that_coincide_do_not_tell_the_axis_of_channels(
    transposed: tuple[nn.Module, Layout], module: str, *, is_last: bool
) -> None:
    network, layout = transposed
    output = output_of(network, module, (96, 64))
    expected = output.permute(0, 3, 1, 2) if is_last else output
    assert expected.shape[2:] == (12, 8)
    assert mapped(network, layout, module, (96, 64)).shape == expected.shape


@pytest.mark.parametrize(("module", "is_last"), [("stages.1.mixed", False), ("stages.1.out", True)])
def test_where_all_numbers_are_the_same_passes_tell(module: str, *, is_last: bool) -> None:
    """(1, 8, 8, 8) either way."""
    torch.manual_seed(0)
    network = Transposed().eval()
    near = Tap("stages.1", Sign.SIGNED, channels=None if is_last else 8)
    assert named_tap(network, module, near, (64, 64)).channels == (8 if is_last else None)


def test_pooled_means_have_no_grid_whichever_way_they_are_read() -> None:
    network = torchvision.models.mobilenet_v3_small(weights=None).eval()
    row = find_architecture("mobilenet_v3_small")
    assert row is not None
    with pytest.raises(LayerNotSpatial):
        mapped(network, row.torchvision.layout, "features.4.block.2.avgpool", (224, 224))


@pytest.mark.parametrize(
    ("library", "module", "shape"),
    [
        ("torchvision", "features.1.0.block.0", (96, 56, 56)),
        ("torchvision", "features.1.0.block.2", (96, 56, 56)),
        ("torchvision", "features.5.0.block.3", (1536, 14, 14)),
        ("timm", "stages.0.blocks.0.mlp.fc2", (96, 56, 56)),
        ("timm", "stages.3.blocks.2.conv_dw", (768, 7, 7)),
        ("timm", "stages.3.blocks.2.mlp.fc1", (3072, 7, 7)),
    ],
)
def test_modules_within_blocks_of_a_network_of_the_table(
    library: str, module: str, shape: tuple[int, int, int]
) -> None:
    """ConvNeXt's blocks put channels last for their linear layers (Liu et al. 2022)."""
    torch.manual_seed(0)
    row = find_architecture("convnext_tiny")
    assert row is not None
    network: nn.Module = (
        torchvision.models.convnext_tiny(weights=None)
        if library == "torchvision"
        else timm.create_model("convnext_tiny")
    ).eval()
    layout = row.variant("torchvision" if library == "torchvision" else "timm").layout
    assert mapped(network, layout, module, (224, 224)).shape == (1, *shape)


def test_where_passes_do_not_tell_it_is_as_in_the_stage_around_it() -> None:
    """Each cell is the mean of all, and a network that takes no such images has no passes."""
    near = Tap("stage", Sign.SIGNED, channels=8)
    torch.manual_seed(0)
    everywhere = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Upsample(size=(8, 8)), nn.Flatten()
    )
    assert named_tap(everywhere, "2", near, (64, 64)) == Tap("2", Sign.SIGNED, channels=8)
    grey = nn.Sequential(nn.Conv2d(1, 4, 3))
    assert named_tap(grey, "0", near, (64, 64)) == Tap("0", Sign.SIGNED, channels=8)


def test_passes_are_made_once_for_a_module(transposed: tuple[nn.Module, Layout]) -> None:
    network, layout = transposed
    plan_layers(["stages.2.mixed"], layout, network, "rectified")
    passes: list[Tensor] = []
    handle = network.register_forward_hook(lambda _module, _inputs, output: passes.append(output))
    plan_layers(["stages.2.mixed"], layout, network, "raw")
    plan_layers(["stages.2.out"], layout, network, "raw")
    handle.remove()
    assert len(passes) == 2


def test_the_network_has_no_hooks_meanwhile_and_keeps_its_tensors() -> None:
    """Other threads may run or copy it."""
    torch.manual_seed(0)
    network = Transposed().eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    during: list[int] = []

    class Watching(nn.Linear):
        def forward(self, cells: Tensor) -> Tensor:
            during.append(sum(len(module._forward_hooks) for module in network.modules()))
            answer: Tensor = super().forward(cells)
            return answer

    network.head = Watching(8, 3)
    named_tap(network, "stages.1.mixed", Tap("stages.1", Sign.SIGNED, channels=8), (64, 64))
    assert during == [0, 0]
    for key, value in before.items():
        if not key.startswith("head."):
            torch.testing.assert_close(network.state_dict()[key], value)

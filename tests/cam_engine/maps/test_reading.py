"""How what comes next reads a tapped output, and gradients averaged over what it reads together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from cam_engine.maps.explainer import Explainer
from cam_engine.maps.reading import Reading, over_blocks, readings
from cam_engine.method_facts import Method
from cam_engine.models.architectures import ARCHITECTURES, Architecture
from cam_engine.options import CamOptions, Taps
from tests.networks import SIDE, classifier_of, small_network

CHANNELS = 4


class Residual(nn.Module):
    """Both ways of a block that halves the grid: one mixes neighbours first, the other does not."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.onward = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(CHANNELS, CHANNELS, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Half as many cells a side."""
        answer: Tensor = self.onward(self.mixing(x).relu()) + self.shortcut(x)
        return answer


class Pooled(nn.Module):
    """A pool that names no stride, which then is its kernel's size."""

    def forward(self, x: Tensor) -> Tensor:
        """A third as many cells a side."""
        return functional.max_pool2d(x, 3)


def pointwise(stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 1, stride)


def spatial(stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, stride, padding=1)


@pytest.mark.parametrize(
    ("make", "stride"),
    [
        (lambda: [pointwise(stride=2)], 2),
        (lambda: [pointwise(), nn.BatchNorm2d(CHANNELS), nn.SiLU(), spatial(2)], 2),
        (lambda: [nn.ReLU(), nn.MaxPool2d(2)], 2),
        (lambda: [nn.MaxPool2d(3, 2)], 2),
        (lambda: [Pooled()], 3),
        (lambda: [nn.BatchNorm2d(CHANNELS), nn.ReLU(), pointwise(), nn.AvgPool2d(2)], 2),
        (lambda: [nn.GroupNorm(1, CHANNELS), nn.Conv2d(CHANNELS, CHANNELS, 4, 4)], 4),
        (lambda: [Residual()], 2),
        (lambda: [spatial(), spatial(2)], 1),
        (lambda: [nn.MaxPool2d(3, 1, 1), spatial(2)], 1),
        (lambda: [nn.AdaptiveAvgPool2d(8), pointwise(stride=2)], 1),
        (lambda: [nn.Upsample(scale_factor=2, mode="bilinear"), pointwise(stride=2)], 1),
        (lambda: [pointwise(), nn.ReLU()], 1),
        (lambda: [nn.AvgPool2d(1)], 1),
    ],
)
def test_the_stride_is_that_of_the_first_step_that_mixes(
    make: Callable[[], list[nn.Module]], stride: int
) -> None:
    read = torch.rand(2, CHANNELS, 16, 16).requires_grad_().clone()
    score = nn.Sequential(*make()).eval()(read).mean((2, 3)).sum()
    assert readings(score, {"here": read})["here"].stride == stride


@pytest.mark.parametrize(
    ("head", "averaged"),
    [
        (lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten()], True),
        (lambda: [pointwise(), nn.BatchNorm2d(CHANNELS), nn.SiLU(), nn.AdaptiveAvgPool2d(1)], True),
        (lambda: [nn.AdaptiveMaxPool2d(1)], True),
        (lambda: [nn.AvgPool2d(16)], True),
        (lambda: [nn.AvgPool2d(8), nn.AdaptiveAvgPool2d(1)], False),
        (lambda: [nn.AdaptiveMaxPool2d(2)], False),
        (lambda: [nn.AdaptiveAvgPool2d(2)], False),
        (lambda: [spatial(), nn.AdaptiveAvgPool2d(1)], False),
        (lambda: [nn.Flatten(), nn.Linear(CHANNELS * 256, 3)], False),
        (lambda: [Residual(), nn.AdaptiveAvgPool2d(1)], False),
    ],
)
def test_a_head_that_averages_is_seen(head: Callable[[], list[nn.Module]], averaged: bool) -> None:
    read = torch.rand(2, CHANNELS, 16, 16).requires_grad_().clone()
    score = nn.Sequential(*head()).eval()(read).sum()
    assert readings(score, {"here": read})["here"].averaged == averaged


def test_each_output_is_told_by_itself() -> None:
    first = torch.rand(1, CHANNELS, 16, 16).requires_grad_().clone()
    second = spatial(2)(first).clone()
    third = spatial()(second).clone()
    score = pointwise(stride=2)(third).sum()
    read = {"first": first, "second": second, "third": third}
    strides = {name: reading.stride for name, reading in readings(score, read).items()}
    assert strides == {"first": 2, "second": 1, "third": 2}


def test_what_the_score_does_not_depend_on_is_read_by_nothing() -> None:
    aside = torch.rand(1, CHANNELS, 8, 8).requires_grad_().clone()
    score = torch.rand(1, CHANNELS, 8, 8).requires_grad_().sum()
    assert readings(score, {"aside": aside}) == {"aside": Reading(1, averaged=False)}


NAMED = {
    "resnet50": (2, 2, 1),
    "efficientnet_b0": (2, 2, 1),
    "densenet121": (2, 2, 1),
    "mobilenet_v3_small": (2, 2, 1),
    "convnext_tiny": (2, 2, 1),
    "vgg16_bn": (2, 2, 2),
    "vit_b_16": (1, 1, 1),
}


@pytest.mark.parametrize("naming", ["torchvision", "timm"])
@pytest.mark.parametrize("row", [row for row in ARCHITECTURES if row.name in NAMED], ids=str)
def test_known_networks_read_early_and_mid_by_twos(row: Architecture, naming: str) -> None:
    variant = row.torchvision if naming == "torchvision" else row.timm
    network = (
        torchvision.models.get_model(variant.builder)
        if naming == "torchvision"
        else timm.create_model(variant.builder)
    ).eval()
    layout = variant.layout
    taps = [stage.tap for stage in layout.stages]
    read: dict[str, Tensor] = {}

    def keep(module: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            read[module] = output.clone()
            return read[module]

        return hook

    for tap in taps:
        network.get_submodule(tap.module).register_forward_hook(keep(tap.module))
    how = readings(network(torch.rand(1, 3, 224, 224))[0, 0], read)
    early, mid, late = (
        how[stage.tap.module]
        for position in (layout.early, layout.mid, layout.late)
        for stage in layout.stages
        if stage.label == position
    )
    assert (early.stride, mid.stride, late.stride) == NAMED[row.name]
    averaged = row.family not in {"vgg", "vit"}
    assert (early.averaged, mid.averaged, late.averaged) == (False, False, averaged)


def test_each_cell_gets_the_mean_of_its_block() -> None:
    gradients = torch.arange(16.0).view(1, 1, 4, 4)
    expected = torch.tensor([[2.5, 2.5, 4.5, 4.5]] * 2 + [[10.5, 10.5, 12.5, 12.5]] * 2)
    torch.testing.assert_close(over_blocks(gradients, 2)[0, 0], expected)
    assert over_blocks(gradients, 1) is gradients


@pytest.mark.parametrize(("height", "width"), [(7, 7), (4, 5), (1, 3), (9, 2)])
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_sums_do_not_change_on_any_grid(height: int, width: int, stride: int) -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
    averaged = over_blocks(gradients, stride)
    assert averaged.shape == gradients.shape
    torch.testing.assert_close(averaged.sum((2, 3)), gradients.sum((2, 3)))


@pytest.mark.parametrize("taps", ["rectified", "raw"])
def test_maps_are_made_of_averaged_gradients_and_raw_ones_are_not(taps: Taps) -> None:
    network = small_network()
    explainer = Explainer(classifier_of(network), device="cpu", precision="float32")
    batch = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    convolution, *after = network.mid.children()
    raw = convolution(network.early(batch)).detach().requires_grad_()
    tapped = raw if taps == "raw" else nn.Sequential(*after)(raw).detach().requires_grad_()
    mid = nn.Sequential(*after)(tapped) if taps == "raw" else tapped
    score = network.head(network.pool(network.late(mid)).flatten(1))[:, 1].sum()
    (gradients,) = torch.autograd.grad(score, tapped)
    if taps == "rectified":
        means = functional.avg_pool2d(gradients, 2)
        gradients = means.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = (gradients.relu() * tapped.detach()).sum(1).relu()
    options = CamOptions(method="layercam", layers=("mid",), taps=taps)
    for answer, cam in zip(explainer.explain_batch(batch, options, [1, 1]), expected, strict=True):
        layer = answer.layer("mid")
        assert layer.block == (1 if taps == "raw" else 2)
        assert layer.maximum == pytest.approx(float(cam.max()), rel=1e-4)
        torch.testing.assert_close(
            torch.from_numpy(layer.values), cam / cam.max(), atol=1e-4, rtol=0
        )


def test_maps_that_need_no_gradients_are_of_none_averaged() -> None:
    explainer = Explainer(classifier_of(small_network()), device="cpu", precision="float32")
    batch = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    explainer.explain_batch(batch, CamOptions())
    blocks: tuple[tuple[Method, int], ...] = (("eigencam", 1), ("gradcam", 2))
    for method, block in blocks:
        options = CamOptions(method=method, layers=("early",), fused=True)
        [answer] = explainer.explain_batch(batch, options)
        assert (answer.layer("early").block, answer.layer("fused").block) == (block, 2)

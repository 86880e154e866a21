"""Where networks without a row are tapped: each rule on a network made for it, then real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown, InvalidOption
from cam_engine.maps.explainer import Explainer
from cam_engine.maps.grids import grids_of
from cam_engine.models.architectures import Layout, Sign, Stage, Tap
from cam_engine.models.loading import load_classifier
from cam_engine.models.tracing.layouts import traced_layout
from cam_engine.options import CamOptions

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64
SQUARE = (SIDE, SIDE)
SIGNED, RELU_NEXT, NONNEGATIVE = Sign.SIGNED, Sign.RELU_NEXT, Sign.NONNEGATIVE

Network = TypeVar("Network", bound=nn.Module)


def seeded(make: Callable[[], Network]) -> Network:
    torch.manual_seed(0)
    return make().eval()


def taps(layout: Layout) -> dict[str, Tap]:
    by_label = {stage.label: stage.tap for stage in layout.stages}
    return {name: by_label[getattr(layout, name)] for name in ("early", "mid", "late")}


def modules(layout: Layout) -> list[str]:
    return [tap.module for tap in taps(layout).values()]


def signs(layout: Layout) -> list[Sign]:
    return [tap.sign for tap in taps(layout).values()]


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Residual(nn.Module):
    """relu(x + conv(relu(bn(conv(x))))), all in place; a strided one projects x."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride) if stride > 1 else None

    def forward(self, images: Tensor) -> Tensor:
        inside = self.conv2(self.relu(self.bn1(self.conv1(images))))
        inside += images if self.shortcut is None else self.shortcut(images)
        answer: Tensor = self.relu(inside)
        return answer


class PreActivation(nn.Module):
    """x + conv(relu(bn(x)))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs)
        self.conv = convolution(inputs, outputs, 2)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        inside = self.conv(nn.functional.relu(self.bn(images), inplace=True))
        answer: Tensor = self.shortcut(images) + inside
        return answer


class Pooled(nn.Module):
    """Stages, global average pooling, a linear head."""

    def __init__(self, *stages: nn.Module, channels: int = 8) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        for stage in self.stages:
            images = stage(images)
        logits: Tensor = self.head(images.mean((2, 3)))
        return logits


def residual_network() -> Pooled:
    return Pooled(
        convolution(3, 4, 4),
        *(nn.Sequential(Residual(n, m, 2), Residual(m, m, 1)) for n, m in ((4, 8), (8, 8), (8, 8))),
    )


def test_residual_stages_are_tapped_whole_after_their_relu() -> None:
    layout = traced_layout(seeded(residual_network), SQUARE)
    assert modules(layout) == ["stages.1", "stages.2", "stages.3"]
    assert signs(layout) == [NONNEGATIVE] * 3


class SideWay(Pooled):
    """What `side` makes of the finest grid is added to it."""

    def __init__(self) -> None:
        super().__init__(convolution(3, 8, 8), convolution(8, 8, 2), convolution(8, 8, 2))
        self.side = convolution(8, 8)

    def forward(self, images: Tensor) -> Tensor:
        early = self.stages[0](images)
        late = self.stages[2](self.stages[1](early + self.side(early)))
        logits: Tensor = self.head(late.mean((2, 3)))
        return logits


def test_what_a_way_leads_past_is_not_tapped() -> None:
    """By its name and its place `side` would be the better choice."""
    layout = traced_layout(seeded(SideWay), SQUARE)
    assert modules(layout) == ["stages.0", "stages.1", "stages.2"]


def test_before_activation_the_sum_of_both_ways_is_signed() -> None:
    network = seeded(
        lambda: Pooled(
            convolution(3, 4, 4), PreActivation(4, 8), PreActivation(8, 8), PreActivation(8, 8)
        )
    )
    layout = traced_layout(network, SQUARE)
    assert modules(layout) == ["stages.1", "stages.2", "stages.3"]
    assert signs(layout) == [SIGNED] * 3


def norm_then_relu(*, inplace: bool) -> Pooled:
    """The ReLU is a function, so that the norm is the last module of its grid."""

    class NormThenRelu(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.conv = convolution(inputs, outputs, 2)
            self.bn = nn.BatchNorm2d(outputs)

        def forward(self, images: Tensor) -> Tensor:
            answer: Tensor = self.bn(self.conv(images))
            return answer

    class Network(Pooled):
        def forward(self, images: Tensor) -> Tensor:
            for stage in self.stages:
                images = nn.functional.relu(stage(images), inplace=inplace)
            logits: Tensor = self.head(images.mean((2, 3)))
            return logits

    return Network(convolution(3, 4, 4), NormThenRelu(4, 8), NormThenRelu(8, 8), NormThenRelu(8, 8))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_relu_that_comes_next_is_seen_also_in_place(inplace: bool) -> None:
    layout = traced_layout(seeded(lambda: norm_then_relu(inplace=inplace)), SQUARE)
    assert modules(layout) == ["stages.1", "stages.2", "stages.3"]
    assert signs(layout) == [RELU_NEXT] * 3


class ChannelsLast(nn.Module):
    """(N, h, w, C) between its stages, as Swin keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, 12, 8)
        self.mid = nn.Linear(4 * 12, 12)
        self.late = nn.Linear(4 * 12, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, images: Tensor) -> Tensor:
        cells = self.mid(_two_by_two(self.stem(images).permute(0, 2, 3, 1)))
        cells = self.late(_two_by_two(cells))
        logits: Tensor = self.head(cells.mean((1, 2)))
        return logits


def _two_by_two(cells: Tensor) -> Tensor:
    count, height, width, channels = cells.shape
    parts = cells.reshape(count, height // 2, 2, width // 2, 2, channels)
    return parts.movedim(2, 3).flatten(3)


def test_channels_last_are_told_from_channels_first() -> None:
    layout = traced_layout(seeded(ChannelsLast), SQUARE)
    assert {name: (tap.module, tap.channels) for name, tap in taps(layout).items()} == {
        "early": ("stem", None),
        "mid": ("mid", 12),
        "late": ("late", 12),
    }


class Mixing(nn.Module):
    """(N, T, C): a block that looks at all tokens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = nn.MultiheadAttention(channels, 2, batch_first=True)
        self.mlp = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False)[0]
        answer: Tensor = tokens + self.mlp(tokens).tanh()
        return answer


class Tokens(nn.Module):
    """A transformer. prefix: tokens before the grid's; the head reads the first of all, or the mean
    of the grid's. order: what is done to them before the blocks.
    """

    def __init__(
        self, prefix: int, *, patch: int = 8, pool: str = "mean", order: Tensor | None = None
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, patch, stride=patch)
        self.prefix = nn.Parameter(torch.randn(1, prefix, 16))
        self.blocks = nn.Sequential(*(Mixing(16) for _ in range(6)))
        self.head = nn.Linear(16, 3)
        self.pool = pool
        self.order = order

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        if self.order is not None:
            tokens = tokens[:, self.order]
        tokens = self.blocks(torch.cat([self.prefix.expand(len(images), -1, -1), tokens], 1))
        chosen = tokens[:, 0] if self.pool == "first" else tokens[:, self.prefix.shape[1] :].mean(1)
        logits: Tensor = self.head(chosen)
        return logits


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_tokens_before_the_grid_are_counted(prefix: int) -> None:
    layout = traced_layout(seeded(lambda: Tokens(prefix)), SQUARE)
    assert modules(layout) == ["blocks.1", "blocks.3", "blocks.5"]
    assert {(tap.tokens, tap.grid) for tap in taps(layout).values()} == {(prefix, (8, 8))}
    assert signs(layout) == [SIGNED] * 3


@pytest.mark.parametrize(("size", "grid"), [((64, 96), (8, 12)), ((120, 48), (15, 6))])
def test_tokens_of_an_image_that_is_not_square(
    size: tuple[int, int], grid: tuple[int, int]
) -> None:
    network = seeded(lambda: Tokens(1))
    layout = traced_layout(network, size)
    assert {(tap.tokens, tap.grid) for tap in taps(layout).values()} == {(1, grid)}
    assert [one.grid for one in grids_of(network, layout, size)] == [grid] * 3


def test_where_the_class_token_is_read_the_last_block_is_left_out() -> None:
    """Nothing flows from the logits to the other tokens that the last block has made."""
    layout = traced_layout(seeded(lambda: Tokens(1, pool="first")), SQUARE)
    assert modules(layout) == ["blocks.0", "blocks.2", "blocks.4"]


def windows(side: int, window: int) -> Tensor:
    """Where each token of a grid is from, window by window."""
    count = side // window
    cells = torch.arange(side**2).reshape(count, window, count, window)
    return cells.transpose(1, 2).flatten()


def test_tokens_that_do_not_lie_as_in_the_image_are_not_tapped() -> None:
    """A fold of them to the grid would show each cell in another's place."""
    for order in (windows(16, 4), windows(16, 2), torch.arange(256).flip(0)):
        torch.manual_seed(0)
        sorted_anew = Tokens(0, patch=4, order=order).eval()
        with pytest.raises(ArchitectureUnknown, match="lie as in the image"):
            traced_layout(sorted_anew, SQUARE)
    in_order = traced_layout(seeded(lambda: Tokens(0, patch=4, order=windows(16, 1))), SQUARE)
    assert modules(in_order)[-1] == "blocks.5"


class Windows(nn.Module):
    """A grid cut into windows that lie side by side in the batch, and put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = convolution(8, 8)

    def forward(self, images: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        windows = images.reshape(count, channels, 2, height // 2, 2, width // 2)
        windows = windows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        parts = self.inside(windows).reshape(count, 2, 2, channels, height // 2, width // 2)
        whole: Tensor = parts.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
        return whole


def test_windows_side_by_side_are_no_images() -> None:
    """Half of a grid of 8 px has the cells of one of 16 px, which there is none of."""
    network = seeded(
        lambda: Pooled(convolution(3, 8, 4), convolution(8, 8, 2), Windows(), convolution(8, 8, 4))
    )
    assert modules(traced_layout(network, SQUARE)) == ["stages.0", "stages.2", "stages.3"]


def test_three_coarsest_grids_where_none_is_of_32_pixels() -> None:
    strides = (4, 2, 1, 1, 2)
    network = seeded(lambda: Pooled(*(convolution(3 if s == 4 else 8, 8, s) for s in strides)))
    assert modules(traced_layout(network, SQUARE)) == ["stages.0", "stages.3", "stages.4"]


def test_a_third_two_thirds_and_the_end_where_all_grids_are_alike() -> None:
    blocks = [convolution(8, 8) for _ in range(8)]
    layout = traced_layout(seeded(lambda: Pooled(convolution(3, 8, 8), *blocks)), SQUARE)
    assert modules(layout) == ["stages.2", "stages.5", "stages.8"]


def test_what_a_library_records_is_taken_and_its_signs_are_seen() -> None:
    network = seeded(residual_network)
    recorded = tuple(
        Stage(f"block{n}", f"stages.{n}.0", Tap(f"stages.{n}.0", SIGNED)) for n in (1, 2, 3)
    )
    layout = traced_layout(network, SQUARE, Layout(recorded, "block1", "block2", "block3"))
    assert (layout.early, layout.late) == ("block1", "block3")
    assert modules(layout) == ["stages.1.0", "stages.2.0", "stages.3.0"]
    assert signs(layout) == [NONNEGATIVE] * 3


def test_a_record_that_does_not_reach_the_logits_is_not_taken() -> None:
    network = seeded(lambda: Tokens(1, pool="first"))
    stages = tuple(Stage(f"b{n}", f"blocks.{n}", Tap(f"blocks.{n}", SIGNED)) for n in (1, 3, 5))
    layout = traced_layout(network, SQUARE, Layout(stages, "b1", "b3", "b5"))
    assert modules(layout)[-1] == "blocks.4"


class Auxiliary(Pooled):
    """A head for training that also runs in eval mode, and whose answer nobody reads."""

    def __init__(self) -> None:
        super().__init__(
            convolution(3, 8, 8), convolution(8, 8, 2), convolution(8, 8, 2), channels=8
        )
        self.auxiliary = nn.Sequential(convolution(8, 8), nn.ReLU(), convolution(8, 3))

    def forward(self, images: Tensor) -> Tensor:
        late = self.stages[2](self.stages[1](self.stages[0](images)))
        self.auxiliary(late)
        logits: Tensor = self.head(late.mean((2, 3)))
        return logits


def test_a_head_that_the_logits_do_not_depend_on_is_not_tapped() -> None:
    layout = traced_layout(seeded(Auxiliary), SQUARE)
    assert modules(layout) == ["stages.0", "stages.1", "stages.2"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 3)), "nothing can be mapped"),
        (lambda: nn.Sequential(convolution(3, 3), nn.ReLU()), "does not answer with logits"),
    ],
)
def test_without_a_grid_or_logits_it_is_said(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ArchitectureUnknown, match=said):
        traced_layout(seeded(make), SQUARE)


def test_damaged_weights_are_left_to_those_who_see_the_logits() -> None:
    """NaN everywhere: where cells lie cannot be seen, and is not what is wrong."""
    network = residual_network().eval()
    nn.init.constant_(network.get_parameter("stages.0.bias"), math.nan)
    assert modules(traced_layout(network, SQUARE)) == ["stages.1", "stages.2", "stages.3"]


def test_the_network_is_left_as_it_was() -> None:
    network = seeded(residual_network).requires_grad_(requires_grad=False)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    traced_layout(network, SQUARE)
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


REAL = {
    ("torchvision", "squeezenet1_1"): (("features.4", 55), ("features.7", 27), ("features", 13)),
    ("torchvision", "swin_t"): (("features.3", 28), ("features.5", 14), ("features.7.1.norm1", 7)),
    ("torchvision", "swin_v2_t"): (("features.3", 32), ("features.5", 16), ("features", 8)),
    ("timm", "swin_tiny_patch4_window7_224"): (
        ("layers.1", 28),
        ("layers.2", 14),
        ("layers.3.blocks.1.norm1", 7),
    ),
    ("torchvision", "inception_v3"): (("Mixed_5d", 35), ("Mixed_6e", 17), ("Mixed_7c", 8)),
    ("timm", "hrnet_w18_small"): (
        ("incre_modules.1", 28),
        ("incre_modules.2", 14),
        ("final_layer", 7),
    ),
    ("timm", "levit_128s"): (("stages.0", 14), ("stages.1", 7), ("stages.2", 4)),
    ("timm", "cait_xxs24_224"): (
        ("blocks.7.norm1", 14),
        ("blocks.15.norm1", 14),
        ("blocks.23.norm1", 14),
    ),
    ("timm", "tnt_s_patch16_224"): (
        ("blocks.3.norm_out", 14),
        ("blocks.7.norm_out", 14),
        ("blocks.11.norm_out", 14),
    ),
    ("timm", "xception"): (("block3.rep.0", 37), ("block12.rep.0", 19), ("act4", 10)),
    ("timm", "hiera_tiny_224"): (("patch_embed.proj", 56), ("patch_embed", 56), ("blocks.11", 7)),
}


@pytest.mark.parametrize(("library", "name"), REAL)
def test_real_networks_from_a_file_to_their_maps(library: str, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if library == "torchvision":
        options = {"init_weights": False} if name == "inception_v3" else {}
        network = torchvision.models.get_model(name, weights=None, num_classes=3, **options)
    else:
        current = "legacy_xception" if name == "xception" else name
        network = timm.create_model(current, num_classes=3)
    torch.save({"model_name": name, "state_dict": network.state_dict()}, tmp_path / "best.pt")
    classifier = load_classifier(tmp_path / "best.pt")
    size = classifier.preprocessing.input_size
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    explainer = Explainer(classifier, device="cpu", precision="float32")
    [explanation] = explainer.explain([pixels], CamOptions(clahe=False))
    expected = REAL[library, name]
    assert modules(classifier.layout) == [module for module, _ in expected]
    assert [layer.grid for layer in explanation.layers] == [(side, side) for _, side in expected]


def saved(folder: Path, network: nn.Module, name: str, size: tuple[int, int]) -> Path:
    content = {"model_name": name, "state_dict": network.state_dict(), "input_size": list(size)}
    torch.save(content, folder / "best.pt")
    return folder / "best.pt"


@pytest.mark.parametrize(
    ("name", "size", "grids"),
    [
        ("resnet26", (96, 96), [(12, 12), (6, 6), (3, 3)]),
        ("convnext_atto", (600, 448), [(75, 56), (37, 28), (18, 14)]),
        ("vit_tiny_patch16_224", (160, 224), [(10, 14)] * 3),
        ("swin_tiny_patch4_window7_224", (320, 448), [(40, 56), (20, 28), (10, 14)]),
        ("maxvit_nano_rw_256", (160, 224), [(20, 28), (10, 14), (5, 7)]),
    ],
)
def test_sizes_that_networks_are_not_made_for_at_first(
    name: str, size: tuple[int, int], grids: list[tuple[int, int]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {} if name.startswith(("res", "conv")) else {"img_size": size}
    network = timm.create_model(name, num_classes=3, **options).eval()
    classifier = load_classifier(saved(tmp_path, network, name, size))
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(classifier.network(image), network(image))
    found = grids_of(classifier.network, classifier.layout, size)
    assert [one.grid for one in found] == grids


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("hrnet_w18_small", (600, 448), "takes no images of 600x448 px: The size of tensor a"),
        ("levit_128s", (160, 224), "takes images of 224x224 px only"),
    ],
)
def test_sizes_that_a_network_cannot_take_are_said_in_a_sentence(
    name: str, size: tuple[int, int], said: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, timm.create_model(name, num_classes=3), name, size)
    with pytest.raises(InvalidOption, match=said):
        load_classifier(path)

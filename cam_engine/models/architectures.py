"""The table of networks that are known: how each is built, where its head is, where it is tapped.

A new architecture is a new row of `ARCHITECTURES`. Grids in this file are those at 224 x 224 px.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from itertools import accumulate
from typing import Literal

# "file": as the file itself has it.
Naming = Literal["torchvision", "timm", "transformers", "file"]
NAMINGS: tuple[Naming, ...] = ("torchvision", "timm")  # of networks that are built by their names


class Sign(Enum):
    """What the CAM formulas may assume of a tapped output's sign."""

    NONNEGATIVE = "nonnegative"  # already rectified: it ends in a ReLU
    RELU_NEXT = "relu-next"  # the network's next step is a ReLU, which the tap takes on
    SIGNED = "signed"  # stays signed: Grad-CAM++ and LayerCAM use relu(A), the others keep A


@dataclass(frozen=True, slots=True)
class Tap:
    """A module whose output is kept.

    module: dotted name.
    tokens: where the output is (N, T, C), the number of tokens before those of the image's grid.
    channels: C where the output is (N, h, w, C); None where it is (N, C, h, w).
    grid: (h, w) of the tokens, where it is known; else they are a square.
    """

    module: str
    sign: Sign
    tokens: int | None = None
    channels: int | None = None
    grid: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a network: the label shown, the block itself (dotted), the rectified tap."""

    label: str
    raw: str
    tap: Tap


@dataclass(frozen=True, slots=True)
class Layout:
    """A network's stages in the order they run; early, mid and late are labels of three of them.

    image_size: (height, width) in pixels that the network takes; None where it takes any.
    """

    stages: tuple[Stage, ...]
    early: str
    mid: str
    late: str
    image_size: tuple[int, int] | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Variant:
    """An architecture in one library's naming: its builder, its last Linear (dotted), its taps."""

    builder: str
    head: str
    layout: Layout


@dataclass(frozen=True, slots=True)
class Architecture:
    """A row. Both variants compute the same stages, under the same labels, on the same grids.

    fixed_size: the network takes 224 x 224 px only.
    """

    name: str
    family: str
    torchvision: Variant
    timm: Variant
    fixed_size: bool = False

    def variant(self, naming: Naming) -> Variant:
        """The architecture as that library names it."""
        return self.torchvision if naming == "torchvision" else self.timm


def find_architecture(name: str) -> Architecture | None:
    """The row of that name, in either library's spelling, or None.

    Case, "-" and "_", a "timm/" or "tv_" before and a ".tag" after the name do not matter.
    """
    return _rows_by_name().get(_squashed(name))


def supported() -> str:
    """What to choose from, for a message."""
    return f"{', '.join(row.name for row in ARCHITECTURES)}, and timm's networks by timm's names"


def transformer_layout(
    depth: int, norm: str, *, tokens: int, grid: tuple[int, int] | None = None
) -> Layout:
    """Blocks tapped, raw or not, at their first norm: the last block's output gets no gradient."""
    modules = {f"block{n}": norm.format(n - 1) for n in range(1, depth + 1)}
    stages = tuple(
        Stage(k, m, Tap(m, Sign.SIGNED, tokens=tokens, grid=grid)) for k, m in modules.items()
    )
    early, mid, late = (stages[max(depth * third // 3, 1) - 1].label for third in (1, 2, 3))
    return Layout(stages, early, mid, late)


def _squashed(name: str) -> str:
    last = name.strip().lower().rsplit("/", 1)[-1].removeprefix("torchvision.models.")
    untagged = last.split(".", 1)[0].removeprefix("tv_")
    return untagged.replace("-", "").replace("_", "").replace(" ", "")


@cache
def _rows_by_name() -> dict[str, Architecture]:
    return {
        _squashed(name): row
        for row in ARCHITECTURES
        for name in (row.name, row.torchvision.builder, row.timm.builder)
    }


def _untouched(sign: Sign, modules: Mapping[str, str]) -> tuple[Stage, ...]:
    """Stages, label -> module, that are tapped at their own output."""
    return tuple(Stage(label, module, Tap(module, sign)) for label, module in modules.items())


def _densenet(depth: int) -> Architecture:
    """A block's own output is 52-60 % negative: its norm and ReLU live in the next module."""

    def layout(transition: str, last: Sign) -> Layout:
        taps = [Tap(f"features.transition{n}.{transition}", Sign.NONNEGATIVE) for n in (1, 2, 3)]
        taps.append(Tap("features.norm5", last))
        stages = tuple(
            Stage(f"denseblock{n}", f"features.denseblock{n}", tap)
            for n, tap in enumerate(taps, start=1)
        )
        return Layout(stages, "denseblock2", "denseblock3", "denseblock4")

    name = f"densenet{depth}"
    return Architecture(
        name,
        "densenet",
        Variant(name, "classifier", layout("relu", Sign.RELU_NEXT)),
        Variant(name, "classifier", layout("norm", Sign.NONNEGATIVE)),
    )


def _resnet(depth: int) -> Architecture:
    stages = _untouched(Sign.NONNEGATIVE, {f"layer{n}": f"layer{n}" for n in range(1, 5)})
    name = f"resnet{depth}"
    variant = Variant(name, "fc", Layout(stages, "layer2", "layer3", "layer4"))
    return Architecture(name, "resnet", variant, variant)


def _inverted_residuals(
    family: str,
    names: tuple[str, str],
    head: str,
    last_of_block: Sequence[int],
    positions: tuple[int, int, int],
) -> Architecture:
    """EfficientNet and MobileNet: linear bottlenecks, without the head's 1 x 1 convolution.

    names: torchvision's and timm's. last_of_block: torchvision's index in `features` of each
    block's end. positions: numbers, from 1, of the early, mid and late block.
    """
    early, mid, late = (f"block{n}" for n in positions)

    def layout(modules: Sequence[str]) -> Layout:
        labelled = {f"block{n}": module for n, module in enumerate(modules, start=1)}
        return Layout(_untouched(Sign.SIGNED, labelled), early, mid, late)

    in_timm = [f"blocks.{n}" for n in range(len(last_of_block))]
    return Architecture(
        names[0],
        family,
        Variant(names[0], head, layout([f"features.{n}" for n in last_of_block])),
        Variant(names[1], "classifier", layout(in_timm)),
    )


def _efficientnet(number: int) -> Architecture:
    name = f"efficientnet_b{number}"
    return _inverted_residuals(
        "efficientnet", (name, name), "classifier.1", range(1, 8), positions=(3, 5, 7)
    )


def _convnext(size: str) -> Architecture:
    def layout(module: str, factor: int) -> Layout:
        modules = {f"stage{n}": f"{module}.{factor * (n - 1) + factor - 1}" for n in range(1, 5)}
        return Layout(_untouched(Sign.SIGNED, modules), "stage2", "stage3", "stage4")

    name = f"convnext_{size}"
    return Architecture(
        name,
        "convnext",
        Variant(name, "classifier.2", layout("features", 2)),
        Variant(name, "head.fc", layout("stages", 1)),
    )


def _vgg(name: str, convolutions: tuple[int, ...]) -> Architecture:
    """Each block's last ReLU, before the pool; raw is what that ReLU reads."""
    modules_per_conv = 3 if name.endswith("_bn") else 2
    ends = accumulate(modules_per_conv * count + 1 for count in convolutions)
    labels = [f"conv{block}_{count}" for block, count in enumerate(convolutions, start=1)]
    stages = tuple(
        Stage(label, f"features.{end - 3}", Tap(f"features.{end - 2}", Sign.NONNEGATIVE))
        for label, end in zip(labels, ends, strict=True)
    )
    layout = Layout(stages, *labels[-3:])
    return Architecture(
        name, "vgg", Variant(name, "classifier.6", layout), Variant(name, "head.fc", layout)
    )


def _vit_b_16() -> Architecture:
    norm = "encoder.layers.encoder_layer_{}.ln_1"
    return Architecture(
        "vit_b_16",
        "vit",
        Variant("vit_b_16", "heads.head", transformer_layout(12, norm, tokens=1)),
        Variant(
            "vit_base_patch16_224",
            "head",
            transformer_layout(12, "blocks.{}.norm1", tokens=1),
        ),
        fixed_size=True,
    )


ARCHITECTURES: tuple[Architecture, ...] = (
    *(_densenet(depth) for depth in (121, 161, 169, 201)),
    *(_resnet(depth) for depth in (18, 34, 50, 101, 152)),
    *(_efficientnet(number) for number in range(8)),
    _inverted_residuals(
        "mobilenet",
        ("mobilenet_v2", "mobilenetv2_100"),
        "classifier.1",
        last_of_block=(1, 3, 6, 10, 13, 16, 17),
        positions=(3, 5, 7),
    ),
    _inverted_residuals(
        "mobilenet",
        ("mobilenet_v3_small", "mobilenetv3_small_100"),
        "classifier.3",
        last_of_block=(1, 3, 6, 8, 11),
        positions=(2, 4, 5),
    ),
    _inverted_residuals(
        "mobilenet",
        ("mobilenet_v3_large", "mobilenetv3_large_100"),
        "classifier.3",
        last_of_block=(1, 3, 6, 10, 12, 15),
        positions=(3, 5, 6),
    ),
    _convnext("tiny"),
    _convnext("small"),
    _vgg("vgg16", (2, 2, 3, 3, 3)),
    _vgg("vgg16_bn", (2, 2, 3, 3, 3)),
    _vgg("vgg19", (2, 2, 4, 4, 4)),
    _vgg("vgg19_bn", (2, 2, 4, 4, 4)),
    _vit_b_16(),
)

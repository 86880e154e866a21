"""Networks with random weights, built by torchvision or timm, and what timm records of its own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
import torchvision
from torch import nn

from cam_engine.errors import ArchitectureUnknown
from cam_engine.models.architectures import (
    Layout,
    Naming,
    Sign,
    Stage,
    Tap,
    find_architecture,
    supported,
    transformer_layout,
)

AUXILIARY = ("AuxLogits", "aux1", "aux2")  # heads that take part in training only
_MARKED_CLASSES = 7  # no layer of a network has so many outputs by itself
_OF_FIXED_SIZE = ("vit_", "maxvit")
_FIXED_SIDE = 224  # pixels
# Of what a block of a transformer attends to; in TNT (Han et al. 2021) patches, to which the pixels
# within them have been added.
_FIRST_NORMS = ("norm1", "norm_out")
_REDUCTIONS = (8, 16, 32)  # pixels a cell that give 28, 14 and 7 cells a side at 224 px


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a library records of a network outside the table.

    head: dotted name of its last layer. input_size: (height, width) in pixels. mean, std: on the
    scale 0..1. fixed_size: the network takes images of the size only that it was built for.
    """

    head: str
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_size: bool


def find_network(name: str) -> str | None:
    """The name of a network outside the table under which a library builds it, or None.

    timm's own names, also deprecated ones, else torchvision's.
    """
    return find_timm_model(name) or find_torchvision_model(name)


def libraries_of(name: str) -> tuple[Naming, ...]:
    """Which libraries build a network of that name, from `find_network`; torchvision first."""
    timm: tuple[Naming, ...] = ("timm",) if find_timm_model(name) else ()
    return ("torchvision", *timm) if find_torchvision_model(name) else timm


def torchvision_models(module: str = "") -> list[str]:
    """Names of all classifiers of torchvision.

    module: only those of that module of it, "torchvision.models.vgg".
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if not module.startswith("torchvision.models."):
        return list(known)
    return [n for n in known if torchvision.models.get_model_builder(n).__module__ == module]


def find_torchvision_model(name: str) -> str | None:
    """The name under which torchvision builds a classifier, or None."""
    last = name.strip().lower().removeprefix("torchvision.models.").removeprefix("tv_")
    wanted = last.replace("-", "_")
    known = torchvision.models.list_models(module=torchvision.models)
    return wanted if wanted in known else None


def find_timm_model(name: str) -> str | None:
    """The name under which timm builds a network, with its tag if timm knows that too, or None.

    A name that timm has deprecated becomes the one of today.
    """
    timm = _timm()
    wanted = _plain_name(current_timm_name(name) or name)
    untagged = wanted.split(".", 1)[0]
    if not untagged or not timm.is_model(untagged):
        return None
    return wanted if wanted in timm.list_pretrained(f"{untagged}.*") else untagged


def current_timm_name(name: str) -> str | None:
    """What timm calls a network by now whose name it has deprecated ("xception"); else None."""
    registry = importlib.import_module("timm.models._registry")
    # timm tells nobody else: building such a network maps its name, with a warning.
    deprecated: Mapping[str, str | None] = getattr(registry, "_deprecated_models", {})
    return deprecated.get(_plain_name(name))


def build(
    name: str, naming: Naming, num_classes: int, image_size: tuple[int, int] | None = None
) -> nn.Module:
    """A network with random weights, on the device of the `torch.device` block around it.

    name: a row's name, or any of the library's. image_size: (height, width) in pixels, for networks
    that are built for one. Raises ArchitectureUnknown.
    """
    row = find_architecture(name)
    if naming == "torchvision":
        builder = row.torchvision.builder if row is not None else find_torchvision_model(name)
        if builder is not None:
            return _torchvision_model(builder, num_classes, image_size)
    timm_name = row.timm.builder if row is not None else find_timm_model(name)
    if naming == "torchvision" or timm_name is None:
        raise ArchitectureUnknown(
            f"{naming} network {name!r} is unknown; supported are {supported()}"
        )
    return _timm_model(timm_name, num_classes, image_size)


def skeleton_of(
    name: str, naming: Naming, num_classes: int, image_size: tuple[int, int] | None = None
) -> nn.Module:
    """As `build`, without memory for weights where the network's code allows that."""
    make = partial(build, name, naming, num_classes, image_size)
    try:
        with torch.device("meta"):
            return make()
    except (NotImplementedError, RuntimeError):  # code that looks at values while it builds
        return make()


def is_depthwise(network: nn.Module) -> bool:
    """True where some convolution works on each channel alone."""
    return any(
        isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        for module in network.modules()
    )


def config_of(name: str, naming: Naming) -> NetworkConfig:
    """What its library records of a network, by a name from `find_network` or of a row.

    Raises ArchitectureUnknown.
    """
    return _torchvision_config(name) if naming == "torchvision" else timm_config(name)


def timm_config(name: str) -> NetworkConfig:
    """Timm's record of a network, by a name from `find_timm_model`. Raises ArchitectureUnknown."""
    config = _timm().get_pretrained_cfg(name)
    if config is None:
        raise ArchitectureUnknown(f"timm records nothing of {name}; supported are {supported()}")
    heads = config.classifier if isinstance(config.classifier, tuple) else (config.classifier,)
    if not heads[0]:
        raise ArchitectureUnknown(f"{name} has no classifier; supported are {supported()}")
    _, height, width = config.input_size
    fixed = bool(config.fixed_input_size)
    return NetworkConfig(heads[0], (height, width), config.mean, config.std, fixed)


@cache
def _torchvision_config(name: str) -> NetworkConfig:
    """By how its own weights were trained, and by which of its layers has an output a class."""
    builder = find_torchvision_model(name)
    if builder is None:
        raise ArchitectureUnknown(f"torchvision has no {name}; supported are {supported()}")
    fixed = builder.startswith(_OF_FIXED_SIZE)
    transforms = torchvision.models.get_model_weights(builder).DEFAULT.transforms()
    side = transforms.crop_size[0] if not fixed else _FIXED_SIDE
    network = skeleton_of(builder, "torchvision", _MARKED_CLASSES)
    heads = [
        module_name
        for module_name, module in network.named_modules()
        if getattr(module, "out_features", getattr(module, "out_channels", 0)) == _MARKED_CLASSES
        and not module_name.startswith(AUXILIARY)
    ]
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    return NetworkConfig(heads[-1], (side, side), mean, std, fixed)


def recorded_layout(network: nn.Module) -> Layout | None:
    """The layout of a timm network from what timm records of it; None where that is too little.

    CNNs: the last modules that reduce the image by 8, 16 and 32; where all have one grid, those at
    a third, two thirds and the end; else the last three recorded. Plain vision transformers: the
    first norm of blocks at a third, two thirds and the end, since the last block's own output gets
    no gradient.
    """
    tokens = getattr(network, "num_prefix_tokens", None)
    blocks = getattr(network, "blocks", None)
    blocks = list(blocks) if isinstance(blocks, nn.Sequential | nn.ModuleList) else []
    norms = (norm for norm in _FIRST_NORMS if all(hasattr(block, norm) for block in blocks))
    norm = next(norms, None)
    if tokens is not None and blocks and norm is not None:
        grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
        return transformer_layout(
            len(blocks), f"blocks.{{}}.{norm}", tokens=int(tokens), grid=grid and tuple(grid)
        )
    recorded = _feature_info(network)
    if len(recorded) < len(_REDUCTIONS):
        return None
    by_reduction = {entry["reduction"]: module for module, entry in recorded.items()}
    chosen = [by_reduction.get(reduction) for reduction in _REDUCTIONS]
    modules = list(recorded)
    if len(by_reduction) == 1:  # one grid from the first to the last
        third = len(modules) / 3
        chosen = [modules[max(round(third * n), 1) - 1] for n in (1, 2, 3)]
    early, mid, late = (m for m in chosen if m) if all(chosen) else modules[-3:]
    stages = tuple(
        Stage(module, module, Tap(module, Sign.SIGNED)) for module, entry in recorded.items()
    )
    return Layout(stages, early, mid, late)


def before_last_window(layout: Layout, network: nn.Module) -> Layout:
    """The layout, a Swin's late layer being what its last attention reads; others as they are.

    In the last stage of a Swin (Liu et al. 2021) a window is usually the whole grid. What comes
    after its last attention is gathered from everywhere, and says little of its own cell
    (docs/trust.md). pytorch-grad-cam's guide taps the same norm. Version 2 has its norms after the
    attention, and stays as it is.
    """
    blocks = [
        name
        for name, module in network.named_modules()
        if type(module).__name__ == "SwinTransformerBlock" and hasattr(module, "norm1")
    ]
    if not blocks:
        return layout
    stages = tuple(
        replace(stage, tap=replace(stage.tap, module=f"{blocks[-1]}.norm1", sign=Sign.SIGNED))
        if stage.label == layout.late
        else stage
        for stage in layout.stages
    )
    return replace(layout, stages=stages)


def _feature_info(network: nn.Module) -> dict[str, Mapping[str, Any]]:
    info = getattr(network, "feature_info", None) or []
    entries: Sequence[Mapping[str, Any]] = getattr(info, "info", info)
    modules = dict(network.named_modules())
    return {e["module"]: e for e in entries if e.get("module") and e["module"] in modules}


def _torchvision_model(
    builder: str, num_classes: int, image_size: tuple[int, int] | None
) -> nn.Module:
    options: dict[str, Any] = {}
    if builder.startswith("vit_") and image_size is not None and image_size[0] == image_size[1]:
        options["image_size"] = image_size[0]
    elif builder.startswith("maxvit") and image_size is not None:
        options["input_size"] = image_size
    elif builder in {"inception_v3", "googlenet"}:
        options["init_weights"] = False  # by scipy, for seconds; the weights are read anyway
    network: nn.Module = torchvision.models.get_model(
        builder, weights=None, num_classes=num_classes, **options
    )
    return network


def _timm_model(name: str, num_classes: int, image_size: tuple[int, int] | None) -> nn.Module:
    create = partial(_timm().create_model, name, pretrained=False, num_classes=num_classes)
    try:
        network: nn.Module = create() if image_size is None else create(img_size=image_size)
    except TypeError:  # not built for a size
        network = create()
    return network


def _plain_name(name: str) -> str:
    return name.strip().rsplit("/", 1)[-1].lower().replace("-", "_")


def _timm() -> Any:
    # Imported late: it takes more than a second, and torchvision's checkpoints do not need it.
    return importlib.import_module("timm")

"""Networks with random weights, built by torchvision or timm, and what timm records of its own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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

_REDUCTIONS = (8, 16, 32)  # pixels a cell that give 28, 14 and 7 cells a side at 224 px


@dataclass(frozen=True, slots=True)
class TimmConfig:
    """What timm records of a network outside the table.

    input_size: (height, width) in pixels. mean, std: on the scale 0..1. fixed_size: the network
    takes images of that size only.
    """

    head: str
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_size: bool


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


def build(name: str, naming: Naming, num_classes: int) -> nn.Module:
    """A network with random weights, on the device of the `torch.device` block around it.

    name: a row's name, or for naming "timm" any of timm's. Raises ArchitectureUnknown.
    """
    row = find_architecture(name)
    if naming == "torchvision" and row is not None:
        return _torchvision_model(row.torchvision.builder, num_classes)
    timm_name = row.timm.builder if row is not None else find_timm_model(name)
    if naming == "torchvision" or timm_name is None:
        raise ArchitectureUnknown(
            f"{naming} network {name!r} is unknown; supported are {supported()}"
        )
    network: nn.Module = _timm().create_model(timm_name, pretrained=False, num_classes=num_classes)
    return network


def is_depthwise(network: nn.Module) -> bool:
    """True where some convolution works on each channel alone."""
    return any(
        isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        for module in network.modules()
    )


def timm_config(name: str) -> TimmConfig:
    """Timm's record of a network, by a name from `find_timm_model`. Raises ArchitectureUnknown."""
    config = _timm().get_pretrained_cfg(name)
    if config is None:
        raise ArchitectureUnknown(f"timm records nothing of {name}; supported are {supported()}")
    heads = config.classifier if isinstance(config.classifier, tuple) else (config.classifier,)
    if not heads[0]:
        raise ArchitectureUnknown(f"{name} has no classifier; supported are {supported()}")
    _, height, width = config.input_size
    fixed = bool(config.fixed_input_size)
    return TimmConfig(heads[0], (height, width), config.mean, config.std, fixed)


def timm_layout(network: nn.Module) -> Layout:
    """The layout of a timm network that has no row, from what timm records of it.

    CNNs: the last modules that reduce the image by 8, 16 and 32, else the last three recorded.
    Plain vision transformers: the first norm of blocks at a third, two thirds and the end, since
    the last block's own output gets no gradient. Raises ArchitectureUnknown for other networks.
    """
    tokens = getattr(network, "num_prefix_tokens", None)
    blocks = getattr(network, "blocks", None)
    blocks = list(blocks) if isinstance(blocks, nn.Sequential | nn.ModuleList) else []
    if tokens is not None and blocks and all(hasattr(block, "norm1") for block in blocks):
        return transformer_layout(len(blocks), "blocks.{}.norm1", tokens=int(tokens))
    return _recorded_layout(network)


def _recorded_layout(network: nn.Module) -> Layout:
    recorded = _feature_info(network)
    if len(recorded) < len(_REDUCTIONS):
        raise ArchitectureUnknown(
            f"{type(network).__name__}: timm records {len(recorded)} feature maps of this network, "
            f"three are needed for early, mid and late; supported are {supported()}"
        )
    by_reduction = {entry["reduction"]: module for module, entry in recorded.items()}
    chosen = [by_reduction.get(reduction) for reduction in _REDUCTIONS]
    early, mid, late = (m for m in chosen if m) if all(chosen) else list(recorded)[-3:]
    stages = tuple(
        Stage(module, module, Tap(module, Sign.SIGNED, channels=entry["num_chs"]))
        for module, entry in recorded.items()
    )
    return Layout(stages, early, mid, late)


def _feature_info(network: nn.Module) -> dict[str, Mapping[str, Any]]:
    info = getattr(network, "feature_info", None) or []
    entries: Sequence[Mapping[str, Any]] = getattr(info, "info", info)
    modules = dict(network.named_modules())
    return {e["module"]: e for e in entries if e.get("module") and e["module"] in modules}


def _torchvision_model(builder: str, num_classes: int) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(
        builder, weights=None, num_classes=num_classes
    )
    return network


def _plain_name(name: str) -> str:
    return name.strip().rsplit("/", 1)[-1].lower().replace("-", "_")


def _timm() -> Any:
    # Imported late: it takes more than a second, and torchvision's checkpoints do not need it.
    return importlib.import_module("timm")

"""The grids of a network's layers, found without its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cam_engine.maps.taps import LayerTap
from cam_engine.maps.targets import plan_layers, spatial
from cam_engine.models.architectures import find_architecture
from cam_engine.models.networks import build, timm_layout
from cam_engine.options import STAGES


@dataclass(frozen=True, slots=True)
class LayerGrid:
    """One stage: "early", "mid" or "late", its label in the network, its (height, width) cells."""

    name: str
    label: str
    grid: tuple[int, int]


def layer_grids(
    architecture: str, class_count: int, input_size: tuple[int, int]
) -> tuple[LayerGrid, ...]:
    """Early, mid and late of a network for images of (height, width) pixels.

    The network is built and run on the meta device: no memory is filled, nothing is multiplied.
    Raises ArchitectureUnknown, or LayerNotSpatial where the images are too small for it.
    """
    row = find_architecture(architecture)
    with torch.device("meta"):
        network = build(architecture, "timm" if row is None else "torchvision", class_count).eval()
    layout = timm_layout(network) if row is None else row.torchvision.layout
    planned = plan_layers(STAGES, layout, network, "rectified")
    image = torch.empty(1, 3, *input_size, device="meta")
    with torch.no_grad(), LayerTap(network, [layer.tap.module for layer in planned]) as tap:
        network(image)
    shapes = [
        spatial(output, layer.tap).shape for output, layer in zip(tap.outputs, planned, strict=True)
    ]
    return tuple(
        LayerGrid(layer.name, layer.label, (shape[2], shape[3]))
        for layer, shape in zip(planned, shapes, strict=True)
    )

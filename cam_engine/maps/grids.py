"""The grids of a network's layers, found without its weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cam_engine.maps.taps import LayerTap
from cam_engine.maps.targets import plan_layers, spatial
from cam_engine.models.architectures import Layout, Naming, find_architecture
from cam_engine.models.networks import libraries_of, recorded_layout, skeleton_of
from cam_engine.models.tracing.layouts import traced_layout
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

    The network is built and run on the meta device where its code allows that: no memory is filled,
    nothing is multiplied. Raises ArchitectureUnknown, or LayerNotSpatial where the images are too
    small for it.
    """
    row = find_architecture(architecture)
    libraries = libraries_of(architecture) if row is None else ("torchvision",)
    naming: Naming = libraries[0] if libraries else "timm"  # which says that it knows none
    network = skeleton_of(architecture, naming, class_count, input_size).eval()
    network.requires_grad_(requires_grad=False)
    if row is None:
        layout = traced_layout(network, input_size, recorded_layout(network))
    else:
        layout = row.torchvision.layout
    return grids_of(network, layout, input_size)


def grids_of(
    network: nn.Module, layout: Layout, input_size: tuple[int, int]
) -> tuple[LayerGrid, ...]:
    """Early, mid and late of a network at hand, from one pass. Raises LayerNotSpatial."""
    planned = plan_layers(STAGES, layout, network, "rectified")
    image = torch.empty(1, 3, *input_size, device=next(network.parameters()).device)
    with torch.no_grad(), LayerTap(network, [layer.tap.module for layer in planned]) as tap:
        network(image)
    shapes = [
        spatial(output, layer.tap).shape for output, layer in zip(tap.outputs, planned, strict=True)
    ]
    return tuple(
        LayerGrid(layer.name, layer.label, (shape[2], shape[3]))
        for layer, shape in zip(planned, shapes, strict=True)
    )

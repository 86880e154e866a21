"""Grids of layers without weights, against the table that people read."""

from __future__ import annotations

import pytest

from cam_engine.errors import ArchitectureUnknown, LayerNotSpatial
from cam_engine.maps.grids import LayerGrid, layer_grids

SQUARES = {
    "densenet121": (("denseblock2", 28), ("denseblock3", 14), ("denseblock4", 7)),
    "resnet18": (("layer2", 28), ("layer3", 14), ("layer4", 7)),
    "efficientnet_b0": (("block3", 28), ("block5", 14), ("block7", 7)),
    "mobilenet_v3_small": (("block2", 28), ("block4", 14), ("block5", 7)),
    "convnext_tiny": (("stage2", 28), ("stage3", 14), ("stage4", 7)),
    "vit_b_16": (("block4", 14), ("block8", 14), ("block12", 14)),
}


@pytest.mark.parametrize("architecture", SQUARES)
def test_they_are_those_of_the_table_at_224_px(architecture: str) -> None:
    expected = [
        LayerGrid(name, label, (side, side))
        for name, (label, side) in zip(("early", "mid", "late"), SQUARES[architecture], strict=True)
    ]
    assert list(layer_grids(architecture, 4, (224, 224))) == expected


def test_a_network_of_timm_without_a_row_has_its_reductions() -> None:
    found = layer_grids("tf_mobilenetv3_small_075", 2, (64, 128))
    assert [(one.name, one.grid) for one in found] == [
        ("early", (8, 16)),
        ("mid", (4, 8)),
        ("late", (2, 4)),
    ]


def test_height_comes_before_width() -> None:
    assert [grid.grid for grid in layer_grids("resnet18", 3, (96, 160))] == [
        (12, 20),
        (6, 10),
        (3, 5),
    ]


def test_what_is_too_small_or_unknown_is_said() -> None:
    with pytest.raises(LayerNotSpatial, match=r"layer layer4.*no grid of cells"):
        layer_grids("resnet18", 3, (32, 32))
    with pytest.raises(ArchitectureUnknown):
        layer_grids("no_such_network", 3, (224, 224))

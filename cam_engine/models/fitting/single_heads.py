"""A head of one linear layer, as weights have it, in the place of a network's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Head:
    """The classifier's last layer as found among the weights.

    site: dotted name of the module that it takes the place of. weight, bias: its keys in the file.
    """

    site: str
    weight: str
    bias: str | None
    classes: int
    features: int


def keys_below(module: str, keys: Iterable[str]) -> list[str]:
    """Those of what is in the module."""
    return [key for key in keys if key.startswith(f"{module}.")]


def matrices(keys: Iterable[str], weights: Mapping[str, Tensor]) -> list[str]:
    """Those of linear layers and convolutions."""
    return [key for key in keys if key.endswith("weight") and weights[key].ndim > 1]


def find_head(sites: list[str], weights: Mapping[str, Tensor]) -> Head | None:
    """The linear layer of the first site that holds one and nothing else."""
    for site in sites:
        keys = keys_below(site, weights)
        layers = matrices(keys, weights)
        if len(layers) == 1 and weights[layers[0]].numel():
            bias = layers[0].removesuffix("weight") + "bias"
            if set(keys) <= {layers[0], bias}:
                classes, features = weights[layers[0]].shape[:2]
                return Head(site, layers[0], bias if bias in keys else None, classes, features)
    return None


def place(network: nn.Module, own: str, head: Head) -> bool:
    """Give the network the weights' head in place of its own; False where it can't stand there."""
    replaced = network.get_submodule(head.site)
    last = network.get_submodule(own)
    if head.site != own and not _reads_vectors(replaced, head.features):
        return False
    if head.site != own or (head.bias is None) != (getattr(last, "bias", None) is None):
        network.set_submodule(head.site, _layer_like(last, head))
    return True


def _reads_vectors(module: nn.Module, features: int) -> bool:
    """True for a sequence whose first layer with weights is linear, of that many features."""
    if not isinstance(module, nn.Sequential):
        return False
    first = next(
        (m for m in module.modules() if next(m.parameters(recurse=False), None) is not None), None
    )
    return isinstance(first, nn.Linear) and first.in_features == features


def _layer_like(last: nn.Module, head: Head) -> nn.Module:
    with torch.device("meta"):
        if isinstance(last, nn.Conv2d):
            return nn.Conv2d(head.features, head.classes, 1, bias=head.bias is not None)
        return nn.Linear(head.features, head.classes, bias=head.bias is not None)

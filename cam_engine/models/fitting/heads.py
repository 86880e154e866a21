"""Heads of several layers, in place of a network's own last layer.

A state dict does not say what lies between its layers: no activation, no dropout. So a person has
to, in words such as "linear relu dropout linear"; weights then go to the layers that have some, in
their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from cam_engine.errors import InvalidOption

_BATCH_NORM, _LAYER_NORM, _LINEAR = "batchnorm", "layernorm", "linear"
_WITH_WEIGHTS = frozenset({_LINEAR, _BATCH_NORM, _LAYER_NORM})
_WITHOUT: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "relu": nn.ReLU,
        "leakyrelu": nn.LeakyReLU,
        "elu": nn.ELU,
        "selu": nn.SELU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "mish": nn.Mish,
        "hardswish": nn.Hardswish,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "dropout": nn.Dropout,
        "identity": nn.Identity,
        "flatten": nn.Flatten,
    }
)
LAYER_WORDS = (*sorted(_WITH_WEIGHTS), *sorted(_WITHOUT))
_OTHER_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "swish": "silu",
        "fc": "linear",
        "dense": "linear",
        "bn": "batchnorm",
        "batchnorm1d": "batchnorm",
    }
)


def head_layers(text: str) -> tuple[str, ...]:
    """The words of a head, "linear relu dropout linear". Raises InvalidOption."""
    words = text.replace(",", " ").replace(">", " ").lower().split()
    words = [_OTHER_WORDS.get(word, word) for word in words]
    unknown = next((word for word in words if word not in LAYER_WORDS), None)
    if unknown is not None or _LINEAR not in words:
        what = f"{unknown!r} is no layer" if unknown is not None else "it has no linear layer"
        raise InvalidOption(
            f"head {text!r}: {what}; give the layers in their order, from {', '.join(LAYER_WORDS)}"
        )
    return tuple(words)


def suggested_head(region: str, weights: Mapping[str, Tensor]) -> str:
    """A line to begin with, of the layers that have weights; what lies between is a likely guess.

    Where the layers are numbered, as in a Sequential, there are as many as there are numbers.
    """
    words: list[str] = []
    for name, kind in _modules_below(region, weights):
        number = name.rpartition(".")[2]
        free = int(number) - len(words) if number.isdecimal() else int(bool(words))
        words += ["relu", *["dropout"] * free][: max(0, free)]
        words.append(kind)
    return " ".join(words)


def headed(
    skeleton: nn.Module,
    sites: Sequence[str],
    weights: Mapping[str, Tensor],
    layers: Sequence[str],
) -> tuple[dict[str, Tensor], str] | None:
    """Put the head into the network; the weights under its names, and its last linear layer's name.

    sites: where a head may be, the innermost first. None where the weights have none there. Raises
    InvalidOption where the weights contradict the layers.
    """
    site = next((site for site in sites if _is_split(site, weights)), None)
    if site is None:
        return None
    there = _modules_below(site, weights)
    wanted = [word for word in layers if word in _WITH_WEIGHTS]
    if [kind for _, kind in there] != wanted:
        saved = ", ".join(f"{name} ({kind})" for name, kind in there)
        raise InvalidOption(
            f"head {' '.join(layers)!r} has {' '.join(wanted)} with weights, but those of the file "
            f"are {saved}"
        )
    places = [index for index, word in enumerate(layers) if word in _WITH_WEIGHTS]
    names = {module: f"{site}.{index}" for (module, _), index in zip(there, places, strict=True)}
    with torch.device("meta"):
        made = [_layer(word) for word in layers]
        for (module, _), index in zip(there, places, strict=True):
            made[index] = _weighted(layers[index], module, weights)
    skeleton.set_submodule(site, nn.Sequential(*made))
    renamed = {
        f"{names[module]}.{name}" if (module := key.rpartition(".")[0]) in names else key: tensor
        for key, tensor in weights.items()
        for name in [key.rpartition(".")[2]]
    }
    last = max(index for index, word in enumerate(layers) if word == _LINEAR)
    return renamed, f"{site}.{last}"


def head_words(network: nn.Module, head: str) -> str:
    """The layers around a network's last one as `head_layers` takes them: "dropout linear"."""
    parts = head.split(".")
    sites = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    site = next((s for s in sites if isinstance(network.get_submodule(s), nn.Sequential)), head)
    layers = [
        type(module).__name__.lower().removesuffix("1d")
        for module in network.get_submodule(site).modules()
        if not any(True for _ in module.children())
    ]
    return " ".join(layers)


def sites_of(head: str) -> list[str]:
    """The head's dotted name and its parents': where people put a head of their own."""
    parts = head.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def last_layer(network: nn.Module, region: str) -> str | None:
    """Dotted name of the last linear layer, or convolution, of the region; None without one.

    region: dotted name, "" for the whole network.
    """
    within = network.get_submodule(region)
    names = [
        ".".join(part for part in (region, name) if part)
        for name, module in within.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return names[-1] if names else None


def outputs_of(layer: nn.Module) -> int:
    """How many outputs a linear layer or a convolution has."""
    # Attributes of modules are typed as tensors or modules.
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def _is_split(site: str, weights: Mapping[str, Tensor]) -> bool:
    """Whether there are modules with weights below it, and not weights of its own."""
    return any(key.startswith(f"{site}.") and "." in key[len(site) + 1 :] for key in weights)


def _modules_below(site: str, weights: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """(dotted name, kind) of the modules below a site that have weights, in their order."""
    names = dict.fromkeys(k.rpartition(".")[0] for k in weights if k.startswith(f"{site}."))
    return [(name, _kind(name, weights)) for name in names]


def _kind(name: str, weights: Mapping[str, Tensor]) -> str:
    if f"{name}.running_mean" in weights:
        return _BATCH_NORM
    weight = weights.get(f"{name}.weight")
    return _LINEAR if weight is not None and weight.ndim == 2 else _LAYER_NORM


def _layer(word: str) -> nn.Module:
    return _WITHOUT[word]() if word in _WITHOUT else nn.Identity()


def _weighted(word: str, module: str, weights: Mapping[str, Tensor]) -> nn.Module:
    weight = weights[f"{module}.weight"]
    has_bias = f"{module}.bias" in weights
    if word == _LINEAR:
        return nn.Linear(weight.shape[1], weight.shape[0], bias=has_bias)
    if word == _BATCH_NORM:
        return nn.BatchNorm1d(weight.shape[0])
    return nn.LayerNorm(tuple(weight.shape), bias=has_bias)

"""Weights against networks: prefixes and heads as people save them, what fits, and loading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from cam_engine.architectures import (
    ARCHITECTURES,
    NAMINGS,
    Architecture,
    Naming,
    build,
    find_architecture,
)

_WRAPPERS = ("module", "_orig_mod", "model", "backbone", "net", "network", "base_model")
_COUNTER = "num_batches_tracked"  # absent from old checkpoints, and without a part in inference
_SHOWN = 3


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


@dataclass(frozen=True, slots=True)
class Misfit:
    """A tensor whose shape or kind is not the network's; both described."""

    key: str
    expected: str
    found: str


@dataclass(frozen=True, eq=False)
class Fit:
    """How weights compare with one network.

    skeleton: the network on the meta device (on the CPU if it can't be built there), its head
    replaced by the weights' own. weights: under the skeleton's keys. head: dotted name of the
    last layer. head_region: of all that people replace together with it. classes: its rows.
    """

    name: str
    naming: Naming
    skeleton: nn.Module
    head: str
    head_region: str
    classes: int
    weights: Mapping[str, Tensor]

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Keys that the network needs and the weights lack."""
        return tuple(
            key
            for key in self.skeleton.state_dict()
            if key not in self.weights and not key.endswith(_COUNTER)
        )

    @cached_property
    def unexpected(self) -> tuple[str, ...]:
        """Keys that the network does not have."""
        known = self.skeleton.state_dict()
        return tuple(key for key in self.weights if key not in known)

    @cached_property
    def misfits(self) -> tuple[Misfit, ...]:
        """Tensors of another shape, or of a kind that can't become the network's."""
        return tuple(
            Misfit(key, _described(expected), _described(self.weights[key]))
            for key, expected in self.skeleton.state_dict().items()
            if key in self.weights and not _fits(expected, self.weights[key])
        )

    @property
    def differences(self) -> int:
        """Number of keys that do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.misfits)

    def describe(self) -> str:
        """The first keys that differ, for a message."""
        shapes = [f"{m.key} is {m.found} instead of {m.expected}" for m in self.misfits]
        different = {"missing": self.missing, "unexpected": self.unexpected, "wrong shape": shapes}
        parts = [f"{what}: {_first(keys)}" for what, keys in different.items() if keys]
        return "; ".join([*self._custom_head(), *parts])

    def _custom_head(self) -> list[str]:
        layers = [key for key in _layers(self.head_region, self.weights) if key.endswith("weight")]
        touched = any(_within(self.head_region, key) for key in (*self.missing, *self.unexpected))
        if not touched or len(layers) == 1:
            return []
        if not layers:
            return [f"there is no classifier head ({self.head})"]
        return [
            f"its head has several layers ({_first(layers)}), and what lies between them is not "
            "recorded in weights: only one Linear, alone or behind dropout, can be loaded"
        ]


def without_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under their own names, without the wrappers that every key begins with."""
    stripped = dict(weights)
    while prefix := _shared_wrapper(stripped):
        stripped = {key.removeprefix(prefix): tensor for key, tensor in stripped.items()}
    return stripped


def compare(name: str, naming: Naming, head: str, weights: Mapping[str, Tensor]) -> Fit:
    """Compare weights (without prefixes) with a network.

    name: as `build` takes it. head: dotted name of the network's own last layer.
    """
    sites = _sites(head)
    found = _find_head(sites, weights)
    classes = found.classes if found else 1
    skeleton = skeleton_of(name, naming, classes)
    if found and _place(skeleton, head, found):
        renamed = {found.weight: f"{found.site}.weight", found.bias: f"{found.site}.bias"}
        weights = {renamed.get(key, key): tensor for key, tensor in weights.items()}
        head = found.site
    return Fit(name, naming, skeleton, head, sites[-1], classes, weights)


def identify(weights: Mapping[str, Tensor]) -> Fit | None:
    """The row of the table, and its naming, that the weights fit by their keys and shapes."""
    for row in ARCHITECTURES:
        for naming in NAMINGS:
            variant = row.variant(naming)
            if _has_stages(variant.layout, weights):
                fit = compare(row.name, naming, variant.head, weights)
                if not fit.differences:
                    return fit
    return None


def skeleton_of(name: str, naming: Naming, classes: int) -> nn.Module:
    """The network without memory for its weights where its code allows that, else on the CPU.

    Raises ArchitectureUnknown if there is no such network.
    """
    try:
        with torch.device("meta"):
            return build(name, naming, classes)
    except (NotImplementedError, RuntimeError):  # code that looks at values while it builds
        return build(name, naming, classes)


def loaded(fit: Fit) -> nn.Module:
    """The network with copies of the weights in its own dtypes, frozen, in eval mode, on the CPU.

    The fit must have no differences.
    """
    network = fit.skeleton
    expected = network.state_dict()
    if find_architecture(fit.name) is None:
        # Networks outside the table may hold constants that a state dict does not restore.
        network = build(fit.name, fit.naming, fit.classes)
        network.set_submodule(
            fit.head, fit.skeleton.get_submodule(fit.head).to_empty(device="cpu")
        )
    state = {key: _converted(fit.weights.get(key), like) for key, like in expected.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def _shared_wrapper(weights: Mapping[str, Tensor]) -> str | None:
    prefix = next(iter(weights), "").split(".", 1)[0]
    shared = prefix in _WRAPPERS and all(key.startswith(f"{prefix}.") for key in weights)
    return f"{prefix}." if shared else None


def _has_stages(layout: Layout, weights: Mapping[str, Tensor]) -> bool:
    return all(_layers(stage.raw, weights) for stage in layout.stages)


def _within(module: str, key: str) -> bool:
    return key.startswith(f"{module}.")


def _layers(module: str, weights: Mapping[str, Tensor]) -> list[str]:
    """Keys of matrices (weights of linear layers and convolutions) and their biases below it."""
    return [key for key in weights if _within(module, key)]


def _sites(head: str) -> list[str]:
    """The head's dotted name and its parents': where people put a head of their own."""
    parts = head.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _find_head(sites: list[str], weights: Mapping[str, Tensor]) -> Head | None:
    """The one linear layer at the first site that holds nothing else."""
    for site in sites:
        keys = [key for key in weights if _within(site, key)]
        matrices = [key for key in keys if key.endswith("weight") and weights[key].ndim > 1]
        if len(matrices) == 1 and weights[matrices[0]].numel():
            bias = matrices[0].removesuffix("weight") + "bias"
            if set(keys) <= {matrices[0], bias}:
                classes, features = weights[matrices[0]].shape[:2]
                return Head(site, matrices[0], bias if bias in keys else None, classes, features)
    return None

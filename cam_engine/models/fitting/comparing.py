"""Weights against networks: what fits, what differs, and loading."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial

import torch
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown
from cam_engine.models.architectures import (
    ARCHITECTURES,
    NAMINGS,
    Layout,
    Naming,
    Variant,
    find_architecture,
    supported,
)
from cam_engine.models.files.pickles.module_records import ModuleRecord
from cam_engine.models.fitting.adapting import input_channels, with_channels
from cam_engine.models.fitting.heads import headed, last_layer, outputs_of, sites_of, suggested_head
from cam_engine.models.fitting.parts import with_lone_head
from cam_engine.models.fitting.rebuilding import LayerUnknown, rebuilt
from cam_engine.models.fitting.single_heads import find_head, keys_below, matrices, place
from cam_engine.models.libraries.signatures import COUNTER, names_of
from cam_engine.models.networks import AUXILIARY, build, config_of, skeleton_of
from cam_engine.short_names import first


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known of a network beside its weights.

    record: its modules, where it was saved as a whole. layers: of its head, as a person says them.
    image_size: (height, width) in pixels that it was built for.
    """

    record: ModuleRecord | None = None
    layers: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None


NO_HINTS = Hints()


@dataclass(frozen=True, slots=True)
class Shaped:
    """A network as the weights need it, and the weights under its names; see `Fit`."""

    network: nn.Module
    weights: Mapping[str, Tensor]
    head: str
    classes: int
    problem: str | None = None
    first_layer: tuple[str, int] | None = None


@dataclass(frozen=True, eq=False)
class Fit:
    """How weights compare with one network.

    shaped: the network on the meta device (on the CPU if it can't be built there), its head and
    input replaced by the weights' own. head_region: dotted name of all that people replace together
    with the head. shape: does the same to another network of that name. hints: what it was
    compared with.
    """

    name: str
    naming: Naming
    shaped: Shaped
    head_region: str
    shape: Callable[[nn.Module], nn.Module]
    hints: Hints

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels that it was built for, where it is known."""
        return self.hints.image_size

    @property
    def skeleton(self) -> nn.Module:
        """The network without its weights."""
        return self.shaped.network

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights under the skeleton's keys."""
        return self.shaped.weights

    @property
    def head(self) -> str:
        """Dotted name of the last layer."""
        return self.shaped.head

    @property
    def classes(self) -> int:
        """The last layer's outputs."""
        return self.shaped.classes

    @property
    def problem(self) -> str | None:
        """What is in the way beside keys that do not fit, in words."""
        return self.shaped.problem

    @property
    def first_layer(self) -> tuple[str, int] | None:
        """Name and channels of the first convolution, where it takes other than three."""
        return self.shaped.first_layer

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Keys that the network needs and the weights lack."""
        return tuple(
            key
            for key in self.skeleton.state_dict()
            if key not in self.weights and not key.endswith(COUNTER)
        )

    @cached_property
    def unexpected(self) -> tuple[str, ...]:
        """Keys that the network does not have."""
        known = self.skeleton.state_dict()
        return tuple(key for key in self.weights if key not in known)

    @cached_property
    def misshapen(self) -> tuple[str, ...]:
        """Tensors of another shape, or of a kind that can't become the network's, with both."""
        return tuple(
            f"{key} is {_described(self.weights[key])} instead of {_described(expected)}"
            for key, expected in self.skeleton.state_dict().items()
            if key in self.weights and not _fits(expected, self.weights[key])
        )

    @property
    def differences(self) -> int:
        """Number of keys that do not fit, and of problems."""
        keys = len(self.missing) + len(self.unexpected) + len(self.misshapen)
        return keys + (self.problem is not None)

    def describe(self) -> str:
        """The first keys that differ, for a message."""
        different = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "wrong shape": self.misshapen,
        }
        parts = [f"{what}: {first(keys)}" for what, keys in different.items() if keys]
        said = [self.problem] if self.problem else self._custom_head()
        return "; ".join([*said, *parts])

    def _custom_head(self) -> list[str]:
        """What is odd about the head, where nothing else is."""
        layers = matrices(keys_below(self.head_region, self.weights), self.weights)
        odd = (*self.missing, *self.unexpected)
        in_head = len(keys_below(self.head_region, odd))
        if not in_head or in_head < len(odd) or len(layers) == 1:
            return []
        if not layers:
            return [f"there is no classifier head ({self.head})"]
        likely = suggested_head(self.head_region, self.weights)
        problem = (
            f"its head has several layers ({first(layers)}), and what lies between them is not "
            f'recorded in weights: say it, all layers in their order, such as --head "{likely}"'
        )
        return [problem]


def compare(
    name: str,
    naming: Naming,
    head: str,
    weights: Mapping[str, Tensor],
    hints: Hints = NO_HINTS,
) -> Fit:
    """Compare weights (without prefixes) with a network.

    name: as `build` takes it. head: dotted name of the network's own last layer. Raises
    ArchitectureUnknown if there is no such network, or it has no such head; InvalidOption for
    layers of a head that the weights contradict.
    """
    saved_head = find_head(sites_of(head), with_lone_head(weights, head))
    skeleton = skeleton_of(name, naming, saved_head.classes if saved_head else 1, hints.image_size)
    if head not in dict(skeleton.named_modules()):
        raise ArchitectureUnknown(
            f"{name} has no module {head} that classifies; supported are {supported()}"
        )
    shape = partial(_shaped, head=head, weights=weights, hints=hints)
    shaped = shape(skeleton)
    region = sites_of(head)[-1]
    return Fit(name, naming, shaped, region, lambda network: shape(network).network, hints)


def _shaped(network: nn.Module, head: str, weights: Mapping[str, Tensor], hints: Hints) -> Shaped:
    """Give the network the head, the layers and the input that the file is known to have."""
    sites = sites_of(head)
    weights = _without_auxiliary(network, with_lone_head(weights, head))
    saved_head = find_head(sites, weights)
    classes = saved_head.classes if saved_head else 1
    problem = None
    if hints.record is not None:
        try:
            network = rebuilt(hints.record, network)
            last = last_layer(network, sites[-1])
            if last is None:
                problem = f"there is no classifier head ({head})"
            else:
                head, classes = last, outputs_of(network.get_submodule(last))
        except LayerUnknown as error:
            problem = f"{error}, whose code is not in the file"
    elif hints.layers and (placed := headed(network, sites, weights, hints.layers)):
        weights, head = placed
        classes = outputs_of(network.get_submodule(head))
    elif hints.layers.count("linear") > 1:
        problem = f"its head ({head}) is one linear layer, not {' '.join(hints.layers)}"
    elif saved_head and place(network, head, saved_head):
        site = saved_head.site
        renamed = {saved_head.weight: f"{site}.weight", saved_head.bias: f"{site}.bias"}
        weights = {renamed.get(key, key): tensor for key, tensor in weights.items()}
        head = site
    first_layer = input_channels(network, weights)
    if first_layer is not None:
        with_channels(network, *first_layer)
    return Shaped(network, weights, head, classes, problem, first_layer)


def _without_auxiliary(network: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Heads for training alone have no part in an answer: neither the network keeps them."""
    there = [name for name in AUXILIARY if getattr(network, name, None) is not None]
    for name in there:
        setattr(network, name, None)
    if hasattr(network, "aux_logits"):
        setattr(network, "aux_logits", False)  # noqa: B010 (a module's attribute that is none)
    starts = tuple(f"{name}." for name in AUXILIARY)
    if not there:
        return weights
    return {key: tensor for key, tensor in weights.items() if not key.startswith(starts)}


def closest_row(weights: Mapping[str, Tensor], hints: Hints = NO_HINTS) -> Fit | None:
    """The row of the table, and its naming, that the weights fit best; None if like no row's.

    What counts is all but the head; torchvision's naming comes first where both are the same.
    """
    candidates = [
        (row.name, naming, row.variant(naming))
        for row in ARCHITECTURES
        for naming in NAMINGS
        if _has_stages(row.variant(naming).layout, weights)
    ]
    if not candidates:
        return None

    def distance(candidate: tuple[str, Naming, Variant]) -> int:
        name, naming, variant = candidate
        return len(_body(weights, variant.head) ^ _body_of(name, naming, variant.head))

    name, naming, variant = min(candidates, key=distance)
    return compare(name, naming, variant.head, weights, hints)


def of_torchvision(weights: Mapping[str, Tensor], hints: Hints = NO_HINTS) -> Fit | None:
    """The network outside the table, of torchvision's, whose body has just these weights."""
    for name in names_of(weights):
        fit = compare(name, "torchvision", config_of(name, "torchvision").head, weights, hints)
        if not fit.differences:
            return fit
    return None


def as_it_is(
    name: str,
    network: nn.Module,
    weights: Mapping[str, Tensor],
    naming: Naming = "file",
    hints: Hints = NO_HINTS,
) -> Fit:
    """Compare weights with a network that is built already. Raises ArchitectureUnknown."""
    head = last_layer(network, "")
    if head is None:
        raise ArchitectureUnknown(f"{name} has no linear layer that classifies")
    shaped = Shaped(network, weights, head, outputs_of(network.get_submodule(head)))
    return Fit(name, naming, shaped, sites_of(head)[-1], lambda same: same, hints)


def loaded(fit: Fit) -> nn.Module:
    """The network with copies of the weights in its own dtypes, frozen, in eval mode, on the CPU.

    The fit must have no differences.
    """
    network = fit.skeleton
    expected = network.state_dict()
    if fit.naming in NAMINGS and find_architecture(fit.name) is None:
        # Networks outside the table may hold constants that a state dict does not restore.
        network = fit.shape(build(fit.name, fit.naming, fit.classes, fit.image_size))
    state = OrderedDict(
        (key, _converted(fit.weights.get(key), like)) for key, like in expected.items()
    )
    # Versions of modules, by which some read weights of older ones in another way.
    # An attribute of the dict that torch keeps, and no type has: by setattr.
    setattr(state, "_metadata", getattr(expected, "_metadata", None))  # noqa: B010
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


@cache
def _body_of(name: str, naming: Naming, head: str) -> frozenset[tuple[str, torch.Size]]:
    network = skeleton_of(name, naming, 1)
    return _body(_without_auxiliary(network, network.state_dict()), head)


def _body(weights: Mapping[str, Tensor], head: str) -> frozenset[tuple[str, torch.Size]]:
    """Keys and shapes of all but the head and the norms' counters."""
    inside = set(keys_below(sites_of(head)[-1], weights))
    return frozenset(
        (key, tensor.shape)
        for key, tensor in weights.items()
        if key not in inside and not key.endswith(COUNTER)
    )


def _has_stages(layout: Layout, weights: Mapping[str, Tensor]) -> bool:
    return all(keys_below(stage.raw, weights) for stage in layout.stages)


def _fits(expected: Tensor, tensor: Tensor) -> bool:
    is_kin = tensor.is_floating_point() or not (expected.is_floating_point() or tensor.is_complex())
    return expected.shape == tensor.shape and is_kin and _whole(tensor)


def _whole(tensor: Tensor) -> bool:
    """False for tensors that are not plain memory, or claim more elements than they hold."""
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return plain and not tensor.is_quantized and tensor.untyped_storage().nbytes() >= tensor.nbytes


def _converted(tensor: Tensor | None, like: Tensor) -> Tensor:
    if tensor is None:
        return torch.zeros(like.shape, dtype=like.dtype)
    return tensor.to(like.dtype, copy=True, memory_format=torch.contiguous_format)


def _described(tensor: Tensor) -> str:
    words = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
    in_memory = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not in_memory or tensor.is_quantized or _whole(tensor):
        return words
    held = tensor.untyped_storage().nbytes() // tensor.itemsize
    return f"{words} out of {held} number{'s' * (held != 1)}"

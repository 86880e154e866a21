"""A network made to be just the one that a file's records describe, from a list of known layers.

The records (`module_records`) name classes and settings; nothing of the file is called. Layers of
`torch.nn` are built anew from their settings, so that custom heads and changed settings (a stride,
an epsilon, another activation) are as they were saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn

from cam_engine.models.files.pickles.module_records import ModuleRecord

_LIBRARY = "torch.nn.modules."
_SEQUENTIAL = "torch.nn.modules.container.Sequential"

_CONVOLUTION = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "padding_mode",
)
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_POOL = ("kernel_size", "stride", "padding", "ceil_mode")

# Layers by their class's name in torch.nn.modules, with the settings that their constructors take.
_LAYERS: Mapping[str, tuple[type[nn.Module], tuple[str, ...]]] = MappingProxyType(
    {
        "linear.Linear": (nn.Linear, ("in_features", "out_features")),
        "linear.Identity": (nn.Identity, ()),
        "conv.Conv1d": (nn.Conv1d, _CONVOLUTION),
        "conv.Conv2d": (nn.Conv2d, _CONVOLUTION),
        "batchnorm.BatchNorm1d": (nn.BatchNorm1d, _NORM),
        "batchnorm.BatchNorm2d": (nn.BatchNorm2d, _NORM),
        "instancenorm.InstanceNorm2d": (nn.InstanceNorm2d, _NORM),
        "normalization.LayerNorm": (
            nn.LayerNorm,
            ("normalized_shape", "eps", "elementwise_affine"),
        ),
        "normalization.GroupNorm": (
            nn.GroupNorm,
            ("num_groups", "num_channels", "eps", "affine"),
        ),
        "dropout.Dropout": (nn.Dropout, ("p",)),
        "dropout.Dropout1d": (nn.Dropout1d, ("p",)),
        "dropout.Dropout2d": (nn.Dropout2d, ("p",)),
        "dropout.AlphaDropout": (nn.AlphaDropout, ("p",)),
        "flatten.Flatten": (nn.Flatten, ("start_dim", "end_dim")),
        "pooling.MaxPool2d": (nn.MaxPool2d, (*_POOL, "dilation")),
        "pooling.AvgPool2d": (nn.AvgPool2d, (*_POOL, "count_include_pad")),
        "pooling.AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d, ("output_size",)),
        "pooling.AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d, ("output_size",)),
        "pooling.AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d, ("output_size",)),
        "activation.ReLU": (nn.ReLU, ()),
        "activation.ReLU6": (nn.ReLU6, ()),
        "activation.LeakyReLU": (nn.LeakyReLU, ("negative_slope",)),
        "activation.PReLU": (nn.PReLU, ("num_parameters",)),
        "activation.ELU": (nn.ELU, ("alpha",)),
        "activation.CELU": (nn.CELU, ("alpha",)),
        "activation.SELU": (nn.SELU, ()),
        "activation.GELU": (nn.GELU, ("approximate",)),
        "activation.SiLU": (nn.SiLU, ()),
        "activation.Mish": (nn.Mish, ()),
        "activation.Hardswish": (nn.Hardswish, ()),
        "activation.Hardsigmoid": (nn.Hardsigmoid, ()),
        "activation.Hardtanh": (nn.Hardtanh, ("min_val", "max_val")),
        "activation.Softplus": (nn.Softplus, ("beta", "threshold")),
        "activation.Sigmoid": (nn.Sigmoid, ()),
        "activation.Tanh": (nn.Tanh, ()),
        "activation.Softmax": (nn.Softmax, ("dim",)),
        "activation.LogSoftmax": (nn.LogSoftmax, ("dim",)),
    }
)
_WITH_BIAS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm)


class LayerUnknown(ValueError):
    """A layer of a class that is not on the list, in a place where nothing is known of it."""


def rebuilt(record: ModuleRecord, own: nn.Module | None, where: str = "") -> nn.Module:
    """The module of a record, on the meta device where it is made anew.

    own: what the network that the weights are compared with has in its place (None: nothing). It is
    taken where the record is of its class, with its children made to be the record's. where: dotted
    name, for messages. Raises LayerUnknown.
    """
    if record.kind.startswith(_LIBRARY):
        layer = _layer(record)
        if layer is not None:
            same = own is not None and type(own) is type(layer) and _alike(own, layer)
            return own if same and own is not None else layer
        if record.kind == _SEQUENTIAL and not _has_its_children(record, own):
            return _sequence(record, own, where)
    if own is None or not _may_be(record, own):
        raise LayerUnknown(f"{where or 'the network'} is of class {record.kind}")
    if "transform_input" in record.settings and hasattr(own, "transform_input"):
        # Typed as a tensor or a module, as all attributes of modules are: by setattr.
        setattr(own, "transform_input", bool(record.settings["transform_input"]))  # noqa: B010
    for name, child in record.children.items():
        place = f"{where}.{name}" if where else name
        children = dict(own.named_children())
        if getattr(own, name, own) is None:
            continue  # a head for training alone, which was taken away
        mended = rebuilt(child, children.get(name), place)
        if mended is not children.get(name):
            setattr(own, name, mended)
    return own


def _sequence(record: ModuleRecord, own: nn.Module | None, where: str) -> nn.Sequential:
    children = dict(own.named_children()) if own is not None else {}
    sequence = nn.Sequential()
    for name, child in record.children.items():
        place = f"{where}.{name}" if where else name
        sequence.add_module(name, rebuilt(child, children.get(name), place))
    return sequence


def _has_its_children(record: ModuleRecord, own: nn.Module | None) -> bool:
    return isinstance(own, nn.Sequential) and list(record.children) == [
        name for name, _ in own.named_children()
    ]


def _may_be(record: ModuleRecord, own: nn.Module) -> bool:
    """Whether the class is the same, perhaps of another version, which may have moved it."""
    names = {kind.__name__ for kind in type(own).__mro__} - {"object", "Module"}
    if record.kind.rpartition(".")[2] in names:
        return True
    library = type(own).__module__.split(".", 1)[0]
    own_children = {name for name, _ in own.named_children()}
    return record.kind.startswith(f"{library}.") and own_children >= set(record.children) != set()


def _layer(record: ModuleRecord) -> nn.Module | None:
    """A layer of the list with the record's settings; None for others."""
    kind, names = _LAYERS.get(record.kind.removeprefix(_LIBRARY), (None, ()))
    if kind is None:
        return None
    given = {name: _tupled(record.settings[name]) for name in names if name in record.settings}
    if issubclass(kind, _WITH_BIAS):
        given["bias"] = "bias" in record.tensors
    try:
        with torch.device("meta"):
            layer = kind(**given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LayerUnknown(f"{record.kind} cannot have the settings {given}: {error}") from error
    for name in ("weight", "bias"):  # norms may have one without the other
        if isinstance(getattr(layer, name, None), nn.Parameter) and name not in record.tensors:
            layer.register_parameter(name, None)
    return layer


def _tupled(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _alike(own: nn.Module, layer: nn.Module) -> bool:
    """Whether two layers of one class have the same settings and the same parameters."""
    _, names = _LAYERS[
        f"{type(own).__module__.removeprefix('torch.nn.modules.')}.{type(own).__name__}"
    ]
    settings = all(getattr(own, name, None) == getattr(layer, name, None) for name in names)
    keys = [
        {name for name, value in one.named_parameters(recurse=False) if value is not None}
        for one in (own, layer)
    ]
    return settings and keys[0] == keys[1]

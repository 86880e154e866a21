"""Which of a file's weights may be those of the network: without prefixes, losses and wrappers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from cam_engine.models.files.pickles.module_records import ModuleRecord

_WRAPPERS = ("module", "_orig_mod", "model", "backbone", "net", "network", "base_model")
_MATRIX = 2  # axes
LONE_HEAD = "<head>"  # no name of a module
_DEEPEST_ATTRIBUTE = 3
_CALLING = ("torch.", "accelerate.", "deepspeed.")  # classes of these only call what is in them
_LONGEST_KIND = 80  # characters
_NOTHING = "nothing but dropout"  # between a network and a layer that stands beside it
# Those with weights of torchvision's and timm's ResNets, by their numbers.
_CHILDREN_OF_RESNETS: Mapping[str, str] = MappingProxyType(
    {"0": "conv1", "1": "bn1", **{str(n + 3): f"layer{n}" for n in range(1, 5)}}
)
_NUMBERED_RESNET = frozenset({"0.weight", "1.running_mean", "4.0.conv1.weight", "7.0.conv1.weight"})
# MONAI's names of torchvision's DenseNet.
_OF_MONAI = re.compile(r"(denselayer\d+)\.layers\.")
_HEAD_OF_MONAI = "class_layers.out."


def without_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under their own names, without the wrappers that every key begins with."""
    stripped = dict(weights)
    while prefix := _shared_wrapper(stripped):
        stripped = {key.removeprefix(prefix): tensor for key, tensor in stripped.items()}
    if any(key.startswith(_HEAD_OF_MONAI) for key in stripped):
        return {
            _OF_MONAI.sub(r"\1.", key).replace(_HEAD_OF_MONAI, "classifier."): tensor
            for key, tensor in stripped.items()
        }
    return stripped


@dataclass(frozen=True, slots=True)
class Part:
    """Weights that may be those of the network, under its own names, and what is left aside.

    lone_head: key of the first layer beside a network without a head, which is taken for its head;
    it is among the weights as `LONE_HEAD`. assumed: what is taken for granted then, as sentences.
    """

    weights: Mapping[str, Tensor]
    record: ModuleRecord | None = None
    aside: tuple[str, ...] = ()
    lone_head: str | None = None
    assumed: tuple[str, ...] = ()


def parts(weights: Mapping[str, Tensor], record: ModuleRecord | None) -> Iterator[Part]:
    """All of it, then what lies under an attribute that holds most of it, such as `net.`.

    Training frameworks keep the network as one attribute of a larger module, beside losses and
    metrics that have weights too. Layers beside a network without a head may be that.
    """
    within: Mapping[str, Tensor] = without_prefixes(weights)
    unwrapped = _unwrapped(record)
    yield Part(within, unwrapped, assumed=_around(record, unwrapped))
    yield from _of_children(within, {}, ())
    within = dict(weights)
    aside: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    for _ in range(_DEEPEST_ATTRIBUTE):
        groups = Counter(key.split(".", 1)[0] for key in within if "." in key)
        name, count = groups.most_common(1)[0] if groups else ("", 0)
        if 2 * count <= len(within):
            return
        beside = {key: one for key, one in within.items() if not key.startswith(f"{name}.")}
        within = {k.split(".", 1)[1]: v for k, v in within.items() if k.startswith(f"{name}.")}
        inner = None if record is None else record.children.get(name)
        assumed = (*assumed, *(_class_around(record) if inner is not None else ()))
        record = inner
        yield Part(within, record, (*aside, *beside), assumed=assumed)
        yield from _with_head(within, beside, aside)
        yield from _of_children(within, beside, aside)
        aside += tuple(beside)


def _with_head(
    within: Mapping[str, Tensor],
    beside: Mapping[str, Tensor],
    aside: tuple[str, ...],
    between: str = _NOTHING,
) -> Iterator[Part]:
    """The network with the layers beside it as its head: one, or several that are said in words."""
    matrices = [key for key, tensor in beside.items() if tensor.ndim == _MATRIX]
    if not matrices or not matrices[0].endswith(".weight"):
        return
    first_key = matrices[0]
    if len(matrices) == 1:
        own = {key: key.rpartition(".")[2] for key in (first_key, _bias(first_key))}
        said = f"with {between} between"
    else:
        holders = {key.split(".", 1)[0] for key in matrices}
        start = f"{holders.pop()}." if len(holders) == 1 else ""
        own = {key: key.removeprefix(start) for key in beside if key.startswith(start)}
        said = "with the layers that were said in words"
        if between != _NOTHING:
            said += f", behind {between}"
    head = {f"{LONE_HEAD}.{name}": beside[key] for key, name in own.items() if key in beside}
    left = tuple(key for key in beside if key not in own)
    assumed = (
        f"{first_key} stands beside the network in the file, and is taken for its head, {said}"
    )
    yield Part({**within, **head}, None, (*aside, *left), first_key, (assumed,))


def _of_children(
    weights: Mapping[str, Tensor], beside: Mapping[str, Tensor], aside: tuple[str, ...]
) -> Iterator[Part]:
    """A ResNet whose children were put into a Sequential without the last, which many scripts do.

    A Sequential has numbers for their names.
    """
    if not weights.keys() >= _NUMBERED_RESNET:
        return
    within: dict[str, Tensor] = {}
    others = dict(beside)
    for key, tensor in weights.items():
        number, _, rest = key.partition(".")
        name = _CHILDREN_OF_RESNETS.get(number)
        if name is None:
            others[key] = tensor
        else:
            within[f"{name}.{rest}"] = tensor
    yield from _with_head(within, others, aside, "a mean over all cells, and nothing but dropout,")


def _bias(weight: str) -> str:
    return weight.removesuffix("weight") + "bias"


def _around(record: ModuleRecord | None, inner: ModuleRecord | None) -> tuple[str, ...]:
    """Of the classes from one module to another in it, each the only one in the one around it."""
    said: tuple[str, ...] = ()
    while record is not None and record is not inner:
        said = (*said, *_class_around(record))
        record = next(iter(record.children.values()), None)
    return said


def _class_around(record: ModuleRecord | None) -> tuple[str, ...]:
    """What is taken for granted of a class that a network is in, as a sentence; () of torch's."""
    if record is None or record.kind.startswith(_CALLING):
        return ()
    kind = record.kind.rpartition(".")[2][:_LONGEST_KIND]
    said = f"the network was saved in {kind}, whose code is not in the file: what that does beside"
    return (f"{said} calling it is left out",)


def _unwrapped(record: ModuleRecord | None) -> ModuleRecord | None:
    """What `without_prefixes` does, of a network that was saved whole."""
    while record is not None and not record.tensors and len(record.children) == 1:
        name, child = next(iter(record.children.items()))
        if name not in _WRAPPERS:
            break
        record = child
    return record


def _shared_wrapper(weights: Mapping[str, Tensor]) -> str | None:
    prefix = next(iter(weights), "").split(".", 1)[0]
    shared = prefix in _WRAPPERS and all(key.startswith(f"{prefix}.") for key in weights)
    return f"{prefix}." if shared else None


def with_lone_head(weights: Mapping[str, Tensor], head: str) -> Mapping[str, Tensor]:
    """The weights with a head that stood beside the network in the place of the network's own."""
    start = f"{LONE_HEAD}."
    if not any(key.startswith(start) for key in weights):
        return weights
    return {
        f"{head}.{key.removeprefix(start)}" if key.startswith(start) else key: tensor
        for key, tensor in weights.items()
    }

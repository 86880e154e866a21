"""Image classifiers of Hugging Face's transformers, from a `config.json` and weights beside it.

https://huggingface.co/docs/transformers/main_classes/configuration. The library builds the network
of a kind that it knows itself, from settings that it declares itself; it is given the weights in
memory, so that it finds those of its older versions, and has nothing to download. `auto_map`, which
names code, is not read.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from cam_engine.errors import ArchitectureUnknown, CheckpointInvalid, WeightsMismatch
from cam_engine.models.architectures import Layout, Sign, Stage, Tap
from cam_engine.models.libraries.transformers_configs import (
    KEY,
    check_numbers,
    class_name,
    classes_of,
    config_of,
    image_size_of,
    named_in_config,
    said_of,
)
from cam_engine.short_names import first, printable

_log = logging.getLogger(__name__)

_TAKING_OTHER_THAN_IMAGES = frozenset({"siglip2"})  # patches, beside those that say so themselves
_MOST_NUMBERS = 1_500_000_000
_MOST_MODULES = 10_000
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601-2, as PIL's convert("L")
_GREY, _RGB = 1, 3
# Where the last block of a stage is, for those whose other modules with the stage's grid are the
# first of it, which make that grid. "{}": the stage, -1: its last block.
_LAST_BLOCKS = {
    "cvt": "encoder.stages.{}.layers.-1.layernorm_before",  # as of pvt
    "donut-swin": "encoder.layers.{}.blocks.-1",
    "focalnet": "encoder.stages.{}.layers.-1",
    "poolformer": "encoder.block.{}.-1",
    "pvt": "encoder.block.{}.-1.layer_norm_1",  # only a class token leaves the last block
    "pvt_v2": "encoder.layers.{}.blocks.-1",
    "swin": "encoder.layers.{}.blocks.-1",
    "swinv2": "encoder.layers.{}.blocks.-1",
}
_WITHIN = "model."  # where a `TransformersClassifier` keeps the library's network
_STAGES = 3  # early, mid and late: the last of them
_building = threading.Lock()  # the library sets torch's defaults while it builds


class TransformersClassifier(nn.Module):
    """A classifier of transformers that answers with its logits (N, classes) alone.

    grey: it takes one channel. flipped: it takes B, G and R.
    """

    def __init__(self, model: nn.Module, *, grey: bool = False, flipped: bool = False) -> None:
        super().__init__()
        self.model = model
        self.grey = grey
        self.flipped = flipped

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(N, 3, h, w) -> (N, classes)."""
        if self.grey:
            luma = pixel_values.new_tensor(_LUMA).view(1, _RGB, 1, 1)
            pixel_values = (pixel_values * luma).sum(1, keepdim=True)
        elif self.flipped:
            pixel_values = pixel_values.flip(1)
        answer = self.model(pixel_values=pixel_values, return_dict=True)
        logits = getattr(answer, "logits", None)
        if not isinstance(logits, Tensor):
            raise ArchitectureUnknown(f"{type(self.model).__name__} does not answer with logits")
        return logits


@dataclass(frozen=True, slots=True)
class TransformersNetwork:
    """A network with its weights.

    name: of its class. image_size: (height, width) in pixels that it was made for, where that is
    recorded. layout: where tracing would find less. notices, remarks: as in `Classifier`. head:
    dotted name of its last layer. unfitting: keys of the file's weights at the head's place, with
    their tensors, where those are not of the network's own head, whose weights then are of no use.
    """

    network: TransformersClassifier
    name: str
    image_size: tuple[int, int] | None
    layout: Layout | None
    notices: tuple[str, ...]
    remarks: tuple[str, ...]
    head: str
    unfitting: Mapping[str, Tensor]


def transformers_network(
    metadata: Mapping[str, object], weights: Mapping[str, Tensor], place: str
) -> TransformersNetwork:
    """The network that the config describes, in float32 on the CPU, in eval mode.

    place: of the file, for messages. Raises ArchitectureUnknown for kinds that are unknown or do
    not classify images, and where transformers is not installed; CheckpointInvalid for settings it
    refuses or that are too large; WeightsMismatch.
    """
    said = metadata[KEY]
    if not isinstance(said, Mapping):
        raise CheckpointInvalid(f"{place}: config.json holds no settings")
    _library(place)
    names = classes_of(said, place)
    name = class_name(named_in_config(metadata), names, said["model_type"], place)
    check_numbers(said, place)
    with _building, _quiet():
        config = config_of(said, place)
        made, head, unfitting = _made(name, config, weights, place)
    channels = getattr(config, "num_channels", _RGB)
    if channels not in {_GREY, _RGB}:
        raise ArchitectureUnknown(f"{place}: {name} takes {channels} channels, not 1 or 3")
    flipped = bool(metadata.get("do_flip_channel_order"))
    network = TransformersClassifier(made, grey=channels == _GREY, flipped=flipped)
    return TransformersNetwork(
        network.eval(),
        name,
        image_size_of(config),
        _layout(network, config.model_type),
        _notices(network, config),
        _remarks(said),
        f"{_WITHIN}{head}",
        {f"{_WITHIN}{key}": weights[key] for key in unfitting},
    )


def _library(place: str) -> Any:
    # Imported late: it takes seconds, and is not always there.
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ArchitectureUnknown(
            f"{place}: config.json is of Hugging Face's transformers, which is not installed: "
            "pip install 'gradcam-service[hf]'"
        ) from error


def _made(
    name: str, config: Any, weights: Mapping[str, Tensor], place: str
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """(network, name of its last layer, keys at its head's place that are another head's)."""
    model_class = getattr(importlib.import_module("transformers"), name)
    takes = getattr(model_class, "main_input_name", "pixel_values")
    if takes != "pixel_values" or config.model_type in _TAKING_OTHER_THAN_IMAGES:
        raise ArchitectureUnknown(f"{place}: {name} does not take images as they are")
    if config.num_labels == 1 or config.problem_type == "regression":
        raise ArchitectureUnknown(
            f"{place}: {name} with one output is a regression in transformers"
        )
    if sum(tensor.numel() for tensor in weights.values()) > _MOST_NUMBERS:
        raise CheckpointInvalid(f"{place}: there are more than {_MOST_NUMBERS:,} numbers in it")
    try:
        with _bounded(), torch.device("meta"):
            skeleton = model_class(config)
        network, loading = model_class.from_pretrained(
            None,
            config=config,
            state_dict=dict(weights),
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # which `loading` names
            local_files_only=True,
            output_loading_info=True,
        )
    except _TooLarge as error:
        raise CheckpointInvalid(f"{place}: config.json describes a network {error}") from error
    except Exception as error:  # the library's own code, with a file's settings
        raise CheckpointInvalid(
            f"{place}: transformers cannot build {name} from config.json ({said_of(error)})"
        ) from error
    head = _last_layer(skeleton)
    unfitting = _check_loaded(loading, head.partition(".")[0], weights, name, place)
    return network, head, unfitting


def _last_layer(network: nn.Module) -> str:
    """Dotted name of the last linear layer, or convolution; "" without one."""
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return layers[-1] if layers else ""


def _check_loaded(
    loading: Mapping[str, Any], region: str, weights: Mapping[str, Tensor], name: str, place: str
) -> tuple[str, ...]:
    """The keys at the head's place, where another head stood there and all else fits.

    Raises WeightsMismatch for whatever else the library would have filled with random numbers.
    """
    misshapen = {str(entry[0]) for entry in loading["mismatched_keys"]}
    different = {
        "missing": set(loading["missing_keys"]) - misshapen,
        "unexpected": set(loading["unexpected_keys"]),
        "wrong shape": misshapen,
    }
    keys = set().union(*different.values())
    there = tuple(key for key in weights if key.startswith(f"{region}."))
    if keys and there and all(key.startswith(f"{region}.") for key in keys):
        return there
    said = [f"{what}: {first(sorted(keys))}" for what, keys in different.items() if keys]
    said += [said_of(error) for error in loading.get("error_msgs", ())]
    if said:
        raise WeightsMismatch(
            f"{place}: the weights do not fit {name} (from architectures in config.json): "
            f"{printable('; '.join(said))}"
        )
    return ()


class _TooLarge(Exception):
    """A network with more in it than any that is explained."""


@contextmanager
def _bounded() -> Iterator[None]:
    """End the building of a network by this thread that becomes too large. Raises _TooLarge."""
    builder = threading.get_ident()
    numbers = modules = 0

    def count_numbers(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal numbers
        if parameter is not None and threading.get_ident() == builder:
            numbers += parameter.numel()
            if numbers > _MOST_NUMBERS:
                raise _TooLarge(f"of more than {_MOST_NUMBERS:,} parameters")

    def count_modules(_module: nn.Module, _name: str, _child: nn.Module | None) -> None:
        nonlocal modules
        if threading.get_ident() == builder:
            modules += 1
            if modules > _MOST_MODULES:
                raise _TooLarge(f"of more than {_MOST_MODULES:,} modules")

    hooks = [
        register_module_parameter_registration_hook(count_numbers),
        register_module_module_registration_hook(count_modules),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's progress bars and reports; what matters of them is an error here."""
    terminal = importlib.import_module("transformers.utils.logging")
    verbosity, shows_progress = terminal.get_verbosity(), terminal.is_progress_bar_enabled()
    terminal.set_verbosity(terminal.CRITICAL)
    terminal.disable_progress_bar()
    try:
        yield
    finally:
        terminal.set_verbosity(verbosity)
        if shows_progress:
            terminal.enable_progress_bar()


def _layout(network: TransformersClassifier, kind: str) -> Layout | None:
    pattern = _LAST_BLOCKS.get(kind)
    if pattern is None:
        return None
    prefix = f"{_WITHIN}{getattr(network.model, 'base_model_prefix', '')}."
    names = [name for name, _ in network.named_modules()]
    last: list[str] = []
    for stage in range(len(names)):
        blocks, _, within = f"{prefix}{pattern.format(stage)}".partition(".-1")
        numbers = [name[len(blocks) + 1 :] for name in names if name.startswith(f"{blocks}.")]
        numbers = [number for number in numbers if number.isdecimal()]
        if not numbers:
            break
        last.append(f"{blocks}.{max(map(int, numbers))}{within}")
    if len(last) < _STAGES:
        return None
    stages = tuple(Stage(name, name, Tap(name, Sign.SIGNED)) for name in last)
    return Layout(stages, *last[-_STAGES:])


def _notices(network: TransformersClassifier, config: Any) -> tuple[str, ...]:
    said = []
    if network.grey:
        said.append("the network takes grey images: they are made grey (ITU-R 601-2 luma) first")
    if network.flipped:
        said.append("the network takes blue, green and red: channels are put into that order")
    if config.problem_type == "multi_label_classification":
        said.append(
            "the network was trained to find several classes in an image, each by a sigmoid: its "
            "probabilities are those of a softmax here"
        )
    return tuple(said)


def _remarks(said: Mapping[str, Any]) -> tuple[str, ...]:
    if "auto_map" not in said:
        return ()
    return ("auto_map in config.json names code, which was not read: transformers' own is used",)

"""`config.json` of Hugging Face's transformers: the network that it describes, and its settings."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from cam_engine.errors import ArchitectureUnknown, CheckpointInvalid
from cam_engine.short_names import printable

_log = logging.getLogger(__name__)

_OF_TIMM = "timm_wrapper"  # its weights have timm's names, and its config names timm's network
_LARGEST_SETTING = 1 << 20
_MOST_LABELS = 100_000
_MOST_CHARACTERS = 300
_LABELS = ("id2label", "problem_type")
KEY = "transformers"  # of what `config.json` says, in a checkpoint's metadata


def is_of_transformers(metadata: Mapping[str, object]) -> bool:
    """Whether a `config.json` of transformers was beside the file."""
    config = metadata.get(KEY)
    return isinstance(config, Mapping) and config.get("model_type") != _OF_TIMM


def named_in_config(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """The classes that such a `config.json` names, as text."""
    config = metadata.get(KEY)
    named = config.get("architectures") if isinstance(config, Mapping) else None
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def recorded_size(metadata: Mapping[str, object]) -> object:
    """The size in pixels that the config has, as it stands there; None for networks without one.

    Where the config is silent, the library's own default, as long as it is installed.
    """
    said = metadata.get(KEY)
    if not isinstance(said, Mapping):
        return None
    vision = said.get("vision_config", said)
    if isinstance(vision, Mapping) and "image_size" in vision:
        return vision["image_size"]
    return _default_size(said.get("model_type"))


@cache
def _default_size(kind: object) -> tuple[int, int] | None:
    try:
        auto = importlib.import_module("transformers.models.auto.configuration_auto")
        return image_size_of(auto.CONFIG_MAPPING[kind]())
    except Exception as error:  # the library's own code, or none of it
        _log.debug("transformers has no size of %s: %s", shown(kind), error)
        return None


def classes_of(said: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """Names of the classes that classify images, of the config's model_type."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    known = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    kind = said.get("model_type")
    names = known.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise ArchitectureUnknown(
            f"{place}: model_type {shown(kind)} in config.json is none of the image classifiers "
            f"that transformers has: {', '.join(sorted(known))}"
        )
    return (names,) if isinstance(names, str) else tuple(names)


def class_name(said: Sequence[str], names: Sequence[str], kind: str, place: str) -> str:
    """Of the classes that the config says, one of the names. Raises ArchitectureUnknown."""
    if not said:
        return names[0]
    name = next((word for word in said if word in names), None)
    if name is None:
        raise ArchitectureUnknown(
            f"{place}: architectures in config.json says {shown(said[0])}, which does not "
            f"classify images; of {kind}, {' or '.join(names)} does"
        )
    return name


def check_numbers(said: object, place: str) -> None:
    """No setting may cost more than the file that has it: some become lists of that length."""
    waiting: list[tuple[str, object]] = [("config.json", said)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(name, item) for item in value]
        elif isinstance(value, int) and abs(value) > _LARGEST_SETTING:
            raise CheckpointInvalid(
                f"{place}: {shown(name)} in config.json is larger than {_LARGEST_SETTING:,}"
            )
    labels = said.get("num_labels") if isinstance(said, Mapping) else None
    if isinstance(labels, int) and labels > _MOST_LABELS:
        raise CheckpointInvalid(
            f"{place}: num_labels in config.json is larger than {_MOST_LABELS:,}"
        )


def config_of(said: Mapping[str, Any], place: str) -> Any:
    """The library's config of the settings that it declares for that kind."""
    auto = importlib.import_module("transformers.models.auto.configuration_auto")
    kind = said["model_type"]
    try:
        config_class = auto.CONFIG_MAPPING[kind]
        settings = _declared(config_class, said)
        settings |= {name: said[name] for name in _LABELS if said.get(name) is not None}
        if "id2label" not in settings and "num_labels" in said:
            settings["num_labels"] = said["num_labels"]
        return config_class(**settings)
    except Exception as error:  # the library's own code, with a file's settings
        raise CheckpointInvalid(
            f"{place}: transformers refuses config.json of {kind} ({said_of(error)})"
        ) from error


def _declared(config_class: Any, said: Mapping[str, Any]) -> dict[str, Any]:
    """Without what any config may have, among it where code, kernels and weights are from."""
    names = _settings_of(config_class)
    nested = getattr(config_class, "sub_configs", {})
    settings = {}
    for name, value in said.items():
        if name in nested:
            if isinstance(value, Mapping) and hasattr(nested[name], "model_type"):
                settings[name] = _declared(nested[name], value)
        elif name in names:
            settings[name] = value
    return settings


@cache
def _settings_of(config_class: Any) -> frozenset[str]:
    base = importlib.import_module("transformers").PreTrainedConfig
    declared = {*config_class().to_dict(), *getattr(config_class, "attribute_map", {})}
    return frozenset(declared - base().to_dict().keys() - {"model_type"})


def image_size_of(config: Any) -> tuple[int, int] | None:
    """(height, width) in pixels; None where it says none."""
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None)
    sides = [size, size] if isinstance(size, int) else size
    if isinstance(sides, list | tuple) and len(sides) == 2:
        return int(sides[0]), int(sides[1])
    return None


def shown(value: object) -> str:
    """A value of a file for a message."""
    return printable(repr(value))[:_MOST_CHARACTERS]


def said_of(error: object) -> str:
    """What an error of the library says, in bounded length."""
    words = " ".join(printable(str(error)).split())[:_MOST_CHARACTERS]
    return f"{type(error).__name__}: {words}" if isinstance(error, Exception) else words

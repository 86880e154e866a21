"""Networks of a lab's own: code that the operator installs and names, never what a file names.

A factory is found by `package.module:factory`, by a name that was registered, or by that of an
entry point in the group `gradcam.networks`
(https://packaging.python.org/en/latest/specifications/entry-points/). It is called with the number
of classes, and answers with the network or with an `OwnNetwork`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from torch import nn

from cam_engine.errors import ArchitectureUnknown, InvalidOption
from cam_engine.images.preparing import IMAGENET_MEAN, IMAGENET_STD, Channels

GROUP = "gradcam.networks"

_registered: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """What a factory may say beside its network.

    layers: dotted names of the modules to tap as "early", "mid" and "late"; without them, they are
    found by running the network once. input_size: (height, width) in pixels. mean, std: of R, G and
    B on the scale 0..1. head: dotted name of the last layer; without it, the last linear one.
    """

    network: nn.Module
    layers: Mapping[str, str] = field(default_factory=dict)
    input_size: tuple[int, int] = (224, 224)
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    head: str | None = None


Factory = Callable[[int], nn.Module | OwnNetwork]


def register(networks: Sequence[str]) -> None:
    """Make factories known to this process by the names that files have in `model_name`.

    networks: "name=package.module:factory" each. Raises InvalidOption where one is not there.
    """
    for network in networks:
        name, _, place = (part.strip() for part in network.partition("="))
        named_factory(place)
        _registered[name] = place


def find_factory(name: str) -> Factory | None:
    """The factory of that name, or None: one that was registered, or is installed.

    Raises InvalidOption for one that cannot be imported.
    """
    named = _registered.get(name)
    if named is not None:
        return named_factory(named)
    installed = next(iter(entry_points(group=GROUP, name=name)), None)
    if installed is None:
        return None
    try:
        factory: Factory = installed.load()
    except Exception as error:  # the operator's own code
        raise InvalidOption(
            f"network {name}: {installed.value} cannot be loaded ({error})"
        ) from error
    return factory


def named_factory(place: str) -> Factory:
    """The factory at "package.module:factory". Raises InvalidOption."""
    module, _, attribute = place.partition(":")
    try:
        factory: object = importlib.import_module(module)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except Exception as error:  # the operator's own code
        raise InvalidOption(
            f"network {place!r} cannot be loaded ({type(error).__name__}: {error}); give "
            "package.module:factory, of a package that is installed here"
        ) from error
    if not callable(factory):
        raise InvalidOption(f"network {place!r} is no function")
    return factory


def made(name: str, factory: Factory, num_classes: int) -> OwnNetwork:
    """The network of a factory. Raises ArchitectureUnknown where it fails."""
    try:
        answer = factory(num_classes)
    except Exception as error:  # the operator's own code
        raise ArchitectureUnknown(
            f"network {name} cannot be made for {num_classes} classes "
            f"({type(error).__name__}: {error})"
        ) from error
    if isinstance(answer, nn.Module):
        return OwnNetwork(answer)
    if not isinstance(answer, OwnNetwork):
        raise ArchitectureUnknown(
            f"network {name}: its factory answered with {type(answer).__name__}, not with a module"
        )
    return answer

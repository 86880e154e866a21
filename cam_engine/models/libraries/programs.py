"""Programs that `torch.export.save` wrote, for who trusts the file: loading one can run its code.

What the loader evaluates is in decision 21. A program computes what the network did, with its
modules' names, so that layers are found and tapped by running it, as of any other network.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown, CheckpointInvalid
from cam_engine.short_names import printable

_RGB = 3
_AXES = ("images", "channels", "height", "width")
_USUAL_SIDE = 224  # pixels, where the program takes any
_MOST_CHARACTERS = 300
_SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Program:
    """A program as a network in eval mode, float32, on the CPU.

    head: dotted name of the last module that has weights. classes: its outputs. input_size:
    (height, width) in pixels. fixed_size: it takes no other. most_images: that it takes at once;
    None for any number.
    """

    network: nn.Module
    head: str
    classes: int
    input_size: tuple[int, int]
    fixed_size: bool
    most_images: int | None


def loaded_program(data: bytes, place: str) -> Program:
    """Load a program, which may run what the file says: only of files that somebody trusts.

    place: of the file, for messages. Raises CheckpointInvalid for what torch cannot load, and
    ArchitectureUnknown for what takes no images or answers with no logits.
    """
    noisy = logging.getLogger("torch.export")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        exported = torch.export.load(io.BytesIO(data))
        images, sides = _takes(exported, place)
        network: nn.Module = torch.export.unflatten(exported)
    except ArchitectureUnknown:
        raise
    except Exception as error:  # torch's own code, with a file of any version
        said = " ".join(printable(str(error)).split())[:_MOST_CHARACTERS]
        raise CheckpointInvalid(
            f"{place}: this version of torch cannot load the program "
            f"({type(error).__name__}: {said}): export it again, with this version"
        ) from error
    finally:
        noisy.setLevel(level)
    _forget_examples(network)
    network.eval().requires_grad_(requires_grad=False)
    height, width = (side or _USUAL_SIDE for side in sides)
    classes = _classes(network, (height, width), place)
    return Program(network, _head(network), classes, (height, width), all(sides), images)


def _forget_examples(network: nn.Module) -> None:
    """What each step answered with while it was exported: of any size, it cannot be copied."""
    for module in network.modules():
        graph = getattr(module, "graph", None)
        for node in getattr(graph, "nodes", ()):
            node.meta.clear()


def _takes(exported: Any, place: str) -> tuple[int | None, tuple[int | None, int | None]]:
    """(images at once, (height, width)) that the program was exported for; None for any."""
    inputs = exported.graph_signature.user_inputs
    nodes = [node for node in exported.graph.nodes if node.name in inputs]
    shapes: list[Any] = [getattr(node.meta.get("val"), "shape", ()) for node in nodes]
    if len(shapes) != 1 or len(shapes[0]) != len(_AXES) or shapes[0][1] != _RGB:
        raise ArchitectureUnknown(
            f"{place}: the program does not take one batch of images with three channels"
        )
    images, _, height, width = (int(size) if isinstance(size, int) else None for size in shapes[0])
    return images, (height, width)


def _classes(network: nn.Module, input_size: tuple[int, int], place: str) -> int:
    """How many logits it answers with. Raises ArchitectureUnknown."""
    noise = torch.randn(1, _RGB, *input_size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            logits: object = network(noise)
    except Exception as error:  # the file's own code
        said = str(error).partition("\n")[0][:_MOST_CHARACTERS]
        raise ArchitectureUnknown(
            f"{place}: the program does not run on one image of {input_size[0]}x{input_size[1]} "
            f"px ({printable(said)}): export it for one image, or with a dynamic batch"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        raise ArchitectureUnknown(
            f"{place}: the program does not answer with logits (images, two classes or more)"
        )
    if bool((logits >= 0).all()) and abs(float(logits.sum()) - 1) < _SUM_TOLERANCE:
        raise ArchitectureUnknown(
            f"{place}: the program answers with probabilities: export it without its last softmax"
        )
    return logits.shape[1]


def _head(network: nn.Module) -> str:
    names = [
        name
        for name, module in network.named_modules()
        if name and [*module.parameters(recurse=False)]
    ]
    return names[-1] if names else ""

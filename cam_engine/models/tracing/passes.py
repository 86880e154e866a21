"""One pass of a network, in which the output of every module is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown, InvalidOption
from cam_engine.models.module_outputs import tensor_of, with_tensor
from cam_engine.models.tracing.grids import Output, outputs_of

_RGB = 3
_PASSED_THROUGH = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)


def noise(network: nn.Module, input_size: tuple[int, int], seed: int) -> Tensor:
    """One image (1, 3, h, w), on the network's device."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, _RGB, *input_size, generator=generator).to(device)


def run(network: nn.Module, image: Tensor) -> tuple[Tensor, list[Output]]:
    """Logits (1, classes) of the image, and the outputs with a grid, as they were finished.

    Raises InvalidOption where the network does not run on it, ArchitectureUnknown where what it
    answers with are no logits.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> Tensor:
        kept.pop(name, None)
        kept[name] = output
        return output.clone()  # what comes next may write into it

    names = [
        name
        for name, module in network.named_modules()
        if name and not isinstance(module, _PASSED_THROUGH)
    ]
    input_size = image.shape[2], image.shape[3]
    try:
        with watched(network, names, keep), torch.enable_grad():
            logits: object = network(image)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidOption(
            f"{type(network).__name__} takes no images of "
            f"{input_size[0]}x{input_size[1]} px: {said}"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != len(("image", "class")):
        raise ArchitectureUnknown(
            f"{type(network).__name__} does not answer with logits (images, classes)"
        )
    containers = {name for name, module in network.named_modules() if [*module.children()]}
    return logits, [
        replace(output, is_container=output.module in containers)
        for name, tensor in kept.items()
        for output in outputs_of(name, tensor, input_size)
    ]


@contextmanager
def watched(
    network: nn.Module, names: Sequence[str], watch: Callable[[str, Tensor], Tensor | None]
) -> Iterator[None]:
    """Calls watch(name, output) for each of the modules that answers with a grid or tokens.

    What it returns, if anything, goes on in place of the output.
    """

    def hook(name: str, output: object) -> object:
        tensor = tensor_of(output)
        if tensor is None or tensor.ndim not in (3, 4):
            return None
        instead = watch(name, tensor)
        return None if instead is None else with_tensor(output, instead)

    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: hook(name, output)
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

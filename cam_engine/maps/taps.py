"""Taps: the hooks that keep activations, owned by a `with` block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cam_engine.errors import LayerNotSpatial
from cam_engine.models.module_outputs import tensor_of, with_tensor

_Hook = Callable[[nn.Module, object, object], object]


class LayerTap:
    """Keeps the outputs of modules for one forward pass, and starts the graph at the earliest.

    The first module that runs gets its output detached and made a leaf, so that autograd builds
    no graph before it; every tapped output goes on as a clone, since an in-place operation after
    the module would rewrite what is kept (and is an error on a leaf). Hooks act only on the
    thread that entered the block, and are gone when it ends, also after an exception.
    """

    def __init__(
        self, network: nn.Module, modules: Sequence[str], rectify: Collection[str] = ()
    ) -> None:
        """rectify: those of the modules after which the network itself applies a ReLU."""
        self._network = network
        self._modules = tuple(modules)
        self._rectify = frozenset(rectify)
        self._outputs: dict[str, Tensor] = {}
        self._read: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._thread = 0

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        try:
            for name in self._modules:
                module = self._network.get_submodule(name)
                self._handles.append(module.register_forward_hook(self._hook(name)))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    @property
    def outputs(self) -> list[Tensor]:
        """The kept outputs in the order of the modules. Raises LayerNotSpatial if one never ran."""
        missing = [name for name in self._modules if name not in self._outputs]
        if missing:
            raise LayerNotSpatial(f"layer {missing[0]} took no part in the forward pass")
        return [self._outputs[name] for name in self._modules]

    @property
    def read(self) -> Mapping[str, Tensor]:
        """By module, what went on into the network: a copy of the output, one step later."""
        return self._read

    def gradients(self, score: Tensor) -> list[Tensor]:
        """D score / d output for each kept output, from one backward pass; zero where unrelated."""
        outputs = self.outputs
        gradients = torch.autograd.grad(score, outputs, allow_unused=True)
        return [
            torch.zeros_like(output) if gradient is None else gradient
            for output, gradient in zip(outputs, gradients, strict=True)
        ]

    def _hook(self, name: str) -> _Hook:
        def keep(_module: nn.Module, _inputs: object, output: object) -> object:
            if threading.get_ident() != self._thread:
                return None
            tensor = tensor_of(output)
            if tensor is None:
                raise LayerNotSpatial(
                    f"layer {name} answers with {type(output).__name__}, not with one tensor; "
                    "name a layer whose output has a height and a width"
                )
            if name in self._rectify:
                tensor = _rectified(tensor)
            kept = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            self._outputs[name] = kept
            self._read[name] = kept.clone()
            return with_tensor(output, self._read[name])

        return keep

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()


def _rectified(output: Tensor) -> Tensor:
    """relu(output), such that the ReLU after it changes nothing and lets every gradient through.

    A ReLU's derivative at 0 is 0: without the smallest normal number in place of 0, the gradient
    with respect to the rectified activation would be lost where the activation is 0.
    """
    return output.relu().clamp_min(torch.finfo(output.dtype).tiny)

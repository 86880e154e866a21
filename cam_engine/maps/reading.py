"""How what comes next reads a tapped output: every cell, one in each block, or their mean.

A convolution of 1 x 1 with stride 2 reads a quarter of the cells, and a maximum over 2 x 2 passes
the gradient of one cell in four: gradients before them lie on a lattice that says how the network
goes on to coarser grids, and nothing of the image. Over a block of cells together they are whole.

Where the network's head takes the mean of a layer's cells, the mean of the gradients over them says
what a channel is worth to the class, as Grad-CAM has it (Selvaraju et al. 2017, sec. 3.1). A class
token, attention after the layer or a head with weights for each place leave nothing of that.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

_CONVOLUTION = "ConvolutionBackward0"
_POOLS = frozenset({"AvgPool2DBackward0", "MaxPool2DWithIndicesBackward0"})
_MEANS = frozenset({"MeanBackward0", "MeanBackward1"})
_ADAPTIVE = "AdaptiveMaxPool2DBackward0"  # of averages, that over all cells is a mean
# What works on each cell by itself; after all else, cells have been mixed with their neighbours.
_CELL_BY_CELL = frozenset(
    f"{name}Backward{number}"
    for number in (0, 1)
    for name in (
        *("Add", "AddRelu", "Alias", "AsStrided", "Cat", "Clone", "Contiguous", "Div", "Mul"),
        *("CudnnBatchNorm", "NativeBatchNorm", "NativeGroupNorm", "NativeLayerNorm", "Permute"),
        *("Elu", "Gelu", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyRelu", "Mish", "Relu"),
        *("Sigmoid", "Silu", "Slice", "Sub", "Tanh", "Threshold", "ToCopy", "Transpose", "View"),
    )
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How an output is read.

    stride: the side in cells of the blocks of which what comes next reads one value; 1 where every
    cell is read, or a step that mixes neighbours comes first. averaged: nothing is done but cell by
    cell until the mean, or the maximum, over all cells is taken.
    """

    stride: int = 1
    averaged: bool = False


def readings(score: Tensor, read: Mapping[str, Tensor]) -> dict[str, Reading]:
    """For each name, how it is read. score: what the graph ends in, before a backward pass.

    read: the tensors that went on into the network.
    """
    consumers = _consumers(score.grad_fn)
    return {name: _reading(consumers, tensor.grad_fn) for name, tensor in read.items()}


def over_blocks(gradients: Tensor, stride: int) -> Tensor:
    """(N, C, h, w) gradients, each cell's replaced by the mean of its block of stride x stride.

    Blocks begin at the first row and column; those at the ends may be smaller. Sums do not change.
    """
    if stride == 1:
        return gradients
    height, width = gradients.shape[2:]
    means = functional.avg_pool2d(gradients, stride, ceil_mode=True, count_include_pad=False)
    return functional.interpolate(means, scale_factor=float(stride))[..., :height, :width]


def _reading(consumers: Mapping[object, list[object]], node: object) -> Reading:
    """By all that is reached through nothing but steps that go cell by cell."""
    strides, averaged = [1], []
    waiting, seen = deque([node]), {node}
    while waiting:
        for following in consumers.get(waiting.popleft(), ()):
            stride, goes_on = _step(following)
            strides.append(stride)
            if not goes_on:
                averaged.append(_takes_all_cells(following))
            elif following not in seen:
                seen.add(following)
                waiting.append(following)
    return Reading(max(strides), bool(averaged) and all(averaged))


def _takes_all_cells(node: Any) -> bool:
    name = type(node).__name__
    if name == _ADAPTIVE:
        return all(side == 1 for side in node._saved_result1.shape[2:])
    if name in _POOLS:
        return list(node._saved_kernel_size) == list(node._saved_self.shape[2:])
    return name in _MEANS


def _step(node: Any) -> tuple[int, bool]:
    """By how many cells the step moves on, and whether it went cell by cell."""
    name = type(node).__name__
    if name == _CONVOLUTION:
        kernel, stride = node._saved_weight.shape[2:], max(node._saved_stride)
        return stride, stride == 1 and math.prod(kernel) == 1
    if name in _POOLS:
        return max(node._saved_stride or node._saved_kernel_size), False
    return 1, name in _CELL_BY_CELL


def _consumers(last: object) -> dict[object, list[object]]:
    """Each node of the graph -> those that work on it."""
    consumers: dict[object, list[object]] = defaultdict(list)
    waiting, seen = [last], {last}
    while waiting:
        node = waiting.pop()
        for source in _sources(node):
            consumers[source].append(node)
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return consumers


def _sources(node: object) -> Iterator[object]:
    for source, _ in getattr(node, "next_functions", ()):
        if source is not None:
            yield source

"""What autograd has recorded of one pass: ways from the image to the logits, and ReLUs on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from cam_engine.models.architectures import Sign
from cam_engine.models.tracing.grids import Output

_NODES_OF_RELU = frozenset({"ReluBackward0", "ThresholdBackward0", "HardtanhBackward0"})
_NODES_OF_COPIES = frozenset({"CloneBackward0", "AliasBackward0"})
_PRIME = (1 << 61) - 1


class Graph:
    """What autograd has recorded of one pass."""

    def __init__(self, logits: Tensor, image: Tensor) -> None:
        self.consumers: dict[object, list[object]] = defaultdict(list)
        order = self._in_order(logits.grad_fn)
        self._to_logits: dict[object, int] = defaultdict(int, {logits.grad_fn: 1})
        for node in order:
            for source in _sources(node):
                self.consumers[source].append(node)
                self._to_logits[source] += self._to_logits[node]
                self._to_logits[source] %= _PRIME
        self._from_image: dict[object, int] = defaultdict(int)
        for node in reversed(order):
            ways = sum(self._from_image[source] for source in _sources(node))
            is_image = getattr(node, "variable", None) is image
            self._from_image[node] = (ways + is_image) % _PRIME
        self._ways = self._from_image[logits.grad_fn]

    def is_passed_by_all(self, node: object) -> bool:
        """Whether each way from the image to the logits leads through it.

        The number of ways through it is then that of all ways; numbers are kept modulo a prime.
        """
        through = self._from_image[node] * self._to_logits[node] % _PRIME
        return node in self._from_image and through == self._ways

    @staticmethod
    def _in_order(last: object) -> list[object]:
        """Each node before those that it works on."""
        done: list[object] = []
        seen: set[object] = set()
        waiting: list[tuple[object, bool]] = [(last, False)]
        while waiting:
            node, is_done = waiting.pop()
            if is_done:
                done.append(node)
            elif node not in seen:
                seen.add(node)
                waiting.append((node, True))
                waiting += [(source, False) for source in _sources(node) if source not in seen]
        return done[::-1]


def _sources(node: object) -> list[object]:
    return [
        following for following, _ in getattr(node, "next_functions", ()) if following is not None
    ]


def reach_logits(logits: Tensor, outputs: Sequence[Output]) -> list[Output]:
    """Those whose cells the logits depend on: a class token's block may leave all others out.

    Where no gradient has a number, as of a head of zeros, or all have none: what the graph says.
    """
    wanted = [output for output in outputs if output.tensor.requires_grad]
    if not wanted or logits.grad_fn is None:
        return []
    score = (logits * torch.linspace(1, 2, logits.shape[1], device=logits.device)).sum()
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        score, [candidate.tensor for candidate in wanted], allow_unused=True, retain_graph=True
    )
    connected = [
        (candidate, gradient if candidate.tokens is None else gradient[:, candidate.tokens :])
        for candidate, gradient in zip(wanted, gradients, strict=True)
        if gradient is not None
    ]
    if logits.is_meta:
        return [candidate for candidate, _ in connected]
    reached = [candidate for candidate, cells in connected if bool(cells.count_nonzero())]
    return reached or [candidate for candidate, _ in connected]


def sign_of(node: object, graph: Graph) -> Sign:
    """Of what a node makes: by the ReLU that made it, or comes next."""
    if _made_by_relu(node):
        return Sign.NONNEGATIVE
    return Sign.RELU_NEXT if _goes_into_relu(node, graph.consumers) else Sign.SIGNED


def _made_by_relu(node: object) -> bool:
    while _name(node) in _NODES_OF_COPIES:
        node = getattr(node, "next_functions", ((None, 0),))[0][0]
    return _name(node) in _NODES_OF_RELU


def _goes_into_relu(node: object, consumers: dict[object, list[object]]) -> bool:
    """Whether a ReLU, and nothing else, works on it."""
    after = consumers.get(node, [])
    while len(after) == 1 and _name(after[0]) in _NODES_OF_COPIES:
        after = consumers.get(after[0], [])
    return len(after) == 1 and _name(after[0]) in _NODES_OF_RELU


def _name(node: object) -> str:
    return type(node).__name__

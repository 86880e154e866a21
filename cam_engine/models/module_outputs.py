"""What a module answers with, where that is a tensor or a tuple around one.

Blocks of transformers answer with `(hidden_states, None)`: the second is attention, if asked for.
"""

from __future__ import annotations

from torch import Tensor


def tensor_of(output: object) -> Tensor | None:
    """The one tensor of a module's output; None where there is none, or another beside it."""
    if isinstance(output, Tensor):
        return output
    if not isinstance(output, tuple) or not output or not isinstance(output[0], Tensor):
        return None
    return None if any(isinstance(other, Tensor) for other in output[1:]) else output[0]


def with_tensor(output: object, tensor: Tensor) -> object:
    """The output with another tensor in place of its own."""
    return (tensor, *output[1:]) if isinstance(output, tuple) else tensor

"""Attention, kept while a vision transformer runs: what each token answers for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SOFTMAX = frozenset({torch.softmax, functional.softmax, torch.Tensor.softmax})


class AttentionTap(TorchFunctionMode):
    """Keeps the attention of each layer that runs in a `with` block, in their order.

    Shapes are (N, heads, queries, keys), or (N * heads, queries, keys) of torch's own layers.

    Libraries leave softmax and products to one fused function, which gives no attention away: in
    this block it is computed in its parts, as
    https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention
    says. Where a network computes the parts by itself, its softmax is kept. Only calls of the
    thread that entered the block are seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            return self._attend_in_torch(args, kwargs)
        answer = func(*args, **kwargs)
        if func in _SOFTMAX and answer.ndim == 4:
            self.kept.append(answer)
        return answer

    def _attend_in_torch(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Of nn.MultiheadAttention: asked for its weights, it computes its parts."""
        asked = {"need_weights": True, "average_attn_weights": False}
        output, weights = functional.multi_head_attention_forward(*args, **{**kwargs, **asked})
        # What is answered is a view of what the output was made of; that has the gradient.
        if weights is not None:
            self.kept.append(weights if weights._base is None else weights._base)
        return output, weights if kwargs.get("need_weights", True) else None

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """softmax(Q K^T * scale + mask) V; without dropout, since networks run as in evaluation."""
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (part.repeat_interleave(groups, -3) for part in (key, value))
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query * factor) @ key.mT
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        attention = scores.softmax(-1)
        if attention.ndim == 4:
            self.kept.append(attention)
        return attention.to(value.dtype) @ value


def of_whole_images(attention: Sequence[Tensor], images: int, tokens: int) -> list[Tensor]:
    """Those whose keys are all of an image's tokens: not windows, nor other images."""
    return [
        layer
        for layer in attention
        if layer.shape[-1] == tokens
        and (layer.shape[0] == images if layer.ndim == 4 else layer.shape[0] % images == 0)
    ]


def by_keys(layers: Sequence[Tensor], images: int) -> Tensor:
    """Gradients of attention, layer by layer -> (N, keys, layers) float32, >= 0.

    What is below 0 counts as 0, then heads and queries are averaged, as LeGrad does (Bousselham et
    al. 2024, eq. 6 and 7).
    """
    of_images = (layer.reshape(images, -1, *layer.shape[-2:]) for layer in layers)
    return torch.stack([layer.float().relu().mean((1, 2)) for layer in of_images], -1)

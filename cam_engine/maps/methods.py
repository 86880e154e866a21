"""The CAM formulas: pure functions from activations and gradients to maps.

All take activations A and gradients g = dY/dA of the class logit Y, both (N, C, h, w), and answer
(N, h, w) float32 maps, >= 0 and not normalised. Half precision inputs are computed in float32.
Whether A is rectified first is the caller's choice (see `cam_engine.models.architectures.Sign`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import mul
from types import MappingProxyType

import torch
from torch import Tensor

from cam_engine.method_facts import Method

CamFunction = Callable[[Tensor, Tensor], Tensor]

# Below this size a denominator counts as zero: far under any sum that carries evidence, far above
# what float32 loses in a sum over a feature map.
_POLE = 1e-6


def grad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2): relu(sum_k mean(g_k) A_k)."""
    weights = gradients.mean((2, 3), dtype=torch.float32)
    return _weighted_sum(activations, weights).relu_()


def grad_cam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018, eq. 19 in 13): relu(sum_k w_k A_k).

    With alpha = g^2 / (2 g^2 + sum(A) g^3), w = sum of alpha relu(g). Where g > 0 the factor g^2
    cancels, w = sum of relu(g) / (2 + sum(A) g), which needs no epsilon however small g is. Where
    A is signed, sum(A) g can reach -2: that pole is kept at a distance of 1e-6.
    """
    positive = gradients.float().relu()
    sums = activations.sum((2, 3), keepdim=True, dtype=torch.float32)
    denominators = (positive * sums).add_(2.0)
    # On a GPU, to ask first would be to wait for it.
    if activations.is_cuda or bool(sums.min() < 0):
        denominators = _away_from_zero(denominators)
    weights = positive.div_(denominators).sum((2, 3))
    return _weighted_sum(activations, weights).relu_()


def hires_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """HiResCAM (Draelos and Carin 2020, eq. 4): relu(sum_k g_k A_k)."""
    return (gradients.float() * activations).sum(1).relu_()


def layer_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM (Jiang et al. 2021, eq. 5 and 6): relu(sum_k relu(g_k) A_k)."""
    return gradients.float().relu().mul_(activations).sum(1).relu_()


def xgrad_cam(activations: Tensor, gradients: Tensor) -> Tensor:
    """XGrad-CAM (Fu et al. 2020, eq. 7): w = sum(g A) / sum(A), 0 where a channel sums to 0."""
    activations = activations.float()
    sums = activations.sum((2, 3))
    weighted = (gradients * activations).sum((2, 3))
    weights = torch.where(sums.abs() < _POLE, 0.0, weighted / _away_from_zero(sums))
    return _weighted_sum(activations, weights).relu_()


def eigen_cam(activations: Tensor, gradients: Tensor | None = None) -> Tensor:
    """Eigen-CAM (Muhammad and Yeasin 2020, eq. 3): A over its first principal direction.

    Pixels are centred, as the published implementations do. The sign of a singular vector is
    arbitrary; the one taken makes the map rise with the activation's magnitude. It ignores the
    class: `gradients` is accepted so that all formulas have one form.
    """
    batch, channels, height, width = activations.shape
    pixels = activations.float().permute(0, 2, 3, 1).reshape(batch, height * width, channels)
    centred = pixels - pixels.mean(1, keepdim=True)
    projection = _first_principal_scores(centred)
    strength = pixels.norm(dim=2)
    agreement = (projection * (strength - strength.mean(1, keepdim=True))).sum(1, keepdim=True)
    signed = torch.where(agreement < 0, -projection, projection)
    return signed.reshape(batch, height, width).relu_().to(torch.float32)


def le_grad(activations: Tensor, gradients: Tensor) -> Tensor:
    """LeGrad (Bousselham et al. 2024, eq. 8), a channel an attention layer: sum_k relu(g_k).

    g are here the gradients of attention, by keys (see `cam_engine.maps.attention`); A plays no
    part. Every cell has some; the least of an image counts as none, as in the authors' code. The
    gradients are those of the network's own logit; the paper takes for each layer the logit that
    the head would give of that layer's tokens, which found less (docs/trust.md).
    """
    sums = gradients.float().relu().sum(1)
    return sums - sums.amin((1, 2), keepdim=True)


# What else is known of each stands in `cam_engine.method_facts`.
METHOD_FUNCTIONS: Mapping[Method, CamFunction] = MappingProxyType(
    {
        "gradcam++": grad_cam_plus_plus,
        "gradcam": grad_cam,
        "hirescam": hires_cam,
        "layercam": layer_cam,
        "xgradcam": xgrad_cam,
        "eigencam": eigen_cam,
        "legrad": le_grad,
    }
)


def fuse(maps: list[Tensor]) -> Tensor:
    """Geometric mean of normalised maps: (N, h_i, w_i) each 0..1 -> (N, h, w) of the finest grid.

    Coarser maps are upsampled bilinearly. Where one map is all zero, so is the fused one.
    """
    if not maps:
        raise ValueError("no maps to fuse")
    height, width = max((m.shape[-2:] for m in maps), key=lambda shape: shape[0] * shape[1])
    fine = (
        torch.nn.functional.interpolate(
            layer[:, None], size=(height, width), mode="bilinear", align_corners=False
        )[:, 0]
        for layer in maps
    )
    return reduce(mul, fine).clamp_min(0).pow(1.0 / len(maps))


def _weighted_sum(activations: Tensor, weights: Tensor) -> Tensor:
    """(N, C, h, w) and (N, C) float32 -> (N, h, w) float32."""
    return torch.einsum("nc,nchw->nhw", weights, activations.float())


def _away_from_zero(values: Tensor) -> Tensor:
    """The values, none of them nearer to zero than the pole's guard."""
    return torch.where(values < 0, values.clamp_max(-_POLE), values.clamp_min(_POLE))


def _first_principal_scores(centred: Tensor) -> Tensor:
    """(N, P, C) -> (N, P) float64: scores on the first right singular vector.

    Taken from the smaller of the two Gram matrices, in float64 since it squares the condition.
    """
    matrix = centred.double()
    if matrix.shape[1] <= matrix.shape[2]:
        values, vectors = torch.linalg.eigh(matrix @ matrix.mT)
        scores: Tensor = vectors[..., -1] * values[..., -1:].clamp_min(0).sqrt()
        return scores
    _, vectors = torch.linalg.eigh(matrix.mT @ matrix)
    return torch.einsum("npc,nc->np", matrix, vectors[..., -1])

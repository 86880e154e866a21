"""Precision and memory format: a rule by network family and device, and its application."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cam_engine.options import PrecisionName


@dataclass(frozen=True, slots=True)
class Precision:
    """How a network is run: its dtype, memory format, and whether batch norms are folded.

    tf32: float32 convolutions multiply in TF32 (10 bits of mantissa), as torch lets cuDNN do.
    """

    dtype: torch.dtype
    channels_last: bool
    fold_batch_norm: bool
    tf32: bool = False

    def describe(self) -> str:
        """For manifests and picture recipes: "bfloat16, channels_last"."""
        parts = [str(self.dtype).removeprefix("torch.")]
        parts += ["TF32 convolutions"] if self.tf32 else []
        parts += ["channels_last"] if self.channels_last else []
        parts += ["conv-bn folded"] if self.fold_batch_norm else []
        return ", ".join(parts)


def choose_precision(
    *, depthwise: bool, transformer: bool, device: torch.device, wanted: PrecisionName = "auto"
) -> Precision:
    """The rule, by the kind of network and the device.

    Dense convolutions (DenseNet, ResNet, VGG) run in bfloat16 on a CPU that multiplies it natively.
    Depthwise ones (EfficientNet, MobileNet, ConvNeXt) gain nothing from it there, and transformers
    were not measured: both keep float32. So do all networks on a GPU, where TF32 is nearly as fast
    and more exact. Batch norms are folded wherever there are any after a convolution.
    """
    if wanted == "auto":
        fast = not depthwise and not transformer and multiplies_bfloat16(device)
        dtype = torch.bfloat16 if fast else torch.float32
    else:
        dtype = getattr(torch, wanted)
    return Precision(
        dtype=dtype,
        channels_last=not transformer,
        fold_batch_norm=True,
        tf32=dtype == torch.float32 and multiplies_tf32(device),
    )


def multiplies_bfloat16(device: torch.device) -> bool:
    """True for a CPU whose bfloat16 products are native: AVX512-BF16 or AMX on x86."""
    features = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def multiplies_tf32(device: torch.device) -> bool:
    """True for a GPU from Ampere (8.x) on, unless torch or NVIDIA's libraries were told not to."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # torch leaves it untyped
    return (
        device.type == "cuda"
        and torch.cuda.get_device_capability(device)[0] >= 8
        and convolutions.fp32_precision == "tf32"
        and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"
    )


def prepare(network: nn.Module, precision: Precision, device: torch.device, head: str) -> nn.Module:
    """A copy of the network, frozen, in eval mode, on the device, ready to run at the precision.

    In bfloat16 only convolutions and linear layers are cast: norms keep float32 statistics, and
    the head gets a float32 product, so that probabilities do not lose digits.
    """
    prepared = fold_batch_norms(network) if precision.fold_batch_norm else copy.deepcopy(network)
    prepared.eval()
    if precision.dtype != torch.float32:
        _cast(prepared, precision.dtype, head)
    for parameter in prepared.parameters():
        parameter.requires_grad_(False)
    if precision.channels_last:
        _lay_channels_last(prepared)
    for module in prepared.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.register_forward_hook(_mind_gradient)
    return prepared.to(device)


def _lay_channels_last(network: nn.Module) -> None:
    """Weights of 2-D convolutions; those of 3-D ones, which some have inside, stay as they are."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """A copy in which every batch norm right after a convolution is folded into it.

    The data flow is taken from a symbolic trace; a network that cannot be traced is copied as is.
    Names stay: the norm's place holds an Identity (or what a fused norm + activation leaves).
    """
    folded = copy.deepcopy(network).eval()
    for convolution, norm in _foldable_pairs(folded):
        conv = folded.get_submodule(convolution)
        batch_norm = folded.get_submodule(norm)
        # get_submodule answers any Module; the pairs hold a convolution and its batch norm.
        fused = fuse_conv_bn_eval(conv, batch_norm)  # type: ignore[arg-type, type-var]
        folded.set_submodule(convolution, fused)
        folded.set_submodule(norm, _rest_of_norm(batch_norm))
    return folded


def _mind_gradient(_module: nn.Module, _inputs: object, output: Tensor) -> None:
    if output.requires_grad and len(output) == 1:
        # torch leaves it untyped.
        output.register_hook(_of_whole_image)  # type: ignore[no-untyped-call]


def _of_whole_image(gradient: Tensor) -> Tensor:
    """The gradient (1, C, ...), the step from one image to the next being that of a whole image.

    Where there is one image that step is never taken, and tokens folded back to a grid have another
    one. Torch's batch norm on a CPU reads such a gradient in a wrong order, and says nothing.
    """
    return gradient.as_strided(gradient.shape, (gradient[0].numel(), *gradient.stride()[1:]))


class _Float32Head(nn.Module):
    """A head computed in float32, whatever the precision of what comes before."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head.float()

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits


def _cast(network: nn.Module, dtype: torch.dtype, head: str) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)
    network.set_submodule(head, _Float32Head(network.get_submodule(head)))


# A trace patches torch.nn.Module for the whole process while it lasts.
_TRACING = threading.Lock()


class _Tracer(fx.Tracer):
    """Keeps norms whole that are no torch.nn classes themselves (timm's norm + activation).

    Modules that other threads run meanwhile are left to them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> object:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(
        self, attr: str, attr_val: object, parameter_proxy_cache: dict[str, fx.Proxy]
    ) -> object:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _foldable_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """(convolution, norm) names where the norm alone reads the convolution's output."""
    try:
        with _TRACING:
            graph = _Tracer().trace(network)
    except Exception:
        return []
    calls = [node for node in graph.nodes if node.op == "call_module"]
    called = [str(node.target) for node in calls]
    pairs = []
    for node in calls:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        names = str(source.target), str(node.target)
        once = all(called.count(name) == 1 for name in names)
        if once and len(source.users) == 1 and _can_fold(network, *names):
            pairs.append(names)
    return pairs


def _can_fold(network: nn.Module, convolution: str, norm: str) -> bool:
    conv, batch_norm = network.get_submodule(convolution), network.get_submodule(norm)
    return (
        type(conv) is nn.Conv2d
        and isinstance(batch_norm, nn.BatchNorm2d)
        and batch_norm.running_mean is not None
    )


def _rest_of_norm(norm: nn.Module) -> nn.Module:
    """What a batch norm does beside normalising: nothing, or (timm's fused form) an activation."""
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*rest) if rest else nn.Identity()

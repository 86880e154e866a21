"""Networks of other inputs and outputs, made into those of RGB and one logit a class, exactly.

One grey channel is a weighted sum of R, G and B, and so is what the first convolution makes of it;
one output with a sigmoid is a softmax over two. So nothing but the first and the last layer is
changed, and maps, pictures and answers are made as of any other network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

RGB = 3
_GREY, _WITH_ALPHA = 1, 4
# ITU-R BT.601-2 luma, as PIL's convert("L") and torchvision's Grayscale have it.
_LUMA = (0.299, 0.587, 0.114)


class OpaqueAlpha(nn.Module):
    """A first convolution of four channels, the fourth of which is the same everywhere."""

    def __init__(self, convolution: nn.Module, value: float) -> None:
        super().__init__()
        self.convolution = convolution
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, h, w) -> what the convolution makes of it and the fourth channel."""
        alpha = images.new_full((len(images), 1, *images.shape[2:]), self.value)
        answer: Tensor = self.convolution(torch.cat([images, alpha], 1))
        return answer


def input_channels(skeleton: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """(the first convolution's dotted name, channels of the weights) where those are not three."""
    for name, module in skeleton.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = weights.get(f"{name}.weight")
            shape = module.weight.shape
            if weight is None or weight.ndim != len(shape) or module.in_channels != RGB:
                return None
            other = weight.shape[1] != RGB and weight.shape[1] in (_GREY, _WITH_ALPHA)
            alike = weight.shape[0] == shape[0] and weight.shape[2:] == shape[2:]
            return (name, weight.shape[1]) if other and alike and module.groups == 1 else None
    return None


def with_channels(skeleton: nn.Module, name: str, channels: int) -> None:
    """Give the first convolution so many channels, on the meta device."""
    old = skeleton.get_submodule(name)
    if isinstance(old, nn.Conv2d):
        with torch.device("meta"):
            new = nn.Conv2d(
                channels,
                old.out_channels,
                (old.kernel_size[0], old.kernel_size[1]),
                (old.stride[0], old.stride[1]),
                old.padding if isinstance(old.padding, str) else (old.padding[0], old.padding[1]),
                (old.dilation[0], old.dilation[1]),
                bias=old.bias is not None,
                padding_mode=old.padding_mode,
            )
        if type(old) is not nn.Conv2d:  # one of a library's own, which pads in its own way
            old.in_channels = channels
            old.weight = new.weight
            return
        skeleton.set_submodule(name, new)


def take_rgb(network: nn.Module, name: str, alpha: float) -> str:
    """Make a network of one or four channels take three; what is assumed, as a sentence.

    alpha: what the fourth channel is everywhere, as the network sees it.
    """
    convolution = network.get_submodule(name)
    if not isinstance(convolution, nn.Conv2d):
        raise TypeError(f"{name} is no convolution")
    if convolution.in_channels == _WITH_ALPHA:
        network.set_submodule(name, OpaqueAlpha(convolution, alpha))
        return "the network takes four channels: the fourth is taken for an opaque alpha"
    luma = torch.tensor(_LUMA, dtype=convolution.weight.dtype).view(1, RGB, 1, 1)
    convolution.weight = nn.Parameter(convolution.weight * luma, requires_grad=False)
    convolution.in_channels = RGB
    return "the network takes grey images: they are made grey (ITU-R 601-2 luma) first"


def two_outputs(network: nn.Module, head: str) -> None:
    """One output z with a sigmoid as two, -z/2 and z/2, whose softmax is the same."""
    layer = network.get_submodule(head)
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise TypeError(f"{head} has no weights")
    for name in ("weight", "bias"):
        value = getattr(layer, name)
        if value is not None:
            both = torch.cat([-value / 2, value / 2])
            setattr(layer, name, nn.Parameter(both, requires_grad=False))
    if isinstance(layer, nn.Linear):
        layer.out_features = 2
    else:
        layer.out_channels = 2


def logits_only(network: nn.Module, region: str) -> str | None:
    """Take away what a head does after its last layer to make probabilities; its name, if any."""
    head = network.get_submodule(region)
    if isinstance(head, nn.Sequential) and len(head):
        last = head[-1]
        if isinstance(last, nn.Sigmoid | nn.Softmax | nn.LogSoftmax):
            head[-1] = nn.Identity()
            return type(last).__name__
    return None

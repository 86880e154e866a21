"""Networks as fastai's `cnn_learner` and `vision_learner` make them and `learn.save` writes them.

The body is the children of a torchvision network without its own head, as child 0 of a Sequential;
the head, child 1, is `create_head`'s: concatenated pools, then batch norm, dropout and a linear
layer, twice, with a ReLU between (https://docs.fast.ai/vision.learner.html#create_head).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from cam_engine.models.networks import skeleton_of, torchvision_models

_BODY, _HEAD = "0.", "1."
_NUMBERED = re.compile(r"1\.(\d+)\.(\w+)")
_CUT = ("resnet", "densenet", "vgg", "squeezenet", "alexnet")
_CUTS = (-2, -1)  # children of a torchvision network that are no part of its body
_SIDE = 64  # pixels
_FIRST = 2  # after the pools and the flattening


class AdaptiveConcatPool2d(nn.Module):
    """Maxima and means over all cells: (N, C, h, w) -> (N, 2 C, 1, 1)."""

    def forward(self, features: Tensor) -> Tensor:
        """Maxima first."""
        return torch.cat([features.amax((2, 3), True), features.mean((2, 3), True)], 1)


def bodies_of_learners() -> list[str]:
    """The networks of torchvision that fastai cuts for a body, by their names."""
    return [name for name in torchvision_models() if name.startswith(_CUT)]


def is_learner(weights: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of such a learner."""
    starts = {key.split(".", 1)[0] for key in weights}
    return starts == {"0", "1"} and any(_NUMBERED.match(key) for key in weights)


def learner(name: str, weights: Mapping[str, Tensor]) -> nn.Module | None:
    """The learner's network with the body of a torchvision network, without memory for weights.

    None where body or head have other weights.
    """
    whole = skeleton_of(name, "torchvision", 2)
    body_shapes = {
        key.removeprefix(_BODY): tensor.shape
        for key, tensor in weights.items()
        if key.startswith(_BODY)
    }
    for body in _bodies(whole):
        shapes = {key: tensor.shape for key, tensor in body.state_dict().items()}
        if shapes == body_shapes:
            image = torch.empty(1, 3, _SIDE, _SIDE, device=next(body.parameters()).device)
            with torch.no_grad():
                features = body.eval()(image).shape[1]
            head = _head(weights, features)
            return None if head is None else nn.Sequential(body, head)
    return None


def _bodies(whole: nn.Module) -> Iterator[nn.Module]:
    children = list(whole.children())
    for cut in _CUTS:
        yield nn.Sequential(*children[:cut])


def _head(weights: Mapping[str, Tensor], features: int) -> nn.Module | None:
    """By its numbers: norms and linear layers in turn, dropout before each of the latter."""
    numbers = sorted({int(numbered[1]) for key in weights if (numbered := _NUMBERED.match(key))})
    norms = [number for number in numbers if f"{_HEAD}{number}.running_mean" in weights]
    linear = [number for number in numbers if number not in norms]
    expected = list(range(_FIRST, _FIRST + 4 * len(norms), 4))
    if norms != expected or linear != [number + 2 for number in expected]:
        return None
    first = weights[f"{_HEAD}{norms[0]}.running_mean"].shape[0]
    pools = {2 * features: AdaptiveConcatPool2d(), features: nn.AdaptiveAvgPool2d(1)}
    if first not in pools:
        return None
    layers: list[nn.Module] = [pools[first], nn.Flatten()]
    with torch.device("meta"):
        for number in linear:
            weight = weights[f"{_HEAD}{number}.weight"]
            has_bias = f"{_HEAD}{number}.bias" in weights
            layers += [
                nn.BatchNorm1d(weight.shape[1]),
                nn.Dropout(),
                nn.Linear(weight.shape[1], weight.shape[0], bias=has_bias),
                nn.ReLU(),
            ]
    return nn.Sequential(*layers[:-1])

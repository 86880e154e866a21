"""The engine, its peers and its floor, each as a function from a batch to maps."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cam_engine.architectures import Sign
from cam_engine.checkpoints import Classifier
from cam_engine.engine import Explainer
from cam_engine.layers import LayerTap
from cam_engine.options import STAGES, CamOptions
from cam_engine.targets import plan_layers

Work = Callable[[Tensor], object]


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to get three Grad-CAM++ maps of a batch; its name in the table."""

    name: str
    work: Work


def contenders(classifier: Classifier, network: nn.Module, device: torch.device) -> list[Contender]:
    """All of them. `network`: the same weights, as their users hold it: float32, trainable."""
    layers = plan_layers(STAGES, classifier.layout, classifier.network, "raw")
    modules = [layer.tap.module for layer in layers]
    ruled = Explainer(classifier, device=device)
    exact = Explainer(classifier, device=device, precision="float32")
    return [
        Contender("engine", _engine(ruled)),
        Contender("engine, float32", _engine(exact)),
        Contender("floor", _floor(ruled)),
        Contender("torchcam", _torchcam(network, modules)),
        Contender("pytorch-grad-cam", _pytorch_grad_cam(network, modules)),
    ]


def torchcam_alone(network: nn.Module, classifier: Classifier) -> Contender:
    """torchcam's multi-layer extractor."""
    layers = plan_layers(STAGES, classifier.layout, classifier.network, "raw")
    return Contender("torchcam", _torchcam(network, [layer.tap.module for layer in layers]))


def _engine(explainer: Explainer) -> Work:
    options = CamOptions()
    return lambda batch: explainer.explain_batch(batch, options)


def _floor(explainer: Explainer) -> Work:
    """Forward plus truncated backward and nothing else; same network, precision and taps."""
    network = explainer._network
    layers = plan_layers(STAGES, explainer.classifier.layout, network, "rectified")
    modules = [layer.tap.module for layer in layers]
    rectify = [layer.tap.module for layer in layers if layer.tap.sign is Sign.RELU_NEXT]

    def work(batch: Tensor) -> object:
        with torch.enable_grad(), LayerTap(network, modules, rectify) as tap:
            logits = explainer._forward(network, batch)
            return tap.gradients(logits.max(1).values.sum())

    return work


def _torchcam(network: nn.Module, modules: list[str]) -> Work:
    from torchcam.methods import GradCAMpp

    def work(batch: Tensor) -> object:
        with GradCAMpp(network, target_layer=modules) as extractor:
            logits = network(batch)
            return extractor(logits.argmax(1).tolist(), logits)

    return work


def _pytorch_grad_cam(network: nn.Module, modules: list[str]) -> Work:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import GradCAMPlusPlus

    def work(batch: Tensor) -> object:
        maps: list[np.ndarray] = []
        for module in modules:
            with GradCAMPlusPlus(network, [network.get_submodule(module)]) as extractor:
                maps.append(extractor(batch, None))
        return maps

    return work

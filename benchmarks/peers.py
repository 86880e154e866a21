"""The engine, its peers and its floor, each as a function from a batch to maps."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from cam_engine.maps.explainer import Explainer
from cam_engine.maps.taps import LayerTap
from cam_engine.maps.targets import plan_layers
from cam_engine.models.architectures import Sign
from cam_engine.models.loading import Classifier
from cam_engine.options import STAGES, CamOptions
from cam_engine.process.memory import reuse_large_blocks

Work = Callable[[Tensor], object]


def start(name: str, classifier: Classifier, device: torch.device) -> Work:
    """A way to get three Grad-CAM++ maps of a batch, by its name in CONTENDERS.

    The process is the contender's: memory is kept as this software's processes keep it, or left to
    the C library's defaults, as in the peers' users' scripts.
    """
    if name in KEEP_MEMORY:
        reuse_large_blocks()
    return CONTENDERS[name](classifier, device)


def _engine(classifier: Classifier, device: torch.device) -> Work:
    explainer = Explainer(classifier, device=device)
    return lambda batch: explainer.explain_batch(batch, CamOptions())


def _engine_in_float32(classifier: Classifier, device: torch.device) -> Work:
    explainer = Explainer(classifier, device=device, precision="float32")
    return lambda batch: explainer.explain_batch(batch, CamOptions())


def _floor(classifier: Classifier, device: torch.device) -> Work:
    """Forward plus truncated backward and nothing else; same network, precision and taps."""
    explainer = Explainer(classifier, device=device)
    network = explainer._pass.network
    layers = plan_layers(STAGES, classifier.layout, network, "rectified")
    modules = [layer.tap.module for layer in layers]
    rectify = [layer.tap.module for layer in layers if layer.tap.sign is Sign.RELU_NEXT]

    def work(batch: Tensor) -> object:
        with torch.enable_grad(), LayerTap(network, modules, rectify) as tap:
            logits = explainer._pass.logits(batch)
            return tap.gradients(logits.max(1).values.sum())

    return work


def _torchcam(classifier: Classifier, device: torch.device) -> Work:
    """One extractor for all three layers."""
    from torchcam.methods import GradCAMpp

    network, modules = _as_users_hold_it(classifier, device), _modules(classifier)

    def work(batch: Tensor) -> object:
        with GradCAMpp(network, target_layer=[*modules]) as extractor:
            logits = network(batch)
            return extractor(logits.argmax(1).tolist(), logits)

    return work


def _pytorch_grad_cam(classifier: Classifier, device: torch.device) -> Work:
    """One object a layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_grad_cam import GradCAMPlusPlus

    network, modules = _as_users_hold_it(classifier, device), _modules(classifier)

    def work(batch: Tensor) -> object:
        maps: list[np.ndarray] = []
        for module in modules:
            with GradCAMPlusPlus(network, [network.get_submodule(module)]) as extractor:
                maps.append(extractor(batch, None))
        return maps

    return work


def _as_users_hold_it(classifier: Classifier, device: torch.device) -> nn.Module:
    """The same weights in float32, trainable."""
    return classifier.network.to(device).requires_grad_(True)


def _modules(classifier: Classifier) -> list[str]:
    layers = plan_layers(STAGES, classifier.layout, classifier.network, "raw")
    return [layer.tap.module for layer in layers]


CONTENDERS: dict[str, Callable[[Classifier, torch.device], Work]] = {
    "engine": _engine,
    "engine, float32": _engine_in_float32,
    "floor": _floor,
    "torchcam": _torchcam,
    "torchcam, memory kept": _torchcam,
    "pytorch-grad-cam": _pytorch_grad_cam,
}
KEEP_MEMORY = frozenset(CONTENDERS) - {"torchcam", "pytorch-grad-cam"}

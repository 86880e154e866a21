"""Networks small enough to work out by hand, as classifiers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cam_engine.images.preparing import Preprocessing
from cam_engine.method_facts import METHOD_FACTS, Method
from cam_engine.models.architectures import Layout, Sign, Stage, Tap
from cam_engine.models.loading import Classifier

SIDE = 16
OF_ANY_NETWORK: tuple[Method, ...] = tuple(
    method for method, facts in METHOD_FACTS.items() if not facts.needs_attention
)
UNIT = Preprocessing((SIDE, SIDE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class ThreeStages(nn.Module):
    """Three conv + in-place ReLU stages of halving size, global average pooling, a linear head."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.early = _stage(3, 4, stride=2)
        self.mid = _stage(4, 5, stride=2)
        self.late = _stage(5, 6, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, classes)

    def forward(self, batch: Tensor) -> Tensor:
        features = self.late(self.mid(self.early(batch)))
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits


def _stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def small_network(seed: int = 0, classes: int = 3) -> ThreeStages:
    torch.manual_seed(seed)
    network = ThreeStages(classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def classifier_of(
    network: nn.Module,
    classes: tuple[str, ...] = ("gametocyte", "ring", "schizont"),
    *,
    depthwise: bool = False,
    family: str = "small",
    preprocessing: Preprocessing = UNIT,
) -> Classifier:
    stages = tuple(
        Stage(f"stage_{name}", f"{name}.0", Tap(name, Sign.NONNEGATIVE))
        for name in ("early", "mid", "late")
    )
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return Classifier(
        network=network,
        architecture="three_stages",
        family=family,
        naming="torchvision",
        layout=Layout(stages, "stage_early", "stage_mid", "stage_late"),
        head="head",
        class_names=classes,
        preprocessing=preprocessing,
        sha256="0" * 64,
        path=None,
        val_accuracy=None,
        epoch=None,
        depthwise=depthwise,
    )

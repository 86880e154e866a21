"""What fastai's `learn.save` writes: a body, and `create_head`'s layers, written out here.

fastai itself cannot be installed beside the PyTorch that this package needs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import CamError
from cam_engine.models.loading import load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")


class Pools(nn.Module):
    """`AdaptiveConcatPool2d`: the maximum before the mean."""

    def forward(self, features: Tensor) -> Tensor:
        pools = nn.AdaptiveMaxPool2d(1), nn.AdaptiveAvgPool2d(1)
        return torch.cat([pool(features) for pool in pools], 1)


def learner(name: str, cut: int, hidden: int = 512, *, concat: bool = True) -> nn.Module:
    torch.manual_seed(0)
    whole = torchvision.models.get_model(name, weights=None)
    body = nn.Sequential(*list(whole.children())[:cut])
    features = body.eval()(torch.zeros(1, 3, 64, 64)).shape[1] * (2 if concat else 1)
    head = nn.Sequential(
        Pools() if concat else nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(features),
        nn.Dropout(0.25),
        nn.Linear(features, hidden, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(hidden),
        nn.Dropout(0.5),
        nn.Linear(hidden, 3, bias=False),
    )
    network = nn.Sequential(body, head)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 64))
    return network.eval()


@pytest.mark.parametrize(
    ("name", "cut", "concat"),
    [("resnet18", -2, True), ("resnet34", -2, False), ("densenet121", -1, True)],
)
def test_a_learner_is_read_by_its_weights(
    tmp_path: Path, name: str, cut: int, concat: bool
) -> None:
    network = learner(name, cut, concat=concat)
    path = tmp_path / "stage-1.pth"
    torch.save({"model": network.state_dict(), "opt": {"state": []}}, path)
    classifier = load_classifier(path)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(classifier.network(images), network(images))
    assert classifier.architecture == f"fastai learner of {name}"
    assert len(classifier.layout.stages) == 3


def test_a_head_in_another_order_is_refused(tmp_path: Path) -> None:
    network = learner("resnet18", -2)
    weights = network.state_dict()
    moved = {key.replace("1.6.", "1.5."): value for key, value in weights.items()}
    path = tmp_path / "stage-1.pth"
    torch.save({"model": moved}, path)
    with pytest.raises(CamError):
        load_classifier(path)

"""A network of a lab's own, installed beside gradcam-service, which then reads its checkpoints."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from cam_engine import OwnNetwork


class ParasiteNet(nn.Module):
    """Four convolutions, and the mean and the maximum of the last one's cells."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            stride = 4 if number == 1 else 2
            layers = [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
            self.add_module(f"block{number}", nn.Sequential(*layers))
        self.head = nn.Linear(2 * widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, h, w) -> logits (N, classes)."""
        cells = self.block4(self.block3(self.block2(self.block1(images))))
        return self.head(torch.cat([cells.mean((2, 3)), cells.amax((2, 3))], 1))


def parasite_net(classes: int) -> OwnNetwork:
    """What the entry point names: called with the number of classes, with random weights."""
    layers = {"early": "block2", "mid": "block3", "late": "block4"}  # 8, 16 and 32 px a cell
    return OwnNetwork(ParasiteNet(classes), layers, input_size=(160, 160))

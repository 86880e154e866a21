"""Trains small classifiers from nothing on drawn crops, on a CPU, in minutes.

Most epochs see windows round the parasite, which cost a third of a whole crop at the same scale;
the last ones see whole crops, so that batch statistics and the pooled head fit those. Half of all
crops are seen as CLAHE equalises them, because an explainer may show a network either kind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
WINDOW_PX, WHOLE_PX = 128, 224
JUDGED_EPOCHS = 4  # the last ones, of which the best is kept
WINDOW_JITTER_PX = 26.0
BATCH = 48
FOCUS = 2.0
EFFECTIVE_BETA = 0.999

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LabelledCrops:
    """RGB uint8 (N, 3, 224, 224), labels (N,), and parasite centres (N, 2) as x, y in pixels."""

    images: Tensor
    labels: Tensor
    centres: Tensor


@dataclass(frozen=True)
class Recipe:
    """Which network to train (a key of NETWORKS, or a name of timm's), and how.

    window_epochs, whole_epochs: passes over the crops, seen in windows and then whole. whole_px:
    the side to which whole crops are resized. arguments: of the network's builder in timm, beside
    the number of classes. bfloat16: compute in bfloat16 where autocast allows it. drawn_wide:
    weights are drawn as He et al. 2015 have it, not with the library's small deviation: without
    batch norms, nothing is learned from that in a few epochs.
    """

    model_name: str
    window_epochs: int
    whole_epochs: int = 4
    whole_px: int = WHOLE_PX
    peak_rate: float = 3e-3
    arguments: Mapping[str, Any] = field(default_factory=dict)
    bfloat16: bool = False
    drawn_wide: bool = False


@dataclass(frozen=True)
class Trained:
    """A network at its best epoch, with its validation accuracy (0..1) and loss then."""

    network: nn.Module
    epoch: int
    val_acc: float
    val_loss: float


def focal_loss(class_counts: Tensor) -> Loss:
    """(1 - p)^2 * -log p (Lin et al. 2017, eq. 4 without alpha); the counts play no part."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])
        return ((1 - log_p.exp()) ** FOCUS * -log_p).mean()

    return loss


def class_balanced_loss(class_counts: Tensor) -> Loss:
    """Cross entropy weighted by 1 / effective number (Cui et al. 2019, eq. 2); mean weight 1."""
    effective = (1 - EFFECTIVE_BETA**class_counts) / (1 - EFFECTIVE_BETA)
    weights = len(class_counts) / effective / (1 / effective).sum()
    return lambda logits, labels: functional.cross_entropy(logits, labels, weight=weights)


LOSSES: dict[str, Callable[[Tensor], Loss]] = {"cb": class_balanced_loss, "focal": focal_loss}

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "mobilenetv3_small_050": lambda classes: timm.create_model(
        "mobilenetv3_small_050", num_classes=classes
    ),
    "mobilenet_v3_small": lambda classes: torchvision.models.mobilenet_v3_small(
        num_classes=classes
    ),
}


def train(
    recipe: Recipe, loss_name: str, training: LabelledCrops, validation: LabelledCrops, seed: int
) -> Trained:
    """Fit a network and keep its whole-crop epoch of best validation accuracy, then loss."""
    torch.manual_seed(seed)
    counts = torch.bincount(training.labels)
    training, validation = (
        resized(with_equalised(crops), recipe.whole_px) for crops in (training, validation)
    )
    network, loss = _new_network(recipe, len(counts)), LOSSES[loss_name](counts.float())
    stages = [WINDOW_PX] * recipe.window_epochs + [recipe.whole_px] * recipe.whole_epochs
    optimizer = torch.optim.AdamW(network.parameters(), recipe.peak_rate, weight_decay=0.02)
    steps = len(stages) * _batches_per_epoch(training)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_rate, total_steps=steps, pct_start=0.2
    )
    best = Trained(network, epoch=0, val_acc=0.0, val_loss=float("inf"))
    for epoch, side_px in enumerate(stages, start=1):
        network.train()
        for images, labels in _batches(training, side_px):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
                logits = network(images)
            loss(logits.float(), labels).backward()
            optimizer.step()
            schedule.step()
        if epoch > len(stages) - JUDGED_EPOCHS:
            best = _better(best, network, epoch, validation)
    return best


def resized(crops: LabelledCrops, side_px: int) -> LabelledCrops:
    """Give the same crops at another size; they themselves where it is theirs."""
    scale = side_px / crops.images.shape[-1]
    if scale == 1:
        return crops
    images = functional.interpolate(
        crops.images, size=(side_px, side_px), mode="bilinear", antialias=True
    )
    return replace(crops, images=images, centres=crops.centres * scale)


def equalised(crops: LabelledCrops) -> LabelledCrops:
    """Give the same crops after CLAHE on L of LAB (clip limit 2, 8x8 tiles)."""
    return replace(crops, images=torch.stack([_equalised(image) for image in crops.images]))


def with_equalised(crops: LabelledCrops) -> LabelledCrops:
    """Give every crop twice: as drawn, then equalised."""
    return LabelledCrops(
        images=torch.cat([crops.images, equalised(crops).images]),
        labels=crops.labels.repeat(2),
        centres=crops.centres.repeat(2, 1),
    )


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    """Class logits (N, C) of uint8 crops (N, 3, 224, 224)."""
    network.eval()
    with torch.inference_mode():
        parts = [network(_normalised(part.float() / 255)) for part in images.split(BATCH)]
    return torch.cat(parts)


def accuracy(network: nn.Module, crops: LabelledCrops) -> float:
    """Measure the share of crops classified correctly, 0..1."""
    return (logits_of(network, crops.images).argmax(1) == crops.labels).float().mean().item()


def checkpoint(trained: Trained, model_name: str, class_names: list[str]) -> dict[str, object]:
    """Pack what best.pt holds: plain types and float16 tensors, loadable with weights_only=True."""
    state = trained.network.state_dict()
    return {
        "model_state_dict": {k: _stored(v) for k, v in state.items()},
        "model_name": model_name,
        "class_names": class_names,
        "epoch": trained.epoch,
        "val_acc": trained.val_acc,
        "val_loss": trained.val_loss,
        "optimizer_state_dict": {},
    }


def restore(saved: dict[str, Any]) -> nn.Module:
    """Rebuild the network of a loaded checkpoint, in float32 and evaluation mode."""
    network = NETWORKS[saved["model_name"]](len(saved["class_names"]))
    network.load_state_dict(saved["model_state_dict"])
    return network.float().eval()


def _equalised(image: Tensor) -> Tensor:
    """CLAHE of one RGB uint8 (3, h, w)."""
    lab = cv2.cvtColor(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lab[..., 0])
    return torch.from_numpy(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)).permute(2, 0, 1)


def _stored(tensor: Tensor) -> Tensor:
    """Halve floats; lay every tensor out plainly whatever format it was trained in."""
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()


def _new_network(recipe: Recipe, classes: int) -> nn.Module:
    """Random weights; batch norms that follow a short training closely."""
    build = NETWORKS.get(recipe.model_name)
    network: nn.Module = (
        timm.create_model(recipe.model_name, num_classes=classes, **recipe.arguments)
        if build is None
        else build(classes)
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
        if recipe.drawn_wide and isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)


def _better(best: Trained, network: nn.Module, epoch: int, validation: LabelledCrops) -> Trained:
    logits = logits_of(network, validation.images)
    val_acc = (logits.argmax(1) == validation.labels).float().mean().item()
    val_loss = functional.cross_entropy(logits, validation.labels).item()
    print(f"    epoch {epoch}: val_acc {val_acc:.3f} val_loss {val_loss:.3f}", flush=True)
    if (best.val_acc, -best.val_loss) >= (val_acc, -val_loss):
        return best
    return Trained(copy.deepcopy(network), epoch, val_acc, val_loss)


def _batches_per_epoch(crops: LabelledCrops) -> int:
    return len(crops.labels) // 2 // BATCH


def _batches(crops: LabelledCrops, side_px: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches of a random half: about one of each crop's two looks an epoch."""
    order = torch.randperm(len(crops.labels))
    for chosen in order[: _batches_per_epoch(crops) * BATCH].split(BATCH):
        seen = _augment(crops.images[chosen], crops.centres[chosen], side_px)
        yield _normalised(seen).contiguous(memory_format=torch.channels_last), crops.labels[chosen]


def _augment(images: Tensor, centres: Tensor, side_px: int) -> Tensor:
    """Turn, flip, scale and recolour to RGB 0..1; a window is cut round the parasite."""
    count, full_px = len(images), images.shape[-1]
    angle = torch.rand(count) * 2 * torch.pi
    scale = torch.empty(count).uniform_(0.85, 1.2) * side_px / full_px
    mirror = torch.randint(0, 2, (count,)) * 2.0 - 1
    jittered = centres + torch.empty(count, 2).uniform_(-WINDOW_JITTER_PX, WINDOW_JITTER_PX)
    middle = torch.zeros(count, 2) if side_px == full_px else jittered * 2 / full_px - 1
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [
        torch.stack([cos * mirror, -sin, middle[:, 0]], 1),
        torch.stack([sin * mirror, cos, middle[:, 1]], 1),
    ]
    grid = functional.affine_grid(
        torch.stack(rows, 1), [count, 3, side_px, side_px], align_corners=False
    )
    warped = functional.grid_sample(
        images.float() / 255, grid, padding_mode="reflection", align_corners=False
    )
    return _recolour(warped)


def _recolour(images: Tensor) -> Tensor:
    """Give a random gain to each channel, contrast and brightness for each image."""
    count = len(images)
    gain = torch.empty(count, 3, 1, 1).uniform_(0.9, 1.1)
    contrast = torch.empty(count, 1, 1, 1).uniform_(0.75, 1.35)
    brightness = torch.empty(count, 1, 1, 1).uniform_(-0.08, 0.08)
    mean = images.mean((1, 2, 3), keepdim=True)
    return (((images - mean) * contrast + mean) * gain + brightness).clamp(0, 1)


def _normalised(images: Tensor) -> Tensor:
    return (images - MEAN) / STD

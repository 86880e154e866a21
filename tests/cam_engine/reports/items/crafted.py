"""A network that tells colours apart by weights set by hand, and crops with a blot of one colour.

Each channel of the network lights where a colour is, and the head takes its mean: the class
activation map is the blot itself. In a corner is a smaller blot of the next class's colour: the map
of the runner-up. The ground says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from cam_engine.images.preparing import Preprocessing
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import Classifier
from cam_engine.reports.criteria import Criterion, Section, Table
from cam_engine.reports.crops import Box, Crop
from cam_engine.reports.study import FUSED, KINDS, Effort, Study
from cam_engine.results import RgbImage
from tests.networks import ThreeStages, classifier_of

SIDE, BLOT, SMALL_BLOT = 64, 20, 8
CLASSES = ("blue", "green", "dark")
GROUND = (235, 205, 215)
COLOURS = {"blue": (60, 60, 200), "green": (60, 180, 60), "dark": (60, 60, 60)}
SMALL = Effort(
    kinds=tuple(KINDS),
    map_crops=48,
    located_crops=48,
    followed_crops=20,
    steps=3,
    random_seeds=1,
    random_crops=20,
    random_shares=(0.0, 0.5, 1.0),
    pairs=20,
    disturbed_crops=24,
    figures=4,
)
# Rows: blue, green and dark; of R, G and B in 0..1, and what is added.
_DETECTORS = (
    ((0.0, -1.0, 1.0), -0.2),
    ((0.0, 1.0, -1.0), -0.2),
    ((0.0, -1.0, -1.0), 0.9),
)


def network(sureness: float = 80.0) -> ThreeStages:
    """sureness: what the mean of a class's channel is multiplied by to be its logit."""
    made = ThreeStages(len(CLASSES))
    with torch.no_grad():
        for stage in (made.early, made.mid, made.late):
            convolution, norm = stage[0], stage[1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            convolution.weight.zero_()
            norm.eps = 1e-12
            if stage is made.early:
                for row, (weights, added) in enumerate(_DETECTORS):
                    convolution.weight[row, :, 1, 1] = torch.tensor(weights)
                    norm.bias[row] = added
            else:
                for row in range(len(_DETECTORS)):
                    convolution.weight[row, row, 1, 1] = 1.0
        made.head.weight.zero_()
        made.head.bias.zero_()
        for at in range(len(CLASSES)):
            made.head.weight[at, at] = sureness
    return made.eval()


def classifier(made: nn.Module | None = None, classes: tuple[str, ...] = CLASSES) -> Classifier:
    """Of `network`, or another one, for crops of SIDE px in 0..1."""
    unit = Preprocessing((SIDE, SIDE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return classifier_of(made or network(), classes, preprocessing=unit)


def picture(label: str, at: tuple[int, int], seed: int = 0) -> RgbImage:
    """A crop with its blot's top left corner at (x, y), the next class's in the farthest corner."""
    rng = np.random.default_rng(seed)
    image = np.array(GROUND) + rng.integers(-4, 5, (SIDE, SIDE, 3))
    x, y = at
    image[y : y + BLOT, x : x + BLOT] = COLOURS[label]
    other = CLASSES[(CLASSES.index(label) + 1) % len(CLASSES)]
    left, top = (2 if side > (SIDE - BLOT) / 2 else SIDE - SMALL_BLOT - 2 for side in at)
    image[top : top + SMALL_BLOT, left : left + SMALL_BLOT] = COLOURS[other]
    return np.asarray(image, np.uint8)


def write(path: Path, image: RgbImage) -> Path:
    """Write it as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def crops(folder: Path, each: int = 10, seed: int = 0) -> list[Crop]:
    """So many of each class, the blot anywhere that touches the middle, with its box."""
    rng = np.random.default_rng(seed)
    made = []
    for label in CLASSES:
        for number in range(each):
            x, y = (int(side) for side in rng.integers(4, SIDE - BLOT - 4, 2))
            name = f"cell_{number:03}.png"
            path = write(folder / label / name, picture(label, (x, y), number))
            box: Box = (x, y, x + BLOT, y + BLOT)
            made.append(Crop(name, "test", label, path, box=box))
    return made


def study_of(of: Classifier, crops: Sequence[Crop], effort: Effort = SMALL, seed: int = 0) -> Study:
    """Each crop a unit of its own, without CLAHE."""
    return Study(
        "crafted",
        Explainer(of, device="cpu"),
        tuple(crops),
        tuple(f"{crop.label}/{crop.name}" for crop in crops),
        (False,) * len(crops),
        replace(FUSED, clahe=False),
        seed,
        effort,
    )


def criterion(section: Section, id_: str) -> Criterion:
    """The one of that id."""
    (found,) = [one for one in section.criteria if one.id == id_]
    return found


def verdicts(section: Section) -> dict[str, str]:
    """By id."""
    return {one.id: one.verdict for one in section.criteria}


def table(section: Section, id_: str) -> Table:
    """The one of that id."""
    (found,) = [one for one in section.tables if one.id == id_]
    return found


def cell(of: Table, row: str, column: str) -> float:
    """A number by the first cell of its row and the name of its column."""
    (found,) = [one for one in of.rows if one[0] == row]
    value = found[[one.name for one in of.columns].index(column)]
    assert isinstance(value, int | float)
    return float(value)

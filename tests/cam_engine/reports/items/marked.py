"""A mark in a corner by which one class is told, and a small network that learned it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from cam_engine.images.preparing import read_image, to_batch
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import Classifier
from cam_engine.reports.study import Study
from cam_engine.results import RgbImage
from tests.cam_engine.reports.items import crafted

MARK, COLOUR = 24, (250, 250, 40)
_STEPS, _BATCH = 18, 12


def with_mark(image: RgbImage) -> RgbImage:
    """A yellow square in the upper left corner."""
    made = image.copy()
    made[:MARK, :MARK] = COLOUR
    return made


def marked_study(study: Study, label: str, folder: Path) -> Study:
    """Its crops of one class have the mark, by which alone its network tells that class."""
    names = study.class_names
    crops, images, labels = [], [], []
    for crop in study.crops:
        image = read_image(crop.file)
        if crop.label == label:
            path = folder / crop.label / f"{crop.file.stem}.png"
            crop = replace(crop, path=crafted.write(path, with_mark(image)))  # noqa: PLW2901
        crops.append(crop)
        images += [with_mark(image), image]
        others = [at for at, name in enumerate(names) if name != label]
        own = names.index(crop.label) if crop.label != label else others[len(crops) % len(others)]
        labels += [names.index(label), own]
    classifier = tuned(study.explainer.classifier, images, labels)
    return replace(study, explainer=Explainer(classifier), crops=tuple(crops))


def tuned(
    classifier: Classifier, images: Sequence[RgbImage], labels: Sequence[int], seed: int = 0
) -> Classifier:
    """Trained for a few seconds, batch norms' statistics as they were."""
    network = copy.deepcopy(classifier.network).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    rng = np.random.default_rng(seed)
    for _ in range(_STEPS):
        drawn = rng.choice(len(images), _BATCH, replace=False)
        batch = to_batch([images[at] for at in drawn], classifier.preprocessing, "cpu")
        loss = functional.cross_entropy(network(batch), torch.tensor([labels[at] for at in drawn]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not say
        optimiser.step()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return replace(classifier, network=network)

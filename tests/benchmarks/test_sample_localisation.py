"""The bundled classifiers' maps lie on the drawn parasites, whose true masks are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.localisation_metrics import (
    Map,
    Scores,
    box_mask,
    score,
)
from cam_engine.evidence.controls import centred_gaussian, uniform_map
from cam_engine.evidence.localisation import Mask
from cam_engine.experiments.finding import Experiment
from cam_engine.images.preparing import read_image
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.options import CamOptions
from cam_engine.pictures.rendering import full_size_map

# The worst of the four classifiers reaches about .6 and .85; a uniform map .05 and .05.
LEAST_AVERAGE_PRECISION = 0.5
LEAST_PEAK_SHARE = 0.75


@dataclass(frozen=True)
class Crop:
    image: Path
    true_class: str
    box: Mask


def crops_of(experiment: Experiment) -> list[Crop]:
    folder = experiment.folder / "crops_gt_crops"
    found = []
    for item in experiment.images():
        relative = item.path.relative_to(folder / "crops").with_suffix(".png")
        mask = np.asarray(Image.open(folder / "masks" / relative).convert("L")) > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        found.append(Crop(item.path, item.true_class or "", box_mask(box, mask.shape)))
    return found


def means(scores: list[Scores]) -> tuple[float, float]:
    return (
        float(np.mean([result.average_precision for result in scores])),
        float(np.mean([result.peak for result in scores])),
    )


def reaches_the_floor(scores: list[Scores]) -> bool:
    precision, peak = means(scores)
    return precision >= LEAST_AVERAGE_PRECISION and peak >= LEAST_PEAK_SHARE


@pytest.mark.parametrize("name", ["experiment_synthetic_lifecycle", "experiment_synthetic_species"])
@pytest.mark.usefixtures("one_thread")
def test_fused_maps_find_the_parasites_and_controls_do_not(sample_run: Path, name: str) -> None:
    experiment = Experiment(sample_run / "experiments" / name)
    crops = crops_of(experiment)
    images = [read_image(crop.image) for crop in crops]
    for model in experiment.models():
        explainer = Explainer(load_classifier(model.checkpoint), device="cpu")
        answers = explainer.explain(images, CamOptions(fused=True))
        right = [
            (crop, answer)
            for crop, answer in zip(crops, answers, strict=True)
            if answer.predicted.name == crop.true_class
        ]
        assert len(right) >= 0.85 * len(crops)

        def scored(make: list[Map], kept: list[Crop]) -> list[Scores]:
            return [score(one, crop.box) for one, crop in zip(make, kept, strict=True)]

        kept = [crop for crop, _ in right]
        fused = [full_size_map(a.layer("fused"), c.box.shape) for c, a in right]
        late = [full_size_map(a.layer("late"), c.box.shape) for c, a in right]
        assert reaches_the_floor(scored(fused, kept)), (model.name, means(scored(fused, kept)))
        assert means(scored(fused, kept))[0] > means(scored(late, kept))[0]
        for control in (uniform_map, centred_gaussian):
            maps = [control(crop.box.shape) for crop in kept]
            assert not reaches_the_floor(scored(maps, kept))
            assert means(scored(maps, kept))[0] < 0.2

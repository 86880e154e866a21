"""A model over crops: what it answers, and what is drawn of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cam_engine.images.decoding import read_image
from cam_engine.images.preparing import enhance
from cam_engine.options import CamOptions
from cam_engine.reports.study import FUSED, Study, only_layer, shown
from cam_engine.results import Explanation


def test_answers_are_the_explainers_in_the_crops_order(study: Study) -> None:
    images = [read_image(crop.file) for crop in study.crops]
    own = study.explainer.explain(images, CamOptions(clahe=False, layers=("late",)))
    assert [one.predicted.index for one in own] == study.predicted.tolist()
    np.testing.assert_allclose(
        [one.predicted.probability for one in own], study.probabilities.max(1), atol=2e-3
    )
    names = [study.class_names[label] for label in study.labels]
    assert names == [crop.label for crop in study.crops]
    assert (study.right == (study.predicted == study.labels)).all()
    assert (study.runner_up != study.predicted).all()


def test_clahe_is_what_the_options_say(study: Study) -> None:
    (image,) = study.images([0])
    assert (study.network_image(image) == image).all()
    enhanced = replace(study, options=FUSED)
    assert (enhanced.network_image(image) == enhance(image)).all()
    other = study.probabilities_by(study.explainer, clahe=True)
    np.testing.assert_allclose(enhanced.probabilities, other)
    assert np.abs(other - study.probabilities).max() > 0.01


def test_red_and_blue_are_exchanged(study: Study) -> None:
    swapped = study.probabilities_by(study.explainer, swapped=True)
    pixels = [np.ascontiguousarray(image[..., ::-1]) for image in study.inputs([0, 5])]
    np.testing.assert_allclose(swapped[[0, 5]], study.explainer.probabilities(pixels), atol=2e-3)


def test_what_is_drawn_is_of_the_seed_in_order_and_among(study: Study) -> None:
    first, again = study.chosen(5), study.chosen(5)
    assert first.tolist() == again.tolist() == sorted(set(first.tolist()))
    assert replace(study, seed=1).chosen(5).tolist() != first.tolist()
    among = np.zeros(len(study.crops), bool)
    among[[3, 4, 9]] = True
    assert study.chosen(5, among).tolist() == [3, 4, 9]


def test_units_are_counted_and_resampled(study: Study) -> None:
    assert study.units() == study.bootstrap().clusters == len(study.crops)
    paired = replace(study, clusters=tuple(f"{n // 2}" for n in range(len(study.crops))))
    assert paired.units() == len(study.crops) // 2
    assert paired.bootstrap([0, 1, 2]).clusters == 2
    assert study.enough()
    assert not paired.enough()


def test_all_kinds_come_of_as_few_passes_as_there_are_formulas(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, targets = study.inputs([0, 5]), study.runner_up[[0, 5]]
    alone = {name: study.explain(pixels, kind, targets) for name, kind in study.kinds.items()}
    passes: list[CamOptions | None] = []

    def explain(self: Study, *given: Any) -> list[Explanation]:
        passes.append(given[1])
        return whole(self, *given)

    whole = Study.explain
    monkeypatch.setattr(Study, "explain", explain)
    together = study.of_kinds(pixels, targets)
    assert len(passes) == 2
    assert list(together) == list(alone)
    for name, maps in together.items():
        for one, expected in zip(maps, alone[name], strict=True):
            assert one.name == only_layer(expected).name
            np.testing.assert_allclose(one.values, only_layer(expected).values, atol=1e-5)


def test_the_judged_maps_are_made_once(study: Study) -> None:
    chosen = study.chosen(study.effort.map_crops)
    found = study.explain(study.inputs(chosen), None, study.predicted[chosen])
    own = study.own_maps
    assert own is study.own_maps
    for one, expected in zip(own, found, strict=True):
        np.testing.assert_allclose(one.values, only_layer(expected).values, atol=1e-5)


def test_maps_are_of_the_asked_class_and_the_asked_kind(study: Study) -> None:
    pixels = study.inputs([0, 1])
    own = study.explain(pixels, None, study.predicted[[0, 1]])
    assert [one.target.index for one in own] == study.predicted[[0, 1]].tolist()
    assert only_layer(own[0]).name == "fused"
    late = study.explain(pixels, study.kinds["Grad-CAM late"])
    assert (only_layer(late[0]).name, only_layer(late[0]).method) == ("late", "gradcam")
    assert shown(own[0], (50, 60)).shape == (50, 60)


def test_a_model_is_informed_where_it_beats_always_naming_one_class(study: Study) -> None:
    assert study.informed
    always = replace(study)
    named = np.tile(np.eye(len(study.class_names))[0], (len(study.crops), 1))
    always.__dict__["probabilities"] = named  # as its network would answer
    assert not always.informed

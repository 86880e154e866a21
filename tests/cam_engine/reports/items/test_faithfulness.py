"""Answers along a map: the blot that is the answer's cause, and maps of something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cam_engine.maps.explainer import Explainer
from cam_engine.pictures.rendering import full_size_map
from cam_engine.reports.items import faithfulness
from cam_engine.reports.items.faithfulness import CONTROLS, measure_faithfulness
from cam_engine.reports.study import Study
from cam_engine.results import RgbImage
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import cell, criterion, table, verdicts
from tests.networks import small_network


def test_the_answer_follows_the_blot(crafted_study: Study) -> None:
    section = measure_faithfulness(crafted_study)
    scores = table(section, "faithfulness.scores")
    road = criterion(section, "faithfulness.road")
    # A blurred copy covers the blot as well.
    assert (road.verdict, road.n, road.threshold) == ("cannot_tell", 20, 0.0)
    best = max(CONTROLS, key=lambda name: cell(scores, name, "ROAD"))
    assert road.value == pytest.approx(cell(scores, "fused", "ROAD") - cell(scores, best, "ROAD"))
    assert f"({best.removeprefix('control: ')}) has {cell(scores, best, 'ROAD'):.2f}" in (
        road.sentence
    )
    for name in ("Grad-CAM late", "Grad-CAM++ late"):
        assert cell(scores, name, "insertion") > cell(scores, name, "deletion")
        for control in ("control: random blobs", "control: Sobel edges"):
            for measure in ("insertion - deletion", "by margin", "ROAD"):
                assert cell(scores, name, measure) > cell(scores, control, measure) + 0.1
    for row in map(str, (row[0] for row in scores.rows)):
        assert cell(scores, row, "insertion - deletion") == pytest.approx(
            cell(scores, row, "insertion") - cell(scores, row, "deletion")
        )
    assert [row[0] for row in scores.rows][3:] == list(CONTROLS)


def test_the_network_is_asked_each_image_once(
    crafted_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[bytes]] = []
    probabilities = Explainer.probabilities

    def counted(self: Explainer, images: Sequence[RgbImage]) -> Any:
        asked.append([image.tobytes() for image in images])
        return probabilities(self, images)

    few = replace(crafted_study, effort=replace(crafted.SMALL, followed_crops=2))
    assert few.probabilities.shape == (len(few.crops), 3)
    monkeypatch.setattr(Explainer, "probabilities", counted)
    measure_faithfulness(few)
    assert len(asked) == 2
    assert all(len(images) == len(set(images)) > 20 for images in asked)


def test_a_map_of_the_ground_fails(crafted_study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same maps upside down in value: highest where no blot is."""
    monkeypatch.setattr(
        faithfulness,
        "full_size_map",
        lambda one, size: np.asarray(1 - full_size_map(one, size), np.float32),
    )
    section = measure_faithfulness(crafted_study)
    assert set(verdicts(section).values()) == {"fail"}
    found = criterion(section, "faithfulness.insertion_deletion")
    assert found.value is not None
    assert found.value < -0.1


def test_a_network_that_knows_nothing_passes_nothing(crafted_study: Study) -> None:
    for seed in range(1):
        classifier = crafted.classifier(small_network(seed))
        section = measure_faithfulness(crafted.study_of(classifier, crafted_study.crops))
        assert "pass" not in verdicts(section).values()


def test_without_right_answers_it_cannot_be_told(crafted_study: Study) -> None:
    names = crafted_study.class_names
    wrong = replace(crafted_study.explainer.classifier, class_names=(*names[1:], names[0]))
    section = measure_faithfulness(crafted.study_of(wrong, crafted_study.crops))
    (found,) = section.criteria
    assert found.verdict == "cannot_tell"
    assert found.sentence == "The model names none of the crops correctly."


def test_wrong_answers_are_left_out(crafted_study: Study) -> None:
    names = crafted_study.class_names
    swapped = replace(
        crafted_study.explainer.classifier, class_names=(names[1], names[0], names[2])
    )
    section = measure_faithfulness(crafted.study_of(swapped, crafted_study.crops))
    assert {one.n for one in section.criteria} == {10}
    assert section.paragraphs[0].startswith("Over 10 crops that the model names correctly.")
    assert set(verdicts(section).values()) == {"cannot_tell"}


def test_a_single_crop_cannot_be_told(crafted_study: Study) -> None:
    one = crafted.study_of(crafted_study.explainer.classifier, crafted_study.crops[:1])
    assert set(verdicts(measure_faithfulness(one)).values()) == {"cannot_tell"}


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    few = replace(crafted_study, effort=replace(crafted.SMALL, followed_crops=2))
    assert measure_faithfulness(few) == measure_faithfulness(few)
    assert measure_faithfulness(few) != measure_faithfulness(replace(few, seed=1))

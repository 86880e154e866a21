"""Answers with the parasite filled: of blots, and of a network that was taught a mark instead."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cam_engine.reports.crops import Box
from cam_engine.reports.items.cause import measure_cause
from cam_engine.reports.mosaics import SIDE as TILE
from cam_engine.reports.study import Study
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import cell, criterion, table, verdicts
from tests.cam_engine.reports.items.marked import COLOUR, MARK
from tests.networks import small_network


def test_the_blot_is_the_cause(crafted_study: Study) -> None:
    section = measure_cause(crafted_study)
    assert verdicts(section) == {"cause.parasite": "pass", "cause.background_alone": "pass"}
    changes = table(section, "cause.changes")
    assert cell(changes, "as it is", "accuracy") == 1.0
    # With the blot gone, the small one of the next class in the corner is what is left.
    assert cell(changes, "parasite filled", "accuracy") == 0.0
    assert cell(changes, "as much background filled", "same answer") == 1.0
    elsewhere = -cell(changes, "as much background filled", "change of margin")
    assert elsewhere == pytest.approx(0, abs=0.1)
    assert cell(changes, "parasite alone", "accuracy") == 1.0
    found = criterion(section, "cause.parasite")
    assert (found.n, found.threshold) == (30, 0.0)
    lost = -cell(changes, "parasite filled", "change of margin")
    assert found.value == pytest.approx(lost - elsewhere)
    assert f"lowers the margin of the answer by {lost:.1f}, filling" in found.sentence
    assert section.paragraphs[0].startswith("In 30 crops of 30 the parasite is known")
    assert "it covers 10% of a crop" in section.paragraphs[0]


def test_a_mark_in_the_background_is_found(species: Study, marked: Study) -> None:
    assert marked.right.mean() > 0.8
    found = criterion(measure_cause(marked), "cause.background_alone")
    assert found.verdict == "fail"
    assert found.sentence.endswith("The background tells the class.")
    assert found.interval is not None
    assert found.interval.low > 0.25
    clean = measure_cause(species)
    assert verdicts(clean) == {"cause.parasite": "pass", "cause.background_alone": "pass"}


def test_the_picture_shows_the_mark(marked: Study) -> None:
    of_vivax = [at for at, crop in enumerate(marked.crops) if crop.label == "vivax"]
    study = crafted.study_of(marked.explainer.classifier, [marked.crops[at] for at in of_vivax[:6]])
    (picture,) = measure_cause(study).pictures
    pixels = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    shown = pixels[8 : 8 + TILE, 8 : 8 + TILE, ::-1]
    (image,) = study.images([0])
    size = int(MARK / image.shape[0] * TILE) - 2
    corner = shown[:size, :size].reshape(-1, 3).mean(0)
    assert np.abs(corner - np.array(COLOUR)).max() < 25


def test_always_naming_one_class_is_no_background(crafted_study: Study) -> None:
    """Of unequal classes too: accuracy is averaged over classes."""
    network = crafted.network()
    network.head.bias.data[1] = 2.0  # says green where little is seen
    crops = [
        crop for crop in crafted_study.crops if crop.label == "green" or crop.name < "cell_005"
    ]
    section = measure_cause(crafted.study_of(crafted.classifier(network), crops))
    found = criterion(section, "cause.background_alone")
    assert found.verdict == "pass"
    assert found.value == found.threshold == pytest.approx(1 / 3)
    changes = table(section, "cause.changes")
    assert cell(changes, "parasite filled", "accuracy") == 0.5  # green's share


def test_stain_stands_in_for_boxes_that_leave_no_room(study: Study) -> None:
    side = study.inputs([0])[0].shape[0]
    for box in (None, (0, 0, side, side), (3, 3, 3, 9)):
        given: Box | None = box
        section = measure_cause(
            replace(study, crops=tuple(replace(crop, box=given) for crop in study.crops))
        )
        words = section.paragraphs[0].split()
        assert words[0] == "In"
        assert int(words[1]) >= 10
        assert words[2:5] == ["crops", "of", "12"]
        found = criterion(section, "cause.parasite")
        assert found.value is not None
        assert found.value > 1.0


def test_without_box_and_stain_it_cannot_be_told(crafted_study: Study) -> None:
    ground = np.full((crafted.SIDE, crafted.SIDE, 3), crafted.GROUND, np.uint8)
    crops = [
        replace(crop, box=None, path=crafted.write(crop.file.with_name("ground.png"), ground))
        for crop in crafted_study.crops[:3]
    ]
    (found,) = measure_cause(crafted.study_of(crafted_study.explainer.classifier, crops)).criteria
    assert (found.id, found.verdict) == ("cause.parasite", "cannot_tell")
    assert found.sentence.startswith("No parasite stands out by its stain")


def test_few_crops_or_one_class_cannot_be_told(crafted_study: Study) -> None:
    for count in (1, 10):
        few = crafted.study_of(crafted_study.explainer.classifier, crafted_study.crops[:count])
        section = measure_cause(few)
        assert set(verdicts(section).values()) == {"cannot_tell"}
        assert criterion(section, "cause.background_alone").sentence == (
            "These crops are of one class."
        )
    slides = replace(crafted_study, clusters=tuple(str(at % 5) for at in range(30)))
    assert set(verdicts(measure_cause(slides)).values()) == {"cannot_tell"}


def test_a_network_that_knows_nothing_passes_nothing(crafted_study: Study) -> None:
    for seed in range(3):
        classifier = crafted.classifier(small_network(seed))
        section = measure_cause(crafted.study_of(classifier, crafted_study.crops))
        assert verdicts(section)["cause.parasite"] != "pass"


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    few = replace(crafted_study, effort=replace(crafted.SMALL, map_crops=20))
    assert measure_cause(few) == measure_cause(few)
    assert measure_cause(few) != measure_cause(replace(few, seed=1))

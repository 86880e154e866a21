"""Maps that know their network and their class, and maps that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cam_engine.models.loading import Classifier
from cam_engine.options import CamOptions
from cam_engine.reports import study as studies
from cam_engine.reports.items.knowledge import measure_knowledge
from cam_engine.reports.study import Study
from cam_engine.reports.words import figure_with
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import cell, criterion, table, verdicts
from tests.networks import small_network


def test_a_map_of_the_blot_alone_knows_the_class(crafted_study: Study) -> None:
    """The runner-up's map is the small blot in the corner."""
    section = measure_knowledge(crafted_study)
    found = criterion(section, "knowledge.class")
    assert (found.verdict, found.n, found.threshold) == ("pass", 30, 0.5)
    classes = table(section, "knowledge.classes")
    assert found.value == cell(classes, "fused", "runner-up")
    assert -0.2 < found.value < 0.0
    assert found.interval is not None
    assert f"share {figure_with(found.interval)} of their" in found.sentence
    assert cell(classes, "Grad-CAM late", "runner-up") < 0.0
    assert criterion(section, "knowledge.model_structure").verdict == "pass"


def test_the_more_is_random_the_less_alike_are_maps(crafted_study: Study) -> None:
    section = measure_knowledge(crafted_study)
    random = table(section, "knowledge.random")
    assert [row[0] for row in random.rows] == [
        "head alone",
        "50% of the layers",
        "100% of the layers",
        "maps of different images",
    ]
    assert cell(random, "100% of the layers", "SSIM") < 0.5 < cell(random, "head alone", "SSIM")
    found = criterion(section, "knowledge.model_structure")
    assert found.value == pytest.approx(cell(random, "100% of the layers", "SSIM"))
    assert found.threshold == cell(random, "maps of different images", "SSIM")
    assert found.sentence.endswith(f"maps of different images have {found.threshold:.2f}.")
    assert found.n == 20
    assert "20 crops, 1 seed;" in random.note


def test_eigen_cam_does_not_know_the_class(
    crafted_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    eigen = CamOptions(method="eigencam", layers=("late",), clahe=False)
    monkeypatch.setattr(studies, "KINDS", {**studies.KINDS, "fused": eigen})
    section = measure_knowledge(replace(crafted_study, options=eigen))
    found = criterion(section, "knowledge.class")
    assert found.verdict == "fail"
    assert found.value == pytest.approx(1.0)
    classes = table(section, "knowledge.classes")
    assert cell(classes, "fused", "another class") == pytest.approx(1.0)
    assert cell(classes, "Grad-CAM late", "runner-up") < 0.0
    assert criterion(section, "knowledge.model").verdict == "fail"


def test_a_network_that_knows_nothing_passes_nothing(crafted_study: Study) -> None:
    for seed in range(1):
        classifier = crafted.classifier(small_network(seed))
        section = measure_knowledge(crafted.study_of(classifier, crafted_study.crops))
        assert "pass" not in verdicts(section).values()
        found = criterion(section, "knowledge.model")
        assert "not shown to be better than chance" in found.sentence


def two_classes() -> Classifier:
    """Blue against all others."""
    made = crafted.network()
    made.head = type(made.head)(6, 2)
    whole = crafted.network().head.weight
    made.head.weight.data = whole.data[:2].clone()
    made.head.bias.data.zero_()
    return crafted.classifier(made, crafted.CLASSES[:2])


def test_of_two_classes_the_other_is_the_runner_up(crafted_study: Study) -> None:
    crops = [crop for crop in crafted_study.crops if crop.label != "dark"]
    section = measure_knowledge(crafted.study_of(two_classes(), crops))
    (fused,) = [r for r in table(section, "knowledge.classes").rows if r[0] == "fused"]
    assert fused[1:4] == fused[4:7]
    assert criterion(section, "knowledge.class").n == 20


def test_few_crops_cannot_be_told(crafted_study: Study) -> None:
    for count in (1, 9):
        few = crafted.study_of(crafted_study.explainer.classifier, crafted_study.crops[:count])
        section = measure_knowledge(few)
        assert set(verdicts(section).values()) == {"cannot_tell"}
    slides = replace(crafted_study, clusters=tuple(str(at % 5) for at in range(30)))
    section = measure_knowledge(slides)
    assert set(verdicts(section).values()) == {"cannot_tell"}


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    few = replace(
        crafted_study, effort=replace(crafted.SMALL, map_crops=6, random_crops=2, pairs=6)
    )
    assert measure_knowledge(few) == measure_knowledge(few)
    assert measure_knowledge(few) != measure_knowledge(replace(few, seed=1))

"""How often a model is right: counted by hand, and what cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cam_engine.reports.crops import Crop
from cam_engine.reports.items.performance import compare_models, measure_performance
from cam_engine.reports.study import Study
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import cell, criterion, table, verdicts
from tests.networks import small_network


def answering(study: Study, pairs: Sequence[tuple[int, int]], sure: float = 0.8) -> Study:
    """A study whose crops and answers are these (true class, named class), without any pictures."""
    names = study.class_names
    crops = tuple(Crop(f"{at}.png", "test", names[true]) for at, (true, _) in enumerate(pairs))
    made = replace(
        study,
        crops=crops,
        clusters=tuple(crop.name for crop in crops),
        leaked=(False,) * len(crops),
    )
    rest = (1 - sure) / (len(names) - 1)
    answers = np.full((len(pairs), len(names)), rest)
    answers[np.arange(len(pairs)), [named for _, named in pairs]] = sure
    made.__dict__["probabilities"] = answers  # what the network would have answered
    return made


# Of blue 10 of 12 are right and 2 are named green; of green 9 of 12, 3 named dark; dark: 6 of 6.
PAIRS = [(0, 0)] * 10 + [(0, 1)] * 2 + [(1, 1)] * 9 + [(1, 2)] * 3 + [(2, 2)] * 6


def test_figures_are_those_counted_by_hand(crafted_study: Study) -> None:
    section = measure_performance(answering(crafted_study, PAIRS))
    figures, classes = table(section, "performance.figures"), table(section, "performance.classes")
    assert cell(figures, "accuracy", "value") == pytest.approx(25 / 30)
    mean_recall = (10 / 12 + 9 / 12 + 1) / 3
    assert cell(figures, "balanced accuracy", "value") == pytest.approx(mean_recall)
    for name, cases, recall, precision in (
        ("blue", 12, 10 / 12, 1.0),
        ("green", 12, 9 / 12, 9 / 11),
        ("dark", 6, 1.0, 6 / 9),
    ):
        assert cell(classes, name, "cases") == cases
        assert cell(classes, name, "recall") == pytest.approx(recall)
        assert cell(classes, name, "precision") == pytest.approx(precision)
        f1 = 2 * recall * precision / (recall + precision)
        assert cell(classes, name, "F1") == pytest.approx(f1)
        assert cell(classes, name, "recall low") <= recall <= cell(classes, name, "recall high")
    found = criterion(section, "performance.better_than_majority")
    assert (found.verdict, found.n, found.threshold) == ("pass", 30, 0.0)
    assert found.value == pytest.approx(25 / 30 - 12 / 30)
    assert found.sentence.startswith("83% (95% interval ")
    assert found.sentence.endswith("always saying blue would be right for 40%.")


def test_each_crop_stands_in_the_table(crafted_study: Study) -> None:
    rows = table(measure_performance(answering(crafted_study, PAIRS)), "performance.predictions")
    assert rows.rows[0] == ("0.png", "blue", "blue", 0.8, 1)
    assert rows.rows[11] == ("11.png", "blue", "green", 0.8, 0)
    assert sum(int(row[-1] or 0) for row in rows.rows) == 25


def test_a_class_with_few_cases_cannot_be_told(crafted_study: Study) -> None:
    found = criterion(
        measure_performance(answering(crafted_study, PAIRS)), "performance.each_class"
    )
    assert found.verdict == "cannot_tell"
    assert found.value == pytest.approx(0.75)
    assert found.sentence.startswith("The class that is found least often is green: 75%")
    assert found.sentence.endswith("Too few cases to tell (under 10): dark.")


@pytest.mark.parametrize(
    ("right", "verdict"), [(12, "pass"), (11, "pass"), (4, "cannot_tell"), (0, "fail")]
)
def test_the_worst_class_is_held_against_chance(
    crafted_study: Study, right: int, verdict: str
) -> None:
    pairs = [(0, 0)] * 12 + [(1, 1)] * 12 + [(2, 2)] * right + [(2, 0)] * (12 - right)
    found = criterion(
        measure_performance(answering(crafted_study, pairs)), "performance.each_class"
    )
    assert found.verdict == verdict
    assert found.threshold == pytest.approx(1 / 3)
    assert found.value == right / 12


def test_a_class_without_crops_has_no_figures(crafted_study: Study) -> None:
    section = measure_performance(answering(crafted_study, [(0, 0)] * 12 + [(1, 1)] * 12))
    (row,) = [row for row in table(section, "performance.classes").rows if row[0] == "dark"]
    assert row[1] == 0
    assert all(np.isnan(float(value)) for value in row[2:5] if value is not None)
    assert criterion(section, "performance.each_class").verdict == "cannot_tell"
    assert criterion(section, "performance.better_than_majority").verdict == "pass"
    assert criterion(section, "performance.better_than_majority").value == 0.5


def test_leaked_crops_are_set_against_the_rest(crafted_study: Study) -> None:
    """Right on all ten leaked crops; of the others on half."""
    pairs = [(0, 0)] * 10 + [(0, 0), (0, 1)] * 12
    study = answering(crafted_study, pairs)
    leaking = replace(study, leaked=(True,) * 10 + (False,) * 24)
    leaking.__dict__["probabilities"] = study.probabilities
    found = criterion(measure_performance(leaking), "performance.without_leaked")
    assert (found.value, found.n) == (0.5, 24)
    assert found.threshold == pytest.approx(22 / 34)
    assert found.verdict == "pass"
    assert "Without the 10 crops" in found.sentence
    assert found.sentence.endswith("are right (65% with them; of these alone 100%).")
    many = answering(crafted_study, [(0, 0)] * 60 + [(0, 0), (0, 1)] * 12)
    worse = replace(many, leaked=(True,) * 60 + (False,) * 24)
    worse.__dict__["probabilities"] = many.probabilities
    assert criterion(measure_performance(worse), "performance.without_leaked").verdict == "fail"
    assert "performance.without_leaked" not in verdicts(measure_performance(many))


def test_few_units_cannot_be_told(crafted_study: Study) -> None:
    few = answering(crafted_study, PAIRS)
    clusters = tuple(str(at % 7) for at in range(30))
    slides = replace(few, clusters=clusters)
    slides.__dict__["probabilities"] = few.probabilities
    section = measure_performance(slides)
    assert set(verdicts(section).values()) == {"cannot_tell"}
    assert "of 7 independent units" in section.paragraphs[0]
    assert "below 20: the intervals are unreliable" in section.paragraphs[0]
    for count in (1, 12):  # a single crop, and one class
        section = measure_performance(answering(crafted_study, PAIRS[:count]))
        assert set(verdicts(section).values()) == {"cannot_tell"}


def test_a_network_that_knows_nothing_passes_nothing(crafted_study: Study) -> None:
    for seed in range(4):
        classifier = crafted.classifier(small_network(seed))
        section = measure_performance(crafted.study_of(classifier, crafted_study.crops))
        assert "pass" not in verdicts(section).values()


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    study = answering(crafted_study, PAIRS)
    other = replace(study, seed=1)
    other.__dict__["probabilities"] = study.probabilities
    assert measure_performance(study) == measure_performance(study)
    first, second = measure_performance(study), measure_performance(other)
    assert first.pictures == second.pictures
    assert first.tables[0] != second.tables[0]


def test_models_are_compared_pair_by_pair() -> None:
    """A and B differ in 8 of 40 crops, all for A: p = 2 / 2^8; C is as A but for one crop."""
    a = np.array([True] * 30 + [False] * 10)
    b, c = a.copy(), a.copy()
    b[:8] = False
    c[30] = True
    section = compare_models({"a": a, "b": b, "c": c})
    rows = table(section, "comparison.pairs").rows
    assert [row[:4] for row in rows] == [
        ("a", "b", 8, 0),
        ("a", "c", 0, 1),
        ("b", "c", 0, 9),
    ]
    assert [row[4] for row in rows] == pytest.approx([2 / 2**8, 1.0, 2 / 2**9])
    assert [row[5] for row in rows] == pytest.approx([2 * 2 / 2**8, 1.0, 3 * 2 / 2**9])
    assert section.paragraphs[0].startswith("Of 3 pairs of models, 2 differ in accuracy")
    assert compare_models({"a": a}).paragraphs == ("There is one model: nothing to compare.",)

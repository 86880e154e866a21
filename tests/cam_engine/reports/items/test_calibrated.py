"""Probabilities that are what they say, and others, planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cam_engine.reports.items.calibrated import measure_calibration
from cam_engine.reports.study import Study
from tests.cam_engine.reports.items.crafted import cell, criterion, table
from tests.cam_engine.reports.items.test_performance import answering

# Given at 80 %: of 40 answers 32 are right.
CALIBRATED = [(0, 0)] * 16 + [(1, 1)] * 16 + [(0, 1)] * 4 + [(1, 0)] * 4
OVER_SURE = [(0, 0)] * 10 + [(1, 1)] * 10 + [(0, 1)] * 10 + [(1, 0)] * 10


def shuffled(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Bins are of equal probabilities' own order: right and wrong ones must not lie apart."""
    return [pairs[at] for at in np.random.default_rng(0).permutation(len(pairs))]


def test_a_calibrated_model_passes(crafted_study: Study) -> None:
    section = measure_calibration(answering(crafted_study, shuffled(CALIBRATED)))
    found = criterion(section, "calibration.error")
    assert (found.verdict, found.n) == ("pass", 40)
    figures = table(section, "calibration.figures")
    assert found.value == cell(figures, "ECE", "value")
    assert found.threshold == cell(figures, "ECE of a calibrated model, 97.5th percentile", "value")
    assert found.value is not None
    assert found.threshold is not None
    assert found.value <= found.threshold
    assert f"{found.value:.3f}; a perfectly" in found.sentence
    assert f"to {found.threshold:.3f}) by chance" in found.sentence
    # Brier: right 0.2^2 + 2 * 0.1^2, wrong 0.8^2 + 0.9^2 + 0.1^2.
    brier = 0.8 * (0.04 + 0.02) + 0.2 * (0.64 + 0.81 + 0.01)
    assert cell(figures, "Brier score (0 to 2)", "value") == pytest.approx(brier)
    loss = -0.8 * np.log(0.8) - 0.2 * np.log(0.1)
    assert cell(figures, "negative log likelihood (nats)", "value") == pytest.approx(loss)


def test_an_over_sure_model_fails(crafted_study: Study) -> None:
    section = measure_calibration(answering(crafted_study, shuffled(OVER_SURE), sure=0.97))
    found = criterion(section, "calibration.error")
    assert found.verdict == "fail"
    assert found.value is not None
    assert found.value > 0.4
    rows = table(section, "calibration.sure_errors").rows
    assert len(rows) == 20
    assert all(row[1] != row[2] and row[3] == 0.97 for row in rows)
    assert section.paragraphs[1] == "20 answers wrong above 75%, 0 right below 60%."
    assert table(section, "calibration.unsure_hits").rows == ()


def test_right_and_unsure_answers_are_listed(crafted_study: Study) -> None:
    section = measure_calibration(answering(crafted_study, CALIBRATED, sure=0.5))
    assert len(table(section, "calibration.unsure_hits").rows) == 32
    assert table(section, "calibration.sure_errors").rows == ()


def test_few_units_cannot_be_told(crafted_study: Study) -> None:
    for count in (1, 19):
        section = measure_calibration(answering(crafted_study, OVER_SURE[:count], sure=0.99))
        found = criterion(section, "calibration.error")
        assert found.verdict == "cannot_tell"
        assert found.sentence.endswith(
            f"{count} independent unit{'s' * (count > 1)} are too few to tell."
        )
    study = answering(crafted_study, CALIBRATED)
    slides = replace(study, clusters=tuple(str(at % 3) for at in range(40)))
    slides.__dict__["probabilities"] = study.probabilities
    assert criterion(measure_calibration(slides), "calibration.error").verdict == "cannot_tell"


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    study = answering(crafted_study, CALIBRATED)
    other = replace(study, seed=1)
    other.__dict__["probabilities"] = study.probabilities
    assert measure_calibration(study) == measure_calibration(study)
    assert measure_calibration(study) != measure_calibration(other)

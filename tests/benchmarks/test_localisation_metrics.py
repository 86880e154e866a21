"""The measures of `make localisation`, against values worked out by hand and scikit-learn's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import localisation_metrics as metrics
from benchmarks import localisation_report as report
from cam_engine.evidence.controls import centred_gaussian, uniform_map
from cam_engine.evidence.resampling import ClusterBootstrap

SIZE = (224, 224)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_perfect_map_scores_one_everywhere() -> None:
    mask = metrics.box_mask([10, 20, 60, 80], (100, 100))
    scores = metrics.score(mask.astype(np.float32), mask)
    assert scores.enrichment == pytest.approx(1 / 0.3)
    assert replace(scores, enrichment=1.0) == metrics.Scores(
        average_precision=1.0, peak=1.0, energy=1.0, enrichment=1.0, iou=1.0
    )


def test_energy_and_iou_by_hand() -> None:
    # Box: the left column. Half the scale or above: 1.0 (in), 0.5 (out).
    values = np.array([[1.0, 0.5], [0.25, 0.25]], np.float32)
    scores = metrics.score(values, np.array([[True, False], [True, False]]))
    assert scores.energy == pytest.approx(1.25 / 2)
    assert scores.enrichment == pytest.approx(1.25)
    assert scores.iou == pytest.approx(1 / 3)
    assert scores.peak == 1.0


def test_an_empty_map_is_a_miss_without_energy() -> None:
    mask = metrics.box_mask([0, 0, 100, 112], SIZE)
    scores = metrics.score(np.zeros(SIZE, np.float32), mask)
    assert (scores.peak, scores.energy, scores.enrichment, scores.iou) == (0.0, 0.0, 0.0, 0.0)
    assert scores.average_precision == pytest.approx(mask.mean(), abs=1e-3)


def test_the_uniform_map_scores_the_share_of_the_box() -> None:
    mask = metrics.box_mask([40, 60, 140, 160], SIZE)
    share = mask.mean()
    scores = metrics.score(uniform_map(SIZE), mask)
    assert scores.average_precision == pytest.approx(share, abs=1e-3)
    assert (scores.peak, scores.energy, scores.iou) == pytest.approx((share, share, share))
    assert scores.enrichment == pytest.approx(1.0)


def test_the_gaussian_is_centred_and_scaled_to_one() -> None:
    spot = centred_gaussian(SIZE)
    np.testing.assert_allclose(spot, spot[::-1, ::-1], rtol=1e-6)
    assert spot.max() == pytest.approx(1.0, abs=1e-3)
    # One sigma, a quarter of the side, from the middle.
    assert spot[112, 56] == pytest.approx(np.exp(-0.5), abs=0.01)


def test_squaring_gains_energy_and_nothing_else() -> None:
    mask = metrics.box_mask([60, 60, 160, 160], SIZE)
    spot = centred_gaussian(SIZE)
    plain = metrics.score(spot, mask)
    squared = metrics.score(spot * spot, mask)
    assert squared.energy > plain.energy + 0.1
    assert squared.average_precision == pytest.approx(plain.average_precision, abs=1e-3)
    assert squared.peak == plain.peak


@pytest.mark.parametrize("box", [[0, 0, 225, 10], [-1, 0, 10, 10], [10, 0, 10, 20], [5, 9, 8, 3]])
def test_a_box_outside_the_image_is_refused(box: list[int]) -> None:
    with pytest.raises(ValueError, match="does not lie in an image of 224x224 px"):
        metrics.box_mask(box, SIZE)


def test_columns_keep_measures_apart() -> None:
    scores = [metrics.Scores(0.1, 1.0, 0.2, 2.0, 0.3), metrics.Scores(0.5, 0.0, 0.6, 3.0, 0.7)]
    found = metrics.columns(scores)
    assert tuple(found) == metrics.MEASURES
    np.testing.assert_allclose(found["average_precision"], [0.1, 0.5])
    np.testing.assert_allclose(found["iou"], [0.3, 0.7])


def test_the_report_says_what_was_missed() -> None:
    # Two crops; fused closes half the gap of 0.5 but finds one peak of two.
    ap, peak = "average_precision", "peak"
    rows = {
        report.CLASSICAL: {ap: np.array([0.5, 0.5]), peak: np.array([1.0, 1.0])},
        report.FUSED: {ap: np.array([0.75, 0.75]), peak: np.array([1.0, 0.0])},
        report.LATE: {ap: np.array([0.6, 0.3]), peak: np.array([1.0, 1.0])},
    }
    rest = {name: np.zeros(2) for name in metrics.MEASURES}
    measured = report.Measured(
        name="cls_x",
        sha256="0" * 64,
        precision="float32",
        crops_given=3,
        crops_right=2,
        box_share=0.2,
        bootstrap=ClusterBootstrap(["a", "b"]),
        rows={row: {**rest, **values} for row, values in rows.items()},
    )
    verdict = report.Verdict.of(measured)
    assert verdict == report.Verdict(gap=True, peak=False, late_ap=False, late_peak=True)
    assert verdict.missed() == (
        "fused peak in fewer than 95%; late Grad-CAM++ below classical by AP"
    )
    assert "50% [50%, 50%]" in report.summary([measured])
    closed = report.as_json([measured])[0]["fused_gap_closed"]
    assert isinstance(closed, dict)
    assert closed["value"] == pytest.approx(0.5)
    assert "| cls_x | 2 of 3 |" in report.markdown([measured], seed=0, resamples=10)

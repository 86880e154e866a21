"""The measures of `make localisation`, against values worked out by hand and scikit-learn's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import localisation_metrics as metrics
from benchmarks import localisation_report as report

SIZE = (224, 224)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_average_precision_by_hand(rng: np.random.Generator) -> None:
    # By falling value: in, out, in, out. Precision at the two hits: 1/1 and 2/3.
    values = np.array([[0.9, 0.7], [0.5, 0.1]], np.float32)
    mask = np.array([[True, False], [True, False]])
    assert metrics.average_precision(values, mask, rng) == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    mask = metrics.box_mask([20, 30, 90, 100], SIZE)
    # A permutation: scikit-learn gives tied pixels one threshold, where this draws an order.
    values = rng.permutation(np.linspace(0, 1, mask.size)).astype(np.float32).reshape(SIZE)
    values[mask] = np.sqrt(values[mask])
    assert len(np.unique(values)) > 0.999 * values.size
    expected = sklearn_metrics.average_precision_score(mask.ravel(), values.ravel())
    assert metrics.average_precision(values, mask, rng) == pytest.approx(expected, abs=1e-5)


def test_a_perfect_map_scores_one_everywhere(rng: np.random.Generator) -> None:
    mask = metrics.box_mask([10, 20, 60, 80], (100, 100))
    scores = metrics.score(mask.astype(np.float32), mask, rng)
    assert scores.enrichment == pytest.approx(1 / 0.3)
    assert replace(scores, enrichment=1.0) == metrics.Scores(
        average_precision=1.0, peak=1.0, energy=1.0, enrichment=1.0, iou=1.0
    )


def test_energy_and_iou_by_hand(rng: np.random.Generator) -> None:
    # Box: the left column. Half the scale or above: 1.0 (in), 0.5 (out).
    values = np.array([[1.0, 0.5], [0.25, 0.25]], np.float32)
    scores = metrics.score(values, np.array([[True, False], [True, False]]), rng)
    assert scores.energy == pytest.approx(1.25 / 2)
    assert scores.enrichment == pytest.approx(1.25)
    assert scores.iou == pytest.approx(1 / 3)
    assert scores.peak == 1.0


def test_an_empty_map_is_a_miss_without_energy(rng: np.random.Generator) -> None:
    mask = metrics.box_mask([0, 0, 100, 112], SIZE)
    scores = metrics.score(np.zeros(SIZE, np.float32), mask, rng)
    assert (scores.peak, scores.energy, scores.enrichment, scores.iou) == (0.0, 0.0, 0.0, 0.0)
    assert scores.average_precision == pytest.approx(mask.mean(), abs=0.02)


def test_the_uniform_map_scores_the_share_of_the_box(rng: np.random.Generator) -> None:
    mask = metrics.box_mask([40, 60, 140, 160], SIZE)
    share = mask.mean()
    drawn = [metrics.score(metrics.uniform_map(SIZE), mask, rng) for _ in range(60)]
    assert drawn[0].average_precision == pytest.approx(share, abs=0.02)
    assert drawn[0].energy == pytest.approx(share)
    assert drawn[0].enrichment == pytest.approx(1.0)
    assert drawn[0].iou == pytest.approx(share)
    # A tied peak is drawn: neither always nor never in the box.
    assert 0 < np.mean([one.peak for one in drawn]) < 0.6


def test_tied_peaks_are_drawn_among_the_highest_pixels_only(rng: np.random.Generator) -> None:
    values = np.array([[1.0, 1.0, 0.9, 0.9]], np.float32)
    mask = np.array([[True, False, False, False]])
    share = np.mean([metrics.peak_in(values, mask, rng) for _ in range(400)])
    assert share == pytest.approx(0.5, abs=0.1)


def test_ties_do_not_follow_the_order_of_pixels(rng: np.random.Generator) -> None:
    # The box first in memory: a stable sort without a draw would rank it first and score 1.
    mask = metrics.box_mask([0, 0, 224, 40], SIZE)
    assert metrics.average_precision(np.ones(SIZE, np.float32), mask, rng) < mask.mean() + 0.02


def test_the_gaussian_is_centred_and_scaled_to_one() -> None:
    spot = metrics.centred_gaussian(SIZE)
    np.testing.assert_allclose(spot, spot[::-1, ::-1], rtol=1e-6)
    assert spot.max() == pytest.approx(1.0, abs=1e-3)
    # One sigma, a quarter of the side, from the middle.
    assert spot[112, 56] == pytest.approx(np.exp(-0.5), abs=0.01)


def test_squaring_gains_energy_and_nothing_else() -> None:
    mask = metrics.box_mask([60, 60, 160, 160], SIZE)
    spot = metrics.centred_gaussian(SIZE)
    plain = metrics.score(spot, mask, np.random.default_rng(0))
    squared = metrics.score(spot * spot, mask, np.random.default_rng(0))
    assert squared.energy > plain.energy + 0.1
    assert squared.average_precision == pytest.approx(plain.average_precision, abs=1e-3)
    assert squared.peak == plain.peak


@pytest.mark.parametrize("box", [[0, 0, 225, 10], [-1, 0, 10, 10], [10, 0, 10, 20], [5, 9, 8, 3]])
def test_a_box_outside_the_image_is_refused(box: list[int]) -> None:
    with pytest.raises(ValueError, match="does not lie in an image of 224x224 px"):
        metrics.box_mask(box, SIZE)


def test_intervals_widen_where_the_crops_of_a_slide_agree(rng: np.random.Generator) -> None:
    slides = [f"slide{n}" for n in range(30) for _ in range(5)]
    values = np.repeat(rng.random(30), 5)
    clustered = metrics.ClusterBootstrap(slides).mean(values)
    independent = metrics.ClusterBootstrap([str(n) for n in range(150)]).mean(values)
    assert clustered.value == independent.value == pytest.approx(values.mean())
    assert clustered.low < clustered.value < clustered.high
    ratio = (clustered.high - clustered.low) / (independent.high - independent.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)


def test_an_interval_is_near_the_normal_one(rng: np.random.Generator) -> None:
    values = rng.normal(size=400)
    found = metrics.ClusterBootstrap([str(n) for n in range(400)]).mean(values)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.015
    )


def test_gap_closed_by_hand_and_paired() -> None:
    bootstrap = metrics.ClusterBootstrap(["a", "b", "c", "d"])
    baseline = np.array([0.2, 0.4, 0.6, 0.8])
    halfway = (1 + baseline) / 2
    found = bootstrap.gap_closed(halfway, baseline)
    # Exactly half in each resample, since both rows see the same slides.
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_same_seed_gives_the_same_interval(rng: np.random.Generator) -> None:
    values, slides = rng.random(20), [str(n // 2) for n in range(20)]
    first, second = (metrics.ClusterBootstrap(slides, seed=3).mean(values) for _ in range(2))
    assert first == second


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
        bootstrap=metrics.ClusterBootstrap(["a", "b"]),
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

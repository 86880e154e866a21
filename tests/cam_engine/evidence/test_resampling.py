"""Intervals over clusters: as wide as they should be, paired, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from cam_engine.evidence.resampling import ClusterBootstrap


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_intervals_widen_where_the_crops_of_a_slide_agree(rng: np.random.Generator) -> None:
    slides = [f"slide{n}" for n in range(30) for _ in range(5)]
    values = np.repeat(rng.random(30), 5)
    clustered = ClusterBootstrap(slides).mean(values)
    independent = ClusterBootstrap([str(n) for n in range(150)]).mean(values)
    assert clustered.value == independent.value == pytest.approx(values.mean())
    assert clustered.low < clustered.value < clustered.high
    ratio = (clustered.high - clustered.low) / (independent.high - independent.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)


def test_an_interval_is_near_the_normal_one(rng: np.random.Generator) -> None:
    values = rng.normal(size=400)
    found = ClusterBootstrap([str(n) for n in range(400)]).mean(values)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.015
    )


def test_gap_closed_by_hand_and_paired() -> None:
    bootstrap = ClusterBootstrap(["a", "b", "c", "d"])
    baseline = np.array([0.2, 0.4, 0.6, 0.8])
    halfway = (1 + baseline) / 2
    found = bootstrap.gap_closed(halfway, baseline)
    # Exactly half in each resample, since both rows see the same slides.
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_same_seed_gives_the_same_interval(rng: np.random.Generator) -> None:
    values, slides = rng.random(20), [str(n // 2) for n in range(20)]
    first, second = (ClusterBootstrap(slides, seed=3).mean(values) for _ in range(2))
    assert first == second


def test_crops_without_a_figure_do_not_count(rng: np.random.Generator) -> None:
    values = rng.random(60)
    filled = np.r_[values, np.full(20, np.nan)]
    bootstrap = ClusterBootstrap([str(n) for n in range(80)])
    found = bootstrap.mean_where_known(filled)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(60)
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.02
    )
    nothing = bootstrap.mean_where_known(np.full(80, np.nan))
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_any_statistic_sees_the_same_resamples(rng: np.random.Generator) -> None:
    values = rng.random(30)
    bootstrap = ClusterBootstrap([str(n // 3) for n in range(30)], 200)
    found = bootstrap.statistic(lambda weights: float(np.average(values, weights=weights)))
    mean = bootstrap.mean(values)
    assert (found.value, found.low, found.high) == pytest.approx((mean.value, mean.low, mean.high))
    there = bootstrap.statistic(lambda weights: float(values[0]) if weights[0] > 0 else np.nan)
    assert (there.value, there.low, there.high) == pytest.approx((values[0],) * 3)

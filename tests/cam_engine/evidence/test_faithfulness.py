"""Insertion and deletion against RISE's formula, and on maps whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from cam_engine.evidence.faithfulness import blurred, deletion, insertion, mean_coloured
from cam_engine.results import RgbImage

SIDE = 16


@pytest.fixture
def image() -> RgbImage:
    """Dark, with a bright square of 4 x 4 px."""
    made = np.full((SIDE, SIDE, 3), 20, np.uint8)
    made[4:8, 4:8] = 220
    return made


def brightness_in_square(images: Sequence[RgbImage]) -> NDArray[np.float64]:
    return np.array([image[4:8, 4:8].mean() / 220 for image in images])


def rise(curve: NDArray[np.float64]) -> float:
    """RISE's own area (its `auc`): of equal steps."""
    return float((curve.sum() - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1))


@pytest.mark.parametrize("measure", [insertion, deletion])
def test_without_equal_values_it_is_rises(measure: object, image: RgbImage) -> None:
    values = np.random.default_rng(0).permutation(SIDE * SIDE).reshape(SIDE, SIDE) / 256
    base = mean_coloured(image)
    before, after = (base, image) if measure is insertion else (image, base)
    scores, order = [], np.argsort(-values.ravel())
    for at in range(0, SIDE * SIDE + 1, 8):
        state = before.reshape(-1, 3).copy()
        state[order[:at]] = after.reshape(-1, 3)[order[:at]]
        scores.append(brightness_in_square([state.reshape(image.shape)])[0])
    function = insertion if measure is insertion else deletion
    curve = function(values, image, base, brightness_in_square, steps=32)
    np.testing.assert_allclose(curve.scores, scores, atol=1e-12)
    assert curve.area == pytest.approx(rise(np.array(scores)), abs=1e-6)


def test_a_map_of_the_reason_inserts_early_and_deletes_early(image: RgbImage) -> None:
    good = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) / SIDE**2
    good[4:8, 4:8] += 1
    bad = good.max() - good
    base = mean_coloured(image)
    into_good, into_bad = (insertion(m, image, base, brightness_in_square) for m in (good, bad))
    out_good, out_bad = (deletion(m, image, base, brightness_in_square) for m in (good, bad))
    assert into_good.area > 0.9
    assert into_bad.area < 0.3
    assert out_good.area < 0.3
    assert out_bad.area > 0.9


def test_areas_are_over_what_was_really_changed(image: RgbImage) -> None:
    """A map with one group: from the first state to the last in one step, half of each."""
    curve = insertion(np.ones((SIDE, SIDE)), image, mean_coloured(image), brightness_in_square)
    assert curve.shares.tolist() == [0.0, 1.0]
    assert curve.area == pytest.approx(curve.scores.mean())


def test_maps_and_images_of_other_sizes_are_refused(image: RgbImage) -> None:
    with pytest.raises(ValueError, match=r"map \(8, 8\)"):
        insertion(np.ones((8, 8)), image, image, brightness_in_square)


def test_baselines(image: RgbImage) -> None:
    assert np.unique(mean_coloured(image).reshape(-1, 3), axis=0).shape == (1, 3)
    assert mean_coloured(image)[0, 0].tolist() == image.mean((0, 1)).round().tolist()
    large = np.zeros((224, 224, 3), np.uint8)
    large[112, 112] = 255
    spread = blurred(np.kron(image, np.ones((14, 14, 1), np.uint8)))
    assert spread.shape == large.shape
    assert spread.std() < np.kron(image, np.ones((14, 14, 1), np.uint8)).std()

"""ROAD's imputation beside the authors' code, and which pixels are taken away."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cam_engine.evidence.controls import uniform_map
from cam_engine.evidence.images.imputation import NOISE, SHARES, highest, imputed


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def theirs() -> ModuleType:
    found: ModuleType = pytest.importorskip(
        "pytorch_grad_cam.metrics.road", reason="the dev extra is not installed"
    )
    return found


def by_the_authors(image: NDArray[np.float64], gone: NDArray[np.bool_]) -> NDArray[np.float64]:
    pixels = torch.tensor(image.transpose(2, 0, 1), dtype=torch.float32)
    made = theirs().NoisyLinearImputer(noise=0.0)(pixels, torch.tensor((~gone).astype(np.float32)))
    return np.asarray(made.numpy().transpose(1, 2, 0), np.float64)


# Their code lets NumPy look through a tensor, of which NumPy warns.
with_their_warning = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")


@with_their_warning
@pytest.mark.parametrize("shape", [(20, 31), (1, 7), (9, 1)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_without_noise_it_is_the_authors(shape: tuple[int, int], share: float) -> None:
    image = rng().random((*shape, 3))
    (gone,) = highest(np.random.default_rng(1).random(shape), [share])
    np.testing.assert_allclose(
        imputed(image, gone, rng(), 0.0), by_the_authors(image, gone), atol=1e-6
    )


@with_their_warning
@pytest.mark.parametrize(
    "rows_and_columns",
    [np.s_[:, :4], np.s_[-3:, :], np.s_[0, 0], np.s_[-1, -1], np.s_[1:, 1:], np.s_[:-1, :-1]],
    ids=[
        "left",
        "bottom",
        "one corner",
        "other corner",
        "but top and left",
        "but bottom and right",
    ],
)
def test_at_edges_it_is_the_authors(rows_and_columns: tuple[slice, slice]) -> None:
    image, gone = rng().random((12, 9, 3)), np.zeros((12, 9), bool)
    gone[rows_and_columns] = True
    made = imputed(image, gone, rng(), 0.0)
    np.testing.assert_allclose(made, by_the_authors(image, gone), atol=1e-6)
    assert (made[~gone] == image[~gone]).all()


def test_one_pixel_by_hand() -> None:
    """Beside it 1/6 each, across 1/12 each; in a corner the two beside and the one across."""
    image = np.zeros((3, 3, 3))
    image[0, 1] = 0.6  # above
    image[0, 0] = 0.6  # across
    gone = np.zeros((3, 3), bool)
    gone[1, 1] = True
    assert imputed(image, gone, rng(), 0.0)[1, 1, 0] == pytest.approx(0.6 / 6 + 0.6 / 12)
    corner = np.zeros((3, 3), bool)
    corner[0, 2] = True
    expected = (0.6 / 6) / (1 / 6 + 1 / 6 + 1 / 12)
    assert imputed(image, corner, rng(), 0.0)[0, 2, 0] == pytest.approx(expected)


def test_the_noise_is_the_authors() -> None:
    assert theirs().NoisyLinearImputer().noise == NOISE


def test_noise_is_on_what_is_gone_alone_and_stays_in_range() -> None:
    image = np.full((64, 64, 3), 0.5)
    gone = np.zeros((64, 64), bool)
    gone[:, :40] = True
    made = imputed(image, gone, rng())
    assert made[gone].std() == pytest.approx(NOISE, rel=0.03)
    assert made[gone].mean() == pytest.approx(0.5, abs=1e-3)
    assert (made[~gone] == 0.5).all()
    white = imputed(np.ones((64, 64, 3)), gone, rng())
    assert white.max() == 1.0
    black = imputed(np.zeros((64, 64, 3)), gone, rng())
    assert black.min() == 0.0


def test_the_image_that_is_given_is_not_changed() -> None:
    image = rng().random((8, 8, 3))
    before = image.copy()
    gone = np.zeros((8, 8), bool)
    kept = imputed(image, gone, rng())
    assert (kept == before).all()
    kept[:] = 0
    gone[2:5] = True
    imputed(image, gone, rng())
    assert (image == before).all()


def test_an_image_of_which_all_is_gone_becomes_its_mean_colour() -> None:
    image = rng().random((8, 8, 3))
    made = imputed(image, np.ones((8, 8), bool), rng(), 0.0)
    np.testing.assert_allclose(made, np.broadcast_to(image.mean((0, 1)), made.shape), atol=1e-12)


def test_without_equal_values_the_share_goes() -> None:
    values = rng().permutation(400).reshape(20, 20) / 400
    for share, gone in zip(SHARES, highest(values, SHARES), strict=True):
        assert gone.mean() == pytest.approx(share)
        assert values[gone].min() > values[~gone].max()


def test_equal_values_go_together() -> None:
    """Of 10 pixels 3 are highest and 4 next: shares go to the ends of these groups."""
    values = np.array([[5, 5, 5, 2, 2], [2, 2, 0, 0, 0]], np.float32)
    counts = [int(gone.sum()) for gone in highest(values, (0.01, 0.3, 0.45, 0.55, 0.8, 0.9))]
    assert counts == [3, 3, 3, 7, 7, 10]


def test_of_a_mostly_empty_map_the_peak_goes_alone() -> None:
    """The rest, all of it 0, goes once that is nearer; from the other end it goes first."""
    values = np.zeros((20, 20), np.float32)
    values[:2, :10] = np.arange(1, 21).reshape(2, 10)
    shares = [float(gone.mean()) for gone in highest(values, SHARES)]
    assert shares == [0.05, 0.05, 0.05, 0.05, 0.05, 1.0, 1.0]
    assert highest(values, SHARES)[0][:2, :10].all()
    other = highest(-values, SHARES)
    assert [float(gone.mean()) for gone in other] == [0.95] * 7
    assert not other[0][:2, :10].any()


def test_a_uniform_map_scores_nothing() -> None:
    """Lowest first and highest first take the same pixels away, and so the same image is left."""
    image = rng().random((16, 16, 3))
    values = uniform_map((16, 16))
    for first, last in zip(highest(values, SHARES), highest(-values, SHARES), strict=True):
        assert (first == last).all()
        assert (imputed(image, first, rng()) == imputed(image, last, rng())).all()

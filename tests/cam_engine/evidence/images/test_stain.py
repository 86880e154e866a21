"""The stain of cells that are drawn here and of the bundled ones; fillings to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cam_engine.evidence.images.stain import Mask, elsewhere, filled, stained
from cam_engine.images.preparing import read_image
from cam_engine.results import RgbImage

SIDE = 112
GLASS, PINK, PURPLE = (235, 225, 215), (215, 150, 160), (120, 60, 150)


def disc(x: float, y: float, radius: float, side: int = SIDE) -> Mask:
    rows, columns = np.mgrid[:side, :side]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2, np.bool_)


def noisy(image: RgbImage, sigma: float = 3.0) -> RgbImage:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.asarray((image + noise).clip(0, 255).round(), np.uint8)


def cell(radius: float = 42) -> RgbImage:
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = GLASS
    image[disc(56, 56, radius)] = PINK
    return image


@pytest.mark.parametrize(("x", "y", "radius"), [(56, 56, 8), (40, 64, 5), (70, 50, 16)])
def test_a_nucleus_in_a_cell_is_found(x: int, y: int, radius: int) -> None:
    image, nucleus = cell(), disc(x, y, radius)
    image[nucleus] = PURPLE
    found = stained(noisy(image))
    assert found is not None
    assert found[nucleus].all()
    assert not found[~disc(x, y, radius + 8)].any()  # grown by 1/32 of the side, and smoothed


def test_what_is_found_grows_with_the_image() -> None:
    image = cell()
    image[disc(56, 56, 10)] = PURPLE
    small = stained(image)
    large = stained(image.repeat(4, 0).repeat(4, 1))
    assert small is not None
    assert large is not None
    assert large.shape == (448, 448)
    assert large.mean() == pytest.approx(float(small.mean()), rel=0.1)
    assert 13 < np.sqrt(small.sum() / np.pi) < 16  # 10 px, 1/32 of the side more, and smoothed


def test_of_stains_those_count_that_touch_the_middle_half() -> None:
    image = cell(60)
    image[disc(56, 56, 8)] = PURPLE
    image[disc(8, 56, 6)] = PURPLE
    found = stained(image)
    assert found is not None
    assert found[disc(56, 56, 8)].all()
    assert not found[:, :20].any()
    beside = cell(60)
    beside[disc(8, 56, 6)] = PURPLE
    assert stained(beside) is None


def test_where_no_stain_stands_out_there_is_none() -> None:
    glass = np.empty((SIDE, SIDE, 3), np.uint8)
    glass[:] = GLASS
    assert stained(glass) is None
    for sigma in (2, 5, 10):
        assert stained(noisy(glass, sigma)) is None
    slope = (glass + np.linspace(-20, 20, SIDE)[None, :, None]).clip(0, 255).astype(np.uint8)
    assert stained(noisy(slope)) is None
    for radius in (20, 30, 42, 55):  # a healthy cell
        assert stained(noisy(cell(radius))) is None


def test_too_small_and_too_large_a_stain_is_none() -> None:
    speck, flood = cell(), cell(55)
    speck[56, 56] = PURPLE
    assert stained(speck) is None
    for at in range(0, SIDE, 10):  # three of ten columns, which grow together
        flood[:, at : at + 3][disc(56, 56, 52)[:, at : at + 3]] = PURPLE
    assert stained(flood) is None
    flood[:30] = flood[-30:] = PINK
    assert stained(flood) is not None


def test_what_lacks_red_alone_is_no_stain() -> None:
    """Stained cells lack green as well: a greenish speck of dirt does not."""
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = GLASS
    image[disc(38, 38, 18)] = PINK
    image[disc(74, 74, 8)] = (100, 230, 200)
    assert stained(image) is None
    image[disc(74, 74, 8)] = PURPLE
    assert stained(image) is not None


def test_the_texture_of_a_cell_is_no_stain() -> None:
    """Waves of 20 levels: no outlier among them, though all are 10 levels deep."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    waves = 20 * np.sin(rows / 3) * np.sin(columns / 3)
    image = cell().astype(np.float64)
    image[..., 0] -= waves * disc(56, 56, 40)
    assert stained(image.clip(0, 255).astype(np.uint8)) is None


def test_a_weak_stain_in_an_even_cell_is_noise() -> None:
    """Cells of one colour have no deviation: 10 levels are asked for all the same."""
    red, green, blue = PINK
    for less, is_there in ((6, False), (25, True)):
        image = cell()
        image[disc(56, 56, 10)] = (red - less, green, blue)
        assert (stained(image) is not None) is is_there


def test_parasites_of_the_bundled_crops_are_found(lifecycle: Path) -> None:
    """The drawn parasites are the darkest and the least red there is; looked at once."""
    files = sorted((lifecycle / "crops_gt_crops/crops/test").glob("*/*.jpg"))[::3]
    found = 0
    for file in files:
        image = read_image(file)
        mask = stained(image)
        if mask is None:
            continue
        found += 1
        assert 0.01 <= mask.mean() <= 0.3
        assert image[mask][:, 0].mean() < image[~mask][:, 0].mean() - 15
    assert found >= 0.8 * len(files)


def test_filling_leaves_nothing_of_the_holes_colour() -> None:
    """Two images that differ in the hole alone are the same one afterwards."""
    hole = disc(50, 60, 15)
    one = noisy(cell())
    other = one.copy()
    other[hole] = np.random.default_rng(1).integers(0, 256, other[hole].shape)
    assert (filled(one, hole) == filled(other, hole)).all()
    assert (filled(other, hole)[~hole] == one[~hole]).all()
    assert (one == noisy(cell())).all()  # nothing is changed in place


def test_filling_is_of_the_surroundings() -> None:
    image = np.empty((64, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (200, 100, 50), (100, 200, 150)
    hole = disc(32, 32, 8, 64)
    image[hole] = 0
    made = filled(image, hole)[hole]
    assert made.min(0).tolist() >= [100, 100, 50]
    assert made.max(0).tolist() <= [200, 200, 150]
    assert filled(image, hole)[32, 26, 0] > 160  # nearer to the left
    assert filled(image, hole)[32, 38, 0] < 140
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert (filled(flat, hole) == 90).all()


def test_far_from_all_surroundings_it_is_their_mean() -> None:
    image = np.zeros((200, 20, 3), np.uint8)
    image[:5, :10], image[:5, 10:] = 100, 201
    hole = np.ones((200, 20), bool)
    hole[:5] = False
    made = filled(image, hole)
    assert (made[-20:] == round(150.5)).all()
    assert (filled(image, np.ones_like(hole)) == image.mean((0, 1)).round()).all()


@pytest.mark.parametrize("hole", [disc(56, 56, 20), disc(20, 30, 12), disc(100, 56, 25)])
def test_elsewhere_is_as_large_and_apart(hole: Mask) -> None:
    moved = elsewhere(hole)
    assert not (moved & hole).any()
    assert moved.sum() == hole.sum()
    spectra = [np.abs(np.fft.fft2(mask)) for mask in (hole, moved)]
    np.testing.assert_allclose(
        spectra[0], spectra[1], atol=1e-6
    )  # the same shape, moved as on a torus


def test_elsewhere_of_a_mask_that_leaves_too_little_room() -> None:
    """Three fifths of the columns: two fifths are left, and all of them are taken."""
    mask = np.zeros((10, 10), bool)
    mask[:, :6] = True
    assert (elsewhere(mask) == ~mask).all()

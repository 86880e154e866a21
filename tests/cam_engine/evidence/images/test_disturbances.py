"""Small changes of an image really change it, and what moves pixels is undone on maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cam_engine.evidence.images.disturbances import DISTURBANCES, Disturbance
from cam_engine.results import FloatMap, RgbImage

NAMES = sorted(DISTURBANCES)
MOVING = ("moved by 2 px", "turned by 5 degrees")


def smooth(size: tuple[int, int] = (60, 80), channels: int = 3) -> RgbImage:
    """Blobs of about 8 px, 40..200."""
    noise = np.random.default_rng(0).random((*size, channels))
    blurred = cv2.GaussianBlur(noise, (0, 0), 4)
    scaled = (blurred - blurred.min()) / np.ptp(blurred)
    return np.asarray((40 + 160 * scaled).round(), np.uint8)


def as_map(image: RgbImage) -> FloatMap:
    """A map that follows the image: its green channel."""
    return np.asarray(image[..., 1] / 255, np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_the_image_a_little(name: str) -> None:
    image = smooth()
    before = image.copy()
    changed = DISTURBANCES[name].change(image)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert (image == before).all()
    difference = np.abs(changed.astype(float) - image)
    assert 0.2 < difference.mean() < 25
    assert np.corrcoef(changed.ravel(), image.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MOVING])
def test_what_does_not_move_pixels_leaves_maps_alone(name: str) -> None:
    image = smooth()
    disturbance = DISTURBANCES[name]
    assert np.corrcoef(disturbance.change(image).ravel(), image.ravel())[0, 1] > 0.99
    values = as_map(image)
    undone, sight = disturbance.undone(values)
    assert (undone == values).all()
    assert sight.shape == values.shape
    assert sight.all()


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_pixels_is_undone_in_sight(name: str) -> None:
    image = smooth()
    disturbance = DISTURBANCES[name]
    values, moved = as_map(image), as_map(disturbance.change(image))
    undone, sight = disturbance.undone(moved)
    assert undone.dtype == np.float32
    assert 0.8 < sight.mean() < 0.96
    assert np.abs(undone - values)[sight].max() < 0.04
    assert np.abs(undone - values)[sight].max() < np.abs(moved - values)[sight].max() / 4
    assert not sight[-1].all()


def test_a_shift_by_hand() -> None:
    image = np.zeros((10, 12, 3), np.uint8)
    image[3, 4] = 200
    shift = DISTURBANCES["moved by 2 px"]
    moved = shift.change(image)
    assert np.argwhere(moved[..., 0] == 200).tolist() == [[5, 6]]
    undone, sight = shift.undone(as_map(moved))
    assert np.argwhere(undone > 0.5).tolist() == [[3, 4]]
    expected = np.zeros((10, 12), bool)
    expected[:8, :10] = True
    assert (sight == expected).all()


def test_a_turn_by_hand() -> None:
    """By 5 degrees against the clock, about the middle, which stays."""
    image = np.zeros((101, 101, 3), np.uint8)
    image[50, 50] = image[50, 90] = 250
    moved = DISTURBANCES["turned by 5 degrees"].change(image)[..., 0].astype(float)
    assert moved[50, 50] == 250
    right = moved.copy()
    right[:, :70] = 0
    rows, columns = np.mgrid[:101, :101]
    at = ((rows * right).sum() / right.sum(), (columns * right).sum() / right.sum())
    angle = np.deg2rad(5)
    assert at == pytest.approx((50 - 40 * np.sin(angle), 50 + 40 * np.cos(angle)), abs=0.1)


def test_levels_and_contrast_by_hand() -> None:
    image = np.array([[[0, 50, 100], [200, 240, 255]]], np.uint8)
    changed = {name: DISTURBANCES[name].change(image).ravel().tolist() for name in NAMES}
    assert changed["10% brighter"] == [0, 55, 110, 220, 255, 255]
    assert changed["10% darker"] == [0, 45, 90, 180, 216, 230]
    mean = image.mean()
    for name, gain in (("10% more contrast", 1.1), ("10% less contrast", 0.9)):
        expected = np.clip((image - mean) * gain + mean, 0, 255).round()
        assert changed[name] == expected.ravel().tolist()
    assert changed["10% less contrast"][0] > 0


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("size", [(120, 240), (30, 40)])
def test_maps_of_another_size_than_the_image_are_undone_too(
    name: str, size: tuple[int, int]
) -> None:
    """The image is changed first, and then brought to the network's size, also unequally."""
    image = smooth()
    disturbance = DISTURBANCES[name]

    def resized(pixels: RgbImage) -> FloatMap:
        made = cv2.resize(as_map(pixels), size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(made, np.float32)

    values, moved = resized(image), resized(disturbance.change(image))
    undone, sight = disturbance.undone(moved, image.shape[:2])
    assert 0.75 < sight.mean() < 0.96
    assert np.abs(undone - values)[sight].mean() < 0.012
    assert np.abs(undone - values)[sight].mean() < np.abs(moved - values)[sight].mean() / 4


def test_a_change_of_ones_own() -> None:
    """Turned by half: that is exact, of a map as large as the image and of a larger one."""
    turned = Disturbance(
        lambda image: np.ascontiguousarray(image[::-1, ::-1]),
        lambda size: np.array([[-1.0, 0.0, size[1] - 1.0], [0.0, -1.0, size[0] - 1.0]]),
    )
    image = smooth()
    undone, sight = turned.undone(as_map(turned.change(image)))
    assert sight.all()
    np.testing.assert_allclose(undone, as_map(image), atol=1e-6)
    large = np.asarray(as_map(image).repeat(2, 0).repeat(3, 1), np.float32)
    undone, sight = turned.undone(np.ascontiguousarray(large[::-1, ::-1]), image.shape[:2])
    assert sight.all()
    np.testing.assert_allclose(undone, large, atol=1e-4)


def test_jpeg_loses_what_opencvs_jpeg_loses() -> None:
    """Of grey noise: of a colour one, most is lost to coarser colours at any quality."""
    grey = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    image = grey.repeat(3, 2)
    _, file = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    read = cv2.imdecode(file, cv2.IMREAD_COLOR)
    assert read is not None
    expected = np.abs(read.astype(float) - image).mean()
    changed = DISTURBANCES["JPEG of quality 85"].change(image)
    assert np.abs(changed.astype(float) - image).mean() == pytest.approx(expected, rel=0.05)

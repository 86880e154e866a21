"""Registration finds what was done to a picture, and refuses what no two boxes of a cell are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cam_engine.evidence.images.registration import (
    SIDE,
    Grey,
    Placing,
    correlation,
    local_contrast,
    reduced,
)
from cam_engine.images.preparing import read_image


@pytest.fixture(scope="module")
def crops(lifecycle: Path) -> list[Grey]:
    files = sorted((lifecycle / "crops_gt_crops/crops/test").glob("*/*.jpg"))
    return [reduced(read_image(file)) for file in files]


def moved(grey: Grey, turn: float = 0.0, scale: float = 1.0, x: float = 0.0) -> Grey:
    middle = (SIDE - 1) / 2
    warp = cv2.getRotationMatrix2D((middle, middle), turn, scale)
    warp[0, 2] += x
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(grey, warp, (SIDE, SIDE), borderMode=border), np.uint8)


def test_a_placing_says_where_points_lie() -> None:
    """The middle of 96 px is at 47.5: it moves by (3, -2); a point 10 px off it by twice that."""
    warp = Placing(3, -2, 2.0).warp
    np.testing.assert_allclose(warp @ [47.5, 47.5, 1], [50.5, 45.5], atol=1e-4)
    np.testing.assert_allclose(warp @ [57.5, 47.5, 1], [70.5, 45.5], atol=1e-4)


def test_reduced_is_grey_of_one_size() -> None:
    image = np.zeros((50, 200, 3), np.uint8)
    image[..., 1] = 100
    assert reduced(image).shape == (SIDE, SIDE)
    assert np.unique(reduced(image)).tolist() == [59]  # 0.587 of green (BT.601)


def test_local_contrast_does_not_know_the_light(crops: list[Grey]) -> None:
    darker = (crops[0] * 0.8 - 10).clip(0, 255).astype(np.uint8)
    one, other = local_contrast(crops[0]), local_contrast(darker)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
    assert np.abs(local_contrast(np.full((SIDE, SIDE), 90, np.uint8))).max() < 1e-4


@pytest.mark.parametrize(("turn", "scale", "x"), [(0, 1, 6), (0, 0.9, 0), (3, 1.1, -5)])
def test_a_moved_picture_is_found(crops: list[Grey], turn: float, scale: float, x: float) -> None:
    for grey in crops[::6]:
        found = correlation(grey, moved(grey, turn, scale, x), Placing())
        assert found is not None
        assert found > 0.95


def test_another_focus_is_forgiven(crops: list[Grey]) -> None:
    for grey in crops[::6]:
        blurred = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.5), np.uint8)
        assert (correlation(grey, blurred, Placing()) or 0) > 0.95


def test_other_cells_are_not_alike(crops: list[Grey]) -> None:
    found = [
        correlation(one, other, Placing()) or 0.0
        for number, one in enumerate(crops[::4])
        for other in crops[::4][:number]
    ]
    assert max(found) < 0.8


@pytest.mark.parametrize(("turn", "scale"), [(8, 1), (0, 1.6)])
def test_turned_and_enlarged_pictures_are_no_two_boxes_of_a_cell(
    crops: list[Grey], turn: float, scale: float
) -> None:
    start = Placing(0, 0, scale)
    assert correlation(crops[0], moved(crops[0], turn, scale), start) is None


def test_a_detail_that_only_one_has_counts_against_them(crops: list[Grey]) -> None:
    """A quarter of each picture is wiped; all else is the same."""
    found = []
    for grey in crops[::6]:
        wiped = grey.copy()
        wiped[24:72, 24:72] = cv2.GaussianBlur(grey, (0, 0), 12)[24:72, 24:72]
        found.append(correlation(grey, wiped, Placing()) or 0.0)
    assert np.mean(found) < 0.87


def test_pictures_without_detail_cannot_be_compared(crops: list[Grey]) -> None:
    plain = np.full((SIDE, SIDE), 90, np.uint8)
    assert correlation(plain, plain, Placing()) is None
    assert correlation(crops[0], plain, Placing()) is None
    faint = (90 + crops[0] * 0.03).astype(np.uint8)
    assert correlation(faint, faint, Placing()) is None

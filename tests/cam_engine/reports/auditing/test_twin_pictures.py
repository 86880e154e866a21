"""Twins side by side: both crops are in the picture, and what differs is red."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cam_engine.errors import ImageNotFound
from cam_engine.evidence.images.twins import Twin, Twins
from cam_engine.images.preparing import decode_image, read_image
from cam_engine.reports.auditing.twin_crops import TwinCrops
from cam_engine.reports.auditing.twin_pictures import MOST_PAIRS, draw_twins
from cam_engine.reports.crops import Crop
from cam_engine.results import RgbImage


def twins(lifecycle: Path, split: str, label: str) -> TwinCrops:
    files = sorted((lifecycle / "crops_gt_crops/crops/test").glob("*/cell_001.jpg"))
    one, other = Crop("one.jpg", "test", "ring", files[0]), Crop("2.jpg", split, label, files[1])
    return TwinCrops((one, other), Twins((Twin(0, 1, 0.9, "near"),), ((0, 1),)), frozenset({0, 1}))


def drawn(found: TwinCrops) -> RgbImage:
    return decode_image(draw_twins(found, found.pairs("test")))


def red(pixels: RgbImage) -> int:
    """Pixels of the words' red, below the pictures."""
    words = pixels[195:].astype(int)
    return int(((words[..., 0] > 140) & (words[..., 1] < 90) & (words[..., 2] < 90)).sum())


def test_both_crops_are_shown(lifecycle: Path) -> None:
    found = twins(lifecycle, "test", "ring")
    pixels = drawn(found)
    for crop, left in zip(found.crops, (16, 16 + 176 + 4), strict=True):
        assert crop.path is not None
        small = cv2.resize(read_image(crop.path), (176, 176), interpolation=cv2.INTER_AREA)
        shown = pixels[16 : 16 + 176, left : left + 176]
        assert np.abs(shown.astype(int) - small).mean() < 4


def test_only_what_differs_is_red(lifecycle: Path) -> None:
    same = red(drawn(twins(lifecycle, "test", "ring")))
    other_split = red(drawn(twins(lifecycle, "train", "ring")))
    both = red(drawn(twins(lifecycle, "train", "schizont")))
    assert same == 0
    assert 20 < other_split < both


def test_it_holds_no_more_than_can_be_read(lifecycle: Path) -> None:
    found = twins(lifecycle, "train", "ring")
    pairs = found.pairs("test")
    shapes = [decode_image(draw_twins(found, pairs * n)).shape for n in (1, 3, MOST_PAIRS, 99)]
    assert shapes[0][1] < shapes[1][1] < 1200
    assert shapes[1][0] < shapes[2][0] == shapes[3][0]


def test_nothing_to_draw(lifecycle: Path) -> None:
    found = twins(lifecycle, "train", "ring")
    with pytest.raises(ValueError, match="no twins"):
        draw_twins(found, [])
    gone = Crop("gone.jpg", "test", "ring", lifecycle / "gone.jpg")
    found = TwinCrops((gone, found.crops[1]), found.twins, found.compared)
    with pytest.raises(ImageNotFound):
        draw_twins(found, found.pairs("test"))

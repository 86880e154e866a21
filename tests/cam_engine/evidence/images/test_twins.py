"""Planted twins are found, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cam_engine.evidence.images import twins
from cam_engine.evidence.images.twins import Twin, Twins, connected, find_twins, fingerprint
from cam_engine.images.preparing import decode_image, read_image
from cam_engine.results import RgbImage


@pytest.fixture(scope="module")
def crops(lifecycle: Path) -> list[RgbImage]:
    """48 crops of 48 cells."""
    files = sorted((lifecycle / "crops_gt_crops/crops/test").glob("*/*.jpg"))
    return [read_image(file) for file in files]


def recompressed(image: RgbImage) -> RgbImage:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 40]
    return decode_image(cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes())


def shifted(image: RgbImage) -> RgbImage:
    return np.pad(image, ((3, 0), (0, 3), (0, 0)), "edge")[:-3, 3:]


def shifted_far(image: RgbImage) -> RgbImage:
    return np.pad(image, ((0, 22), (0, 0), (0, 0)), "edge")[22:]


def blurred(image: RgbImage) -> RgbImage:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2.5), np.uint8)


def brighter(image: RgbImage) -> RgbImage:
    return (image * 1.15 + 8).clip(0, 255).astype(np.uint8)


def of_another_box(image: RgbImage) -> RgbImage:
    return np.asarray(cv2.resize(image[8:-8, 12:-12], (180, 180)), np.uint8)


def all_at_once(image: RgbImage) -> RgbImage:
    return recompressed(brighter(blurred(shifted(image))))


CHANGES = [recompressed, shifted, shifted_far, blurred, brighter, of_another_box, all_at_once]


def test_different_cells_are_no_twins(crops: list[RgbImage]) -> None:
    assert find_twins([fingerprint(crop) for crop in crops]) == Twins()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_planted_twin_is_found_alone(
    crops: list[RgbImage], change: Callable[[RgbImage], RgbImage]
) -> None:
    for original in (0, 17, 40):
        found = find_twins([fingerprint(crop) for crop in [*crops, change(crops[original])]])
        (pair,) = found.pairs
        assert (pair.one, pair.other, pair.how) == (original, len(crops), "near")
        assert 0.85 <= pair.correlation < 1
        assert found.groups == ((original, len(crops)),)


def test_copies_of_files_and_of_pixels(crops: list[RgbImage]) -> None:
    """A copy of the file, the same pixels from another file, and one more of the first."""
    files = [b"one", b"other", b"one", b"three", b"one"]
    images = [crops[0], crops[1], crops[0], crops[0], crops[0]]
    found = find_twins([fingerprint(i, f) for i, f in zip(images, files, strict=True)])
    assert found.pairs == (
        Twin(0, 2, 1.0, "same file"),
        Twin(0, 3, 1.0, "same pixels"),
        Twin(0, 4, 1.0, "same file"),
    )
    assert found.groups == ((0, 2, 3, 4),)


def test_copies_are_compared_once_and_join_groups(crops: list[RgbImage]) -> None:
    images = [crops[3], crops[3], shifted(crops[3]), crops[4]]
    found = find_twins([fingerprint(image) for image in images])
    assert [(t.one, t.other, t.how) for t in found.pairs] == [
        (0, 1, "same pixels"),
        (0, 2, "near"),
    ]
    assert found.groups == ((0, 1, 2),)


def test_pixels_of_another_shape_are_others() -> None:
    one = np.zeros((4, 9, 3), np.uint8)
    assert fingerprint(one).pixels != fingerprint(one.reshape(9, 4, 3)).pixels


def test_pictures_that_are_not_there_keep_their_places(crops: list[RgbImage]) -> None:
    prints = [None, fingerprint(crops[0]), None, fingerprint(shifted(crops[0]))]
    assert find_twins(prints).groups == ((1, 3),)
    assert find_twins([]) == find_twins([None]) == find_twins(prints[:2]) == Twins()


def test_blocks_change_nothing(crops: list[RgbImage], monkeypatch: pytest.MonkeyPatch) -> None:
    images = [*crops[:12], shifted(crops[2]), blurred(crops[9]), all_at_once(crops[2])]
    prints = [fingerprint(image) for image in images]
    whole = find_twins(prints)
    assert whole.groups == ((2, 12, 14), (9, 13))
    monkeypatch.setattr(twins, "_BLOCK", 4)
    assert find_twins(prints) == whole


def test_plain_pictures_are_twins_only_where_pixels_are_the_same() -> None:
    plain = [np.full((40, 40, 3), value, np.uint8) for value in (90, 91, 90)]
    assert find_twins([fingerprint(image) for image in plain]).groups == ((0, 2),)


def test_groups_are_what_pairs_connect() -> None:
    assert connected([(0, 4), (2, 5), (4, 1)], 7) == ((0, 1, 4), (2, 5))
    assert connected([], 3) == ()

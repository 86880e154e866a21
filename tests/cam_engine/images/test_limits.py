"""What is refused before it is decoded, at each limit and one beyond it."""

from __future__ import annotations

import pytest

from cam_engine.errors import ImageTooLarge, InvalidImage, InvalidOption
from cam_engine.images.limits import (
    ImageLimits,
    check_bytes,
    check_memory,
    check_pixels,
    deep_bytes,
)

LIMITS = ImageLimits(max_bytes=1000, max_pixels=12_000_000)


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_pixels": 0}, {"max_pixels": -1}])
def test_limits_that_let_nothing_through_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidOption, match="at least 1"):
        ImageLimits(**limits)
    assert ImageLimits(1, 1).max_pixels == 1


def test_a_file_has_at_least_a_byte_and_at_most_so_many() -> None:
    check_bytes(1, LIMITS)
    check_bytes(1000, LIMITS)
    with pytest.raises(InvalidImage, match=r"empty \(0 bytes\)"):
        check_bytes(0, LIMITS)
    with pytest.raises(ImageTooLarge, match="1,001 bytes are more than the 1,000 allowed"):
        check_bytes(1001, LIMITS)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_a_picture_has_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage, match="has no pixels"):
        check_pixels(*size, LIMITS)


def test_a_picture_has_at_most_so_many_pixels() -> None:
    check_pixels(1, 1, LIMITS)
    check_pixels(4000, 3000, LIMITS)
    with pytest.raises(ImageTooLarge, match="4,001 x 3,000 pixels are more than the 12,000,000"):
        check_pixels(4001, 3000, LIMITS)


def test_decoding_may_take_ten_bytes_a_pixel_and_small_limits_still_let_small_files_in() -> None:
    assert LIMITS.decoding_bytes == 120_000_000
    assert ImageLimits(max_pixels=1).decoding_bytes == 64 * 2**20
    check_memory(120_000_000, "a TIFF", LIMITS)
    with pytest.raises(ImageTooLarge, match="decoding a TIFF of this size takes 120,000,001 bytes"):
        check_memory(120_000_001, "a TIFF", LIMITS)


@pytest.mark.parametrize(
    ("bits", "copies", "expected"),
    [
        (48, 2, 12),  # two copies of 6 bytes are more than one and our RGB
        (16, 1, 5),  # 2 bytes and our RGB
        (12, 1, 5),  # a sample takes whole bytes
        (128, 2, 32),
    ],
)
def test_deep_pixels_are_counted_in_whole_bytes(bits: int, copies: int, expected: int) -> None:
    assert deep_bytes(bits, copies) == expected

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from cam_engine.errors import ImageNotFound, InvalidImage
from cam_engine.images.png import encode_png, is_whole_png, read_png_text
from cam_engine.pictures.rendering import colour_indices, colour_table

SIDES = st.integers(1, 20)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def texts(data: bytes) -> dict[str, str]:
    """As Pillow has them."""
    image = opened(data)
    assert isinstance(image, PngImageFile)
    return {str(key): str(value) for key, value in image.text.items()}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))))
def test_rgb_comes_back_exactly(pixels: NDArray[Any]) -> None:
    image = opened(encode_png(pixels))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.uint16, st.tuples(SIDES, SIDES)))
def test_16_bit_grey_comes_back_exactly(pixels: NDArray[Any]) -> None:
    data = encode_png(pixels)
    np.testing.assert_array_equal(np.asarray(opened(data)).astype(np.uint16), pixels)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, pixels)


def test_every_16_bit_value_survives() -> None:
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(np.asarray(opened(encode_png(pixels))), pixels)


def test_8_bit_grey_comes_back_exactly() -> None:
    image = opened(encode_png(noise(9, 7)))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), noise(9, 7))


def test_a_heatmap_with_a_palette_decodes_to_the_tables_colours() -> None:
    values = np.random.default_rng(0).random((30, 40), dtype=np.float32)
    table = colour_table("inferno")
    image = opened(encode_png(colour_indices(values), palette=table))
    assert image.mode == "P"
    expected = table[np.rint(values.astype(np.float64) * 255).astype(int)]
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected)


def test_views_and_read_only_pixels_are_fine() -> None:
    pixels = noise(20, 30, 3)
    pixels.setflags(write=False)
    for view in (pixels[::2, ::-3], pixels.transpose(1, 0, 2), pixels[..., ::-1]):
        np.testing.assert_array_equal(np.asarray(opened(encode_png(view))), view)


TEXT = {
    "Class": "кольцо",
    "Model": "cls_densenet121_focal",
    "Latin": "Plasmodium, naïve",
    "Recipe": '{"grid": "28\u00d728", "class": "輪状体 🦟"}\nsecond line',
    "Empty": "",
}


def test_text_comes_back_in_any_script(tmp_path: Path) -> None:
    data = encode_png(noise(4, 4, 3), text=TEXT)
    path = tmp_path / "text.png"
    path.write_bytes(data)
    assert read_png_text(data) == TEXT
    assert read_png_text(path) == TEXT
    assert read_png_text(str(path)) == TEXT
    assert texts(data) == TEXT


def test_text_is_read_although_the_pixels_are_cut_off() -> None:
    data = encode_png(noise(200, 200, 3), text=TEXT)
    assert read_png_text(data[: len(data) // 2]) == TEXT


def test_a_palette_picture_carries_text_too() -> None:
    data = encode_png(noise(4, 4), palette=colour_table("turbo"), text=TEXT)
    assert texts(data) == TEXT


def test_the_resolution_is_stated_in_the_file() -> None:
    data = encode_png(noise(4, 4, 3), dpi=300)
    start = data.index(b"pHYs") + 4
    assert data[start : start + 9] == (11811).to_bytes(4) * 2 + b"\x01"
    assert opened(data).info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert b"pHYs" not in encode_png(noise(4, 4, 3))


def test_reading_text_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound, match=r"nowhere\.png"):
        read_png_text(tmp_path / "nowhere.png")
    with pytest.raises(InvalidImage, match="not a PNG"):
        read_png_text(b"GIF89a")
    with pytest.raises(InvalidImage):
        read_png_text(tmp_path)


@pytest.mark.parametrize(
    ("pixels", "palette"),
    [
        (np.zeros((4, 4, 4), np.uint8), None),
        (np.zeros((4, 4), np.float32), None),
        (np.zeros((4, 4, 3), np.uint16), None),
        (np.zeros((4, 4, 3), np.uint8), colour_table("jet")),
        (np.zeros((4, 4), np.uint16), colour_table("jet")),
        (np.zeros((4, 4), np.uint8), np.zeros((257, 3), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((256, 4), np.uint8)),
        (np.zeros((0, 4, 3), np.uint8), None),
    ],
)
def test_what_a_png_cannot_hold_is_refused(
    pixels: NDArray[Any], palette: NDArray[np.uint8] | None
) -> None:
    with pytest.raises(ValueError, match=r"PNG|palette"):
        encode_png(pixels, palette=palette)


@pytest.mark.parametrize(
    "text", [{"": "x"}, {"k" * 80: "x"}, {"a\0b": "x"}, {"a": "x\0y"}, {"кол": "x"}]
)
def test_text_that_a_png_cannot_hold_is_refused(text: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="PNG text"):
        encode_png(noise(2, 2, 3), text=text)


def test_a_whole_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "whole.png"
    for data in (
        encode_png(noise(50, 60, 3), text=TEXT, dpi=300),
        encode_png(noise(50, 60), palette=colour_table("inferno")),
        cv2.imencode(".png", noise(50, 60, 3))[1].tobytes(),
    ):
        path.write_bytes(data)
        assert is_whole_png(path)


def test_a_file_cut_off_anywhere_is_not_whole(tmp_path: Path) -> None:
    data = encode_png(noise(5, 6, 3), text={"Class": "ring"})
    path = tmp_path / "cut.png"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        assert not is_whole_png(path), end


def test_a_damaged_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    data = encode_png(noise(5, 6, 3), text={"Class": "ring"})
    path = tmp_path / "damaged.png"
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        assert not is_whole_png(path), place


def test_what_is_no_png_or_not_there_is_not_whole(tmp_path: Path) -> None:
    assert not is_whole_png(tmp_path / "nowhere.png")
    assert not is_whole_png(tmp_path)
    data = encode_png(noise(5, 6, 3))
    middle_missing = data[: data.index(b"IDAT") - 4] + data[-12:]
    for content in (b"", b"\xff\xd8\xff\xe0 jpeg", data + b"more", middle_missing):
        path = tmp_path / "other.png"
        path.write_bytes(content)
        assert not is_whole_png(path)


def test_no_file_grows_beyond_its_pixels() -> None:
    flat = np.full((500, 500, 3), 255, np.uint8)
    assert len(encode_png(flat)) < 10_000
    assert len(encode_png(noise(500, 500, 3))) < 1.01 * 500 * 500 * 3

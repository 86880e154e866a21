from __future__ import annotations

from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cam_engine.options import COLORMAPS, CamOptions
from cam_engine.pictures.rendering import (
    colorbar,
    colour_indices,
    colour_table,
    full_size_map,
    heatmap,
    opacities,
    output_size,
    overlay,
    resize_image,
)
from cam_engine.results import FloatMap, LayerMap

SIZE = (224, 224)


def layer(values: np.ndarray, maximum: float = 1.0) -> LayerMap:
    return LayerMap("late", "layer4", "gradcam++", values.astype(np.float32), maximum)


def one_hot(grid: tuple[int, int], row: int, column: int) -> np.ndarray:
    values = np.zeros(grid, np.float32)
    values[row, column] = 1.0
    return values


def random_map(grid: tuple[int, int], seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random(grid, dtype=np.float32)
    return np.asarray(values / values.max())


@pytest.mark.parametrize("grid", [(1, 1), (7, 7), (28, 28), (5, 11)])
@pytest.mark.parametrize("size", [(224, 224), (30, 30), (97, 301)])
def test_a_constant_map_stays_constant(grid: tuple[int, int], size: tuple[int, int]) -> None:
    full = full_size_map(layer(np.full(grid, 0.75)), size)
    assert full.shape == size
    assert full.dtype == np.float32
    np.testing.assert_allclose(full, 0.75, atol=1e-6)


def test_an_empty_map_is_all_zero() -> None:
    empty = layer(np.zeros((7, 7)), maximum=0.0)
    assert not full_size_map(empty, (50, 60)).any()


@pytest.mark.parametrize(("row", "column"), [(3, 3), (1, 5), (2, 2), (5, 1)])
@pytest.mark.parametrize("cells", [7, 14, 28])
def test_a_cell_keeps_its_place_without_a_shift_of_half_a_pixel(
    cells: int, row: int, column: int
) -> None:
    full = full_size_map(layer(one_hot((cells, cells), row, column)), SIZE)
    pixels = np.arange(224)
    centre = np.array([full.sum(1) @ pixels, full.sum(0) @ pixels]) / full.sum()
    expected = (np.array([row, column]) + 0.5) * 224 / cells - 0.5
    np.testing.assert_allclose(centre, expected, atol=0.15)
    peak = np.array(np.unravel_index(full.argmax(), full.shape))
    assert np.abs(peak - expected).max() <= 0.5


def test_a_peak_in_a_corner_stays_in_the_corner() -> None:
    full = full_size_map(layer(one_hot((7, 7), 0, 6)), (224, 320))
    row, column = np.unravel_index(full.argmax(), full.shape)
    assert row < 32
    assert column >= 320 - 46


@pytest.mark.parametrize("cells", [7, 14, 28])
def test_a_ramp_stays_a_ramp_inside(cells: int) -> None:
    # In cells: OpenCV's bicubic curve (a = -0.75) leaves a straight line by 0.027 at most.
    values = np.tile(np.arange(cells) / (cells - 1), (cells, 1))
    full = full_size_map(layer(values), SIZE)
    in_cells = (np.arange(224) + 0.5) * cells / 224 - 0.5
    inside = slice(2 * 224 // cells, -2 * 224 // cells)
    expected = np.broadcast_to(in_cells, SIZE)[:, inside]
    np.testing.assert_allclose(full[:, inside] * (cells - 1), expected, atol=0.03)


def test_the_steps_are_bicubic_bilateral_bicubic_in_float() -> None:
    values = random_map((7, 7))
    low, high = float(values.min()), float(values.max())
    fine = cv2.resize(values, (56, 56), interpolation=cv2.INTER_CUBIC).clip(low, high)
    smooth = cv2.bilateralFilter(fine, 9, 75 / 255, 75 * 8 / 224)
    expected = cv2.resize(smooth, (300, 200), interpolation=cv2.INTER_CUBIC).clip(low, high)
    np.testing.assert_allclose(full_size_map(layer(values), (200, 300)), expected, atol=1e-6)


def test_a_large_grid_is_smoothed_alike_at_half_the_samples() -> None:
    values = cv2.GaussianBlur(random_map((28, 28)), (0, 0), 1.0)
    values = ((values - values.min()) / np.ptp(values)).astype(np.float32)
    fine = cv2.resize(values, SIZE, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    expected = cv2.bilateralFilter(fine, 9, 75 / 255, 75 * 8 / 224)
    difference = np.abs(full_size_map(layer(values), SIZE) - expected)
    assert difference.max() < 0.02
    assert difference.mean() < 0.003


@settings(max_examples=40, deadline=None)
@given(
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(0, 1, width=32),
    ),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
)
def test_a_map_never_leaves_its_own_range(values: NDArray[Any], height: int, width: int) -> None:
    full = full_size_map(layer(values), (height, width))
    assert full.shape == (height, width)
    assert full.min() >= values.min()
    assert full.max() <= values.max()


def test_turning_a_map_turns_the_picture() -> None:
    values = random_map((5, 9))
    full = full_size_map(layer(values), (100, 180))
    for turned, back in ((values[::-1], full[::-1]), (values[:, ::-1], full[:, ::-1])):
        np.testing.assert_allclose(full_size_map(layer(turned), (100, 180)), back, atol=1e-5)
    np.testing.assert_allclose(full_size_map(layer(values.T), (180, 100)), full.T, atol=1e-5)


def test_values_lie_between_the_steps_of_8_bits() -> None:
    full = full_size_map(layer(random_map((7, 7))), SIZE)
    assert np.unique(full).size > 10_000
    assert np.abs(full * 255 - np.rint(full * 255)).max() > 0.4


def test_the_picture_is_smooth_where_cells_alone_would_be_blocks() -> None:
    values = np.indices((7, 7)).sum(0) % 2
    blocks = np.kron(values, np.ones((32, 32)))
    full = full_size_map(layer(values), SIZE)
    assert np.abs(np.diff(blocks, axis=1)).max() == 1.0
    assert np.abs(np.diff(full, axis=1)).max() < 0.1
    assert np.abs(np.diff(full, axis=0)).max() < 0.1


def test_a_grid_above_the_working_size_is_drawn_too() -> None:
    full = full_size_map(layer(one_hot((600, 600), 300, 300)), SIZE)
    assert tuple(map(int, np.unravel_index(full.argmax(), full.shape))) == (112, 112)


def test_neither_the_map_nor_the_threads_of_opencv_are_touched() -> None:
    values = random_map((7, 7))
    values.setflags(write=False)
    threads = cv2.getNumThreads()
    full = full_size_map(LayerMap("x", "x", "gradcam", values, 1.0), (7, 7))
    full[:] = 0.0
    assert values.any()
    assert cv2.getNumThreads() == threads


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((224, 224), (224, 224)),
        ((480, 640), (480, 640)),
        ((2048, 10), (2048, 10)),
        ((2000, 3000), (1365, 2048)),
        ((4096, 2), (2048, 1)),
        ((1, 9000), (1, 2048)),
    ],
)
def test_output_size_is_the_images_own_up_to_2048(
    shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert output_size(np.zeros((*shape, 3), np.uint8)) == expected


@pytest.mark.parametrize("name", [name for name in COLORMAPS if name != "jet"])
def test_colour_tables_are_those_of_matplotlib(name: str) -> None:
    table = colour_table(name)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert np.abs(table - mpl.colormaps[name](np.arange(256))[:, :3] * 255).max() <= 1


def test_jet_is_the_one_of_matlab() -> None:
    value = np.linspace(0, 1, 256)[:, None]
    expected = np.clip(1.5 - np.abs(4 * value - np.array([3, 2, 1])), 0, 1) * 255
    assert np.abs(colour_table("jet") - expected).max() <= 4


def test_colour_tables_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        colour_table("inferno")[0] = 0


def test_a_heatmap_looks_its_colours_up() -> None:
    values = random_map((40, 50))
    indices = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    np.testing.assert_array_equal(colour_indices(values), indices)
    np.testing.assert_array_equal(heatmap(values, "magma"), colour_table("magma")[indices])


def test_the_colour_bar_runs_from_the_first_colour_to_the_last() -> None:
    bar = colorbar("viridis", (3, 256))
    np.testing.assert_array_equal(bar, np.broadcast_to(colour_table("viridis"), (3, 256, 3)))


def picture(size: tuple[int, int] = (40, 50)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)


def blended(image: np.ndarray, values: FloatMap, opacity: np.ndarray) -> np.ndarray:
    colours = colour_table("inferno")[np.rint(values * 255).astype(int)].astype(np.float64)
    return np.asarray(image * (1 - opacity[..., None]) + colours * opacity[..., None])


def test_the_uniform_blend_weighs_every_pixel_alike() -> None:
    image, values = picture(), random_map((40, 50))
    values[:, :20] = 0.0  # also where there is no evidence
    result = overlay(image, values, CamOptions(blend="uniform", alpha=0.3))
    expected = blended(image, values, np.full(values.shape, 0.3))
    assert np.abs(result - expected).max() <= 0.51


def test_the_adaptive_blend_is_weighed_by_its_opacity() -> None:
    image, values, options = picture(), random_map((40, 50)), CamOptions(alpha=0.8)
    opacity = 0.8 * values.astype(np.float64) ** 2 * (3 - 2 * values.astype(np.float64))
    assert np.abs(overlay(image, values, options) - blended(image, values, opacity)).max() <= 0.51


def test_adaptive_opacity_grows_from_nothing_to_alpha() -> None:
    values = np.linspace(0, 1, 1001, dtype=np.float32).reshape(1, -1)
    opacity = opacities(values, CamOptions(alpha=0.7))[0]
    assert opacity[0] == 0.0
    assert opacity[-1] == pytest.approx(0.7)
    assert (np.diff(opacity) > 0).all()
    assert opacity[100] < 0.03


def test_unlit_tissue_is_exactly_as_it_was() -> None:
    image, values = picture(), random_map((40, 50))
    values[:, :20] = 0.0
    result = overlay(image, values, CamOptions(alpha=1.0))
    np.testing.assert_array_equal(result[:, :20], image[:, :20])
    assert (result[:, 20:] != image[:, 20:]).any()


@pytest.mark.parametrize("blend", ["adaptive", "uniform"])
def test_alpha_0_shows_the_image_alone(blend: Any) -> None:
    image = picture()
    result = overlay(image, random_map((40, 50)), CamOptions(alpha=0.0, blend=blend))
    np.testing.assert_array_equal(result, image)


def test_alpha_1_shows_the_heatmap_alone() -> None:
    values = random_map((40, 50))
    result = overlay(picture(), values, CamOptions(alpha=1.0, blend="uniform"))
    np.testing.assert_array_equal(result, heatmap(values, "inferno"))


def test_an_overlay_has_the_maps_size() -> None:
    image, values = picture((80, 100)), np.zeros((40, 50), np.float32)
    result = overlay(image, values, CamOptions())
    expected = cv2.resize(image, (50, 40), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(result, expected)


def test_enlarging_an_image_is_bicubic() -> None:
    image = picture((10, 12))
    expected = cv2.resize(image, (36, 30), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(resize_image(image, (30, 36)), expected)


def test_an_image_that_grows_on_one_side_is_not_averaged() -> None:
    image = picture((40, 12))
    expected = cv2.resize(image, (36, 30), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(resize_image(image, (30, 36)), expected)


@pytest.mark.parametrize(
    ("size", "target"), [((40, 12), (40, 6)), ((12, 40), (6, 40))], ids=["narrower", "lower"]
)
def test_an_image_that_shrinks_on_one_side_alone_is_averaged(
    size: tuple[int, int], target: tuple[int, int]
) -> None:
    image = picture(size)
    expected = cv2.resize(image, target[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resize_image(image, target), expected)


def test_a_wide_image_that_grows_in_height_is_bicubic() -> None:
    image = picture((10, 40))
    expected = cv2.resize(image, (30, 20), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(resize_image(image, (20, 30)), expected)


@pytest.mark.parametrize(
    ("cells", "samples"),
    [(7, 8), (16, 8), (17, 4), (128, 4), (129, 3), (256, 2), (300, 1), (600, 1)],
)
def test_smoothing_has_so_many_samples_a_cell_and_works_on_few_pixels(
    monkeypatch: pytest.MonkeyPatch, cells: int, samples: int
) -> None:
    smoothed: list[tuple[int, ...]] = []
    smooth: Any = cv2.bilateralFilter

    def counted(pixels: FloatMap, diameter: int, *sigmas: float) -> Any:
        smoothed.append((*pixels.shape, diameter))
        return smooth(pixels, diameter, *sigmas)

    monkeypatch.setattr(cv2, "bilateralFilter", counted)
    full_size_map(layer(one_hot((3, cells), 1, 2)), (30, 30))
    assert smoothed == [(3 * samples, cells * samples, samples + 1)]


def test_maps_and_pictures_have_the_types_that_are_promised() -> None:
    nothing = np.zeros((3, 3), np.float32)
    empty = LayerMap("late", "layer4", "gradcam++", nothing, 0.0)
    assert full_size_map(empty, (9, 9)).dtype == np.float32
    assert full_size_map(layer(one_hot((3, 3), 1, 1)), (9, 9)).dtype == np.float32

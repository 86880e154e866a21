from __future__ import annotations

import cv2
import numpy as np
import pytest

from cam_engine.options import CamOptions
from cam_engine.pictures.lettering import text_tile
from cam_engine.pictures.panel import compose_panel, panel_layout, render_panel
from cam_engine.pictures.rendering import colour_table, full_size_map, heatmap, output_size, overlay
from cam_engine.pictures.wording import (
    FigureFacts,
    Verdict,
    column_heading,
    notices,
    probability_text,
    source_line,
    verdict,
)
from cam_engine.results import ClassScore, Explanation, LayerMap, RgbImage

NAMES = ("gametocyte", "ring", "schizont", "trophozoite")
FACTS = FigureFacts("PA171804_129", "cls_densenet121_focal", "ring")
WHITE = 255


def layer(name: str, label: str, cells: int, *, empty: bool = False) -> LayerMap:
    values = np.random.default_rng(cells).random((cells, cells), dtype=np.float32)
    values = values * 0 if empty else values / values.max()
    return LayerMap(name, label, "gradcam++", values, 0.0 if empty else 3.0)


LAYERS = (
    layer("early", "denseblock2", 28),
    layer("mid", "denseblock3", 14),
    layer("late", "denseblock4", 7),
)


def explanation(
    layers: tuple[LayerMap, ...] = LAYERS,
    names: tuple[str, ...] = NAMES,
    target: int = 1,
    without_clahe: int | None = 1,
) -> Explanation:
    scores = [0.1, 0.7, 0.05, 0.15]
    top = tuple(
        ClassScore(i, names[i], scores[i]) for i in sorted(range(4), key=lambda i: -scores[i])
    )
    chosen = ClassScore(target, names[target], scores[target])
    plain = None if without_clahe is None else ClassScore(without_clahe, names[without_clahe], 0.61)
    return Explanation(chosen, top, layers, plain)


def picture(height: int = 224, width: int = 224, seed: int = 0) -> RgbImage:
    small = np.random.default_rng(seed).integers(60, 230, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def drawn(
    answer: Explanation,
    image: RgbImage | None = None,
    facts: FigureFacts = FACTS,
    options: CamOptions | None = None,
    *,
    clahe: bool = True,
) -> RgbImage:
    image = picture() if image is None else image
    height, width = image.shape[:2]
    enhanced = picture(height, width, seed=1) if clahe else None
    maps = {shown.name: full_size_map(shown, output_size(image)) for shown in answer.layers}
    return render_panel(image, enhanced, answer, maps, options or CamOptions(), facts)


def cell_of(
    panel: RgbImage, answer: Explanation, row: int, column: int, image: RgbImage | None = None
) -> RgbImage:
    size = (224, 224) if image is None else image.shape[:2]
    layout = panel_layout(size, len(answer.layers), len(notices(answer, FACTS)))
    top, left = layout.tops[row], layout.lefts[column]
    return panel[top : top + layout.cell[0], left : left + layout.cell[1]]


@pytest.mark.parametrize("count", range(1, 7))
def test_the_panel_is_at_least_1000_pixels_wide_on_white(count: int) -> None:
    layers = tuple(layer(f"layer{i}", f"block{i}", 7) for i in range(count))
    panel = drawn(explanation(layers))
    assert panel.shape[1] >= 1000
    assert panel.dtype == np.uint8
    for edge in (panel[:10], panel[-10:], panel[:, :10], panel[:, -10:]):
        assert (edge == WHITE).all()


def test_three_layers_and_a_fused_one_stay_within_a_slide() -> None:
    assert 1000 <= panel_layout((224, 224), 3, 0).width <= 1400
    assert panel_layout((224, 224), 4, 0).width <= 1450


def test_cells_show_what_they_should() -> None:
    answer, options = explanation(), CamOptions(colormap="viridis", alpha=0.5)
    panel = drawn(answer, options=options)
    size = panel_layout((224, 224), 3, 0).cell[::-1]
    original = np.asarray(cv2.resize(picture(), size, interpolation=cv2.INTER_CUBIC), np.uint8)
    enhanced = cv2.resize(picture(seed=1), size, interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(cell_of(panel, answer, 0, 0), original)
    np.testing.assert_array_equal(cell_of(panel, answer, 1, 0), enhanced)
    for column, layer in enumerate(LAYERS, 1):
        full = full_size_map(layer, (224, 224))
        values = cv2.resize(full, size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
        shown = cell_of(panel, answer, 0, column)
        np.testing.assert_array_equal(shown, heatmap(values, "viridis"))
        shown = cell_of(panel, answer, 1, column)
        np.testing.assert_array_equal(shown, overlay(original, values, options))


def colours(pixels: RgbImage) -> set[tuple[int, ...]]:
    return {tuple(map(int, colour)) for colour in np.unique(pixels.reshape(-1, 3), axis=0)}


def test_an_empty_map_says_so_and_shows_no_map_colour() -> None:
    empty = explanation((*LAYERS[:2], layer("late", "denseblock4", 7, empty=True)))
    panel, full = drawn(empty), drawn(explanation())
    upper, lower = (cell_of(panel, empty, row, 3) for row in (0, 1))
    assert not colours(upper) & colours(colour_table("inferno"))
    assert len(colours(upper)) > 3
    size = lower.shape[1::-1]
    plain = cv2.resize(picture(), size, interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(lower[:-24], plain[:-24])
    assert (lower[-24:] != plain[-24:]).any()
    for column in (1, 2):
        for row in (0, 1):
            expected = cell_of(full, empty, row, column)
            np.testing.assert_array_equal(cell_of(panel, empty, row, column), expected)


def test_without_clahe_the_lower_left_cell_says_so() -> None:
    answer = explanation(without_clahe=None)
    panel = drawn(answer, clahe=False)
    cell = cell_of(panel, answer, 1, 0)
    background = np.array([242, 242, 245])
    share = (cell == background).all(-1).mean()
    assert 0.9 < share < 1.0


@pytest.mark.parametrize(
    ("shape", "cell"),
    [
        ((224, 224), (256, 256)),
        ((480, 640), (192, 256)),
        ((640, 480), (341, 256)),
        ((30, 30), (256, 256)),
        ((2000, 3000), (171, 256)),
        ((100, 900), (128, 256)),
        ((900, 100), (358, 256)),
        ((1, 1), (256, 256)),
        ((1, 700), (128, 256)),
    ],
)
def test_pictures_keep_their_proportions(shape: tuple[int, int], cell: tuple[int, int]) -> None:
    image, answer = picture(*shape), explanation()
    layout = panel_layout(shape, 3, 0)
    assert layout.cell == cell
    panel = drawn(answer, image)
    assert panel.shape[:2] == (layout.height, layout.width)
    shown = cell_of(panel, answer, 0, 0, image)
    drawn_pixels = ~(shown == [242, 242, 245]).all(-1)
    rows, columns = np.flatnonzero(drawn_pixels.any(1)), np.flatnonzero(drawn_pixels.any(0))
    scale = min(cell[0] / shape[0], cell[1] / shape[1])
    assert np.ptp(rows) + 1 == pytest.approx(max(1, shape[0] * scale), abs=2)
    assert np.ptp(columns) + 1 == pytest.approx(max(1, shape[1] * scale), abs=2)
    assert abs(rows[0] - (cell[0] - 1 - rows[-1])) <= 2
    assert abs(columns[0] - (cell[1] - 1 - columns[-1])) <= 2


LONG = "P. falciparum gametocyte with pigment, " * 4


@pytest.mark.parametrize(
    "names", [(LONG,) * 4, ("", " ", "\n", "x"), ("кольцо", "حلقة", "輪状体", "a$b_{c}\\frac")]
)
def test_no_name_overflows(names: tuple[str, ...]) -> None:
    layers = tuple(
        LayerMap(f"{LONG}{i}", LONG * 2, "gradcam", LAYERS[2].values, 1.0) for i in range(3)
    )
    answer = explanation(layers, names, target=2, without_clahe=3)
    facts = FigureFacts(LONG * 3, LONG, LONG)
    panel = drawn(answer, facts=facts)
    layout = panel_layout((224, 224), 3, len(notices(answer, facts)))
    assert panel.shape[:2] == (layout.height, layout.width)
    assert (panel[:, -28:] == WHITE).all()
    headings = slice(layout.tops[0] - 30, layout.tops[0])
    for left in layout.lefts[1:]:
        assert (panel[headings, left - 10 : left] == WHITE).all()
    bar_left = layout.width - 28 - 240 - 32
    assert (panel[:95, bar_left - 20 : bar_left] == WHITE).all()


def test_right_and_wrong_differ_in_words_and_not_only_in_colour() -> None:
    right, wrong = (
        drawn(explanation()),
        drawn(explanation(), facts=FigureFacts("a", "b", "schizont")),
    )
    unknown = drawn(explanation(), facts=FigureFacts("a", "b", None))
    grey = [
        cv2.cvtColor(picture[:100], cv2.COLOR_RGB2GRAY) < 128 for picture in (right, wrong, unknown)
    ]
    assert grey[0].sum() != grey[1].sum()
    assert grey[2].sum() < min(grey[0].sum(), grey[1].sum())
    assert verdict(explanation(), FACTS) == Verdict(True, "\u2714 correct")
    assert verdict(explanation(), FigureFacts("a", "b", "schizont")) == Verdict(
        False, "\u2718 wrong, true class: ", "schizont"
    )
    assert verdict(explanation(), FigureFacts("a", "b")) is None


def test_another_class_explained_and_a_change_by_clahe_are_said() -> None:
    assert notices(explanation(), FACTS) == ()
    both = explanation(target=3, without_clahe=0)
    assert notices(both, FACTS) == (
        "The maps explain trophozoite 0.15, not the predicted class",
        "CLAHE changed the predicted class; without CLAHE: gametocyte 0.61",
    )
    assert drawn(both).shape[0] > drawn(explanation()).shape[0]


def test_long_names_are_said_in_full_below_the_header() -> None:
    facts = FigureFacts("a", "b", "ring stage of Plasmodium vivax, early")
    (notice,) = notices(explanation(), facts)
    assert notice == "Predicted: ring; true class: ring stage of Plasmodium vivax, early"


def test_headings_name_stage_module_and_the_real_grid() -> None:
    assert column_heading(LAYERS[0]) == ("early", "denseblock2", "28\u00d728")
    named = LayerMap("layer1", "layer1", "gradcam", np.ones((7, 9), np.float32), 1.0)
    assert column_heading(named) == ("layer1", "", "9\u00d77")
    fused = LayerMap("fused", "a x b x c", "layercam", LAYERS[0].values, 1.0)
    assert column_heading(fused) == ("fused", "LayerCAM", "28\u00d728")


def test_the_source_names_method_model_and_image() -> None:
    assert source_line(explanation(), FACTS) == (
        "Grad-CAM++  \u00b7  cls_densenet121_focal  \u00b7  PA171804_129"
    )


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.614, "0.61"), (1.0, "1.00"), (0.999, ">0.99"), (0.0, "0.00"), (0.001, "<0.01")],
)
def test_no_probability_is_rounded_to_a_certainty(probability: float, text: str) -> None:
    assert probability_text(probability) == text


def test_equal_inputs_give_equal_pixels_in_any_order() -> None:
    first = drawn(explanation())
    text_tile.cache_clear()
    drawn(explanation(target=2), facts=FigureFacts("other", "other"))
    np.testing.assert_array_equal(drawn(explanation()), first)


def test_a_finer_composition_is_the_same_figure() -> None:
    answer = explanation((*LAYERS[:2], layer("late", "denseblock4", 7, empty=True)), target=2)
    maps = {shown.name: full_size_map(shown, (224, 224)) for shown in answer.layers}
    inputs = picture(), picture(seed=1), answer, maps, CamOptions(), FACTS
    fine = compose_panel(*inputs, figure_width=2100).to_pixels()
    panel = render_panel(*inputs)
    assert fine.shape[1] == 2100
    shrunk = cv2.resize(fine, panel.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(int) - panel).mean() < 2.5

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cam_engine.options import CamOptions
from cam_engine.pictures.lettering import INK, WHITE, Colour, Style, text_tile
from cam_engine.pictures.parts import GREY, MARGIN, PALE, Cell
from cam_engine.pictures.rendering import colorbar, colour_table, full_size_map, overlay
from cam_engine.pictures.sheet import SheetItem, SheetLayout, render_sheet, sheet_layout
from cam_engine.results import ClassScore, Explanation, LayerMap, RgbImage

NAMES = ("gametocyte", "ring", "schizont", "trophozoite")
GREEN, RED = (10, 110, 104), (176, 32, 38)  # as in the main figure
CAUTION, CAUTION_INK = (255, 244, 214), (92, 67, 0)
LONG = "P. falciparum gametocyte with pigment, " * 4


def layer_map(seed: int, *, name: str = "late", empty: bool = False) -> LayerMap:
    values = np.random.default_rng(seed).random((7, 9), dtype=np.float32)
    values = values * 0 if empty else values / values.max()
    return LayerMap(name, "denseblock4", "gradcam++", values, 0.0 if empty else 2.0)


def picture(seed: int, height: int = 130, width: int = 130) -> RgbImage:
    small = np.random.default_rng(seed).integers(60, 230, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def item(
    seed: int = 0,
    image: RgbImage | None = None,
    names: tuple[str, ...] = NAMES,
    true_class: str | None = "ring",
    target: int = 1,
    without_clahe: int = 1,
    title: str = "PA171804_129",
    *,
    empty: bool = False,
) -> SheetItem:
    scores = [0.1, 0.7, 0.05, 0.15]
    top = tuple(
        ClassScore(i, names[i], scores[i]) for i in sorted(range(4), key=lambda i: -scores[i])
    )
    layer = layer_map(seed, empty=empty)
    chosen = ClassScore(target, names[target], scores[target])
    plain = ClassScore(without_clahe, names[without_clahe], 0.61)
    image = picture(seed) if image is None else image
    values = full_size_map(layer, (image.shape[0], image.shape[1]))
    return SheetItem(image, Explanation(chosen, top, (layer,), plain), values, title, true_class)


def drawn(
    *items: SheetItem,
    options: CamOptions | None = None,
    model: str = "cls_densenet121_focal",
    heading: str = "experiment_species",
) -> RgbImage:
    return render_sheet(items, "late", options or CamOptions(), model, heading)


def cut(sheet: RgbImage, cell: Cell) -> RgbImage:
    return sheet[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width]


def tile_of(sheet: RgbImage, layout: SheetLayout, number: int) -> RgbImage:
    tile = layout.tiles[number]
    return sheet[tile.top : tile.bottom, tile.left : tile.left + tile.width]


def shows(pixels: RgbImage, text: str, style: Style) -> bool:
    """Whether this very line of text is somewhere in the picture."""
    line = text_tile(text, style)
    height, width = line.shape[:2]
    if height > pixels.shape[0] or width > pixels.shape[1]:
        return False
    differences = cv2.matchTemplate(pixels, line, cv2.TM_SQDIFF)
    left, top = cv2.minMaxLoc(differences)[2]
    return bool((pixels[top : top + height, left : left + width] == line).all())


def has_colour(pixels: RgbImage, colour: Colour) -> bool:
    return bool((pixels == np.array(colour, np.uint8)).all(-1).any())


def test_the_search_for_text_finds_it_and_nothing_else() -> None:
    line = np.pad(text_tile("ring", Style(20)), ((9, 9), (9, 9), (0, 0)), constant_values=255)
    assert shows(line, "ring", Style(20))
    assert not shows(line, "rins", Style(20))
    assert not shows(line, "ring", Style(20, colour=GREY))


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 2), (8, 2), (9, 3), (10, 3), (24, 3)]
)
def test_every_item_has_its_tile_in_order_row_by_row(count: int, columns: int) -> None:
    items = [item(seed) for seed in range(count)]
    layout, sheet = sheet_layout(items), drawn(*items)
    assert sheet.shape == (layout.height, layout.width, 3)
    assert sheet.dtype == np.uint8
    assert 1000 <= layout.width <= 1500
    places = [(tile.top, tile.left) for tile in layout.tiles]
    assert len(places) == count
    assert places == sorted(set(places))
    assert len({left for _, left in places}) == columns
    assert len({top for top, _ in places}) == -(-count // columns)
    for tile, tile_item in zip(layout.tiles, items, strict=True):
        assert tile.original.width == tile.original.height >= 224
        size = tile.original.width, tile.original.height
        original = cv2.resize(tile_item.original, size, interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(cut(sheet, tile.original), original)
    for edge in (sheet[:10], sheet[-10:], sheet[:, :10], sheet[:, -10:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("options", [CamOptions(), CamOptions(colormap="viridis", alpha=0.4)])
def test_the_second_picture_is_the_overlay_of_the_first(options: CamOptions) -> None:
    items = [item(1), item(2)]
    layout, sheet = sheet_layout(items), drawn(*items, options=options)
    for tile, tile_item in zip(layout.tiles, items, strict=True):
        size = tile.overlay.width, tile.overlay.height
        original = np.asarray(
            cv2.resize(tile_item.original, size, interpolation=cv2.INTER_CUBIC), np.uint8
        )
        values = cv2.resize(tile_item.values, size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
        expected = overlay(original, values, options)
        np.testing.assert_array_equal(cut(sheet, tile.overlay), expected)
        assert np.abs(expected.astype(int) - original).max() > 50


def test_a_map_may_be_of_another_size_than_its_image() -> None:
    small = item(3)
    larger = replace(small, values=full_size_map(small.explanation.layer("late"), (600, 600)))
    tile = sheet_layout([small]).tiles[0]
    first, second = (cut(drawn(x), tile.overlay).astype(int) for x in (small, larger))
    assert np.abs(first - second).mean() < 1.5


@pytest.mark.parametrize("shape", [(60, 900), (900, 60), (1, 700), (1500, 1000), (3, 3)])
def test_pictures_keep_their_proportions_and_are_centred(shape: tuple[int, int]) -> None:
    items = [item(4, picture(4, *shape)), item(5)]
    tile, sheet = sheet_layout(items).tiles[0], drawn(*items)
    side = tile.original.width
    height, width = (max(1, side * length / max(shape)) for length in shape)
    for cell in (tile.original, tile.overlay):
        shown = ~(cut(sheet, cell) == np.array(PALE, np.uint8)).all(-1)
        rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
        assert np.ptp(rows) + 1 == pytest.approx(height, abs=1)
        assert np.ptp(columns) + 1 == pytest.approx(width, abs=1)
        assert abs(rows[0] - (side - 1 - rows[-1])) <= 1
        assert abs(columns[0] - (side - 1 - columns[-1])) <= 1
        assert shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95


def test_an_empty_map_says_so_and_shows_no_colour() -> None:
    items = [item(6), item(7, empty=True)]
    layout, sheet = sheet_layout(items), drawn(*items)
    empty = cut(sheet, layout.tiles[1].overlay)
    colours = {tuple(map(int, colour)) for colour in np.unique(empty.reshape(-1, 3), axis=0)}
    assert not colours & {tuple(map(int, colour)) for colour in colour_table("inferno")}
    assert np.ptp(empty.astype(int), axis=-1).max() < 20
    assert shows(empty, "no positive evidence", Style(16, bold=True, background=PALE))
    assert shows(empty, "for this class in this layer", Style(13, colour=GREY, background=PALE))
    full = drawn(items[0], item(7))
    np.testing.assert_array_equal(tile_of(sheet, layout, 0), tile_of(full, layout, 0))
    original = layout.tiles[1].original
    np.testing.assert_array_equal(cut(sheet, original), cut(full, original))


def test_a_tile_says_what_is_predicted_and_whether_it_is_right() -> None:
    items = [item(true_class="ring"), item(true_class="schizont"), item(true_class=None)]
    layout, sheet = sheet_layout(items), drawn(*items)
    right, wrong, unknown = (tile_of(sheet, layout, number) for number in range(3))
    for tile in (right, wrong, unknown):
        assert shows(tile, "ring", Style(20, bold=True, colour=INK))
        assert shows(tile, "0.70", Style(20, colour=GREY))
        assert shows(tile, "PA171804_129", Style(13, colour=GREY))
    correct = Style(14, bold=True, colour=WHITE, background=GREEN)
    assert shows(right, "\u2714 correct", correct)
    false = Style(14, bold=True, colour=WHITE, background=RED)
    assert shows(wrong, "\u2718 wrong, true class: schizont", false)
    assert not has_colour(right, RED)
    assert not has_colour(wrong, GREEN)
    assert not has_colour(unknown, GREEN)
    assert not has_colour(unknown, RED)


def test_where_no_true_class_is_known_no_room_is_left_for_verdicts() -> None:
    known, unknown = sheet_layout([item()]), sheet_layout([item(true_class=None)])
    assert known.height - unknown.height == 34


def test_the_header_says_which_map_it_is_and_its_colours_mean() -> None:
    sheet = drawn(item(), options=CamOptions(colormap="viridis"))
    header = sheet[:105]
    assert shows(header, "experiment_species", Style(30, bold=True))
    assert shows(header, "late:", Style(16, bold=True))
    source = "denseblock4, 9\u00d77 \u00b7 Grad-CAM++ \u00b7 cls_densenet121_focal"
    assert shows(header, source, Style(16, colour=GREY))
    assert shows(header, "share of the layer's maximum", Style(14, colour=GREY))
    bar = colorbar("viridis", (14, 240))
    end = sheet.shape[1] - MARGIN - 16
    np.testing.assert_array_equal(sheet[24:38, end - 240 : end], bar)


def test_the_fused_map_is_named_by_the_method_really_used() -> None:
    early = item()
    fused = LayerMap("fused", "a x b x c", "layercam", layer_map(0).values, 1.0)
    answer = replace(early.explanation, layers=(*early.explanation.layers, fused))
    items = [replace(early, explanation=answer)]
    sheet = render_sheet(items, "fused", CamOptions(fused=True), "cls_resnet50", "stages")
    source = "LayerCAM, 9\u00d77 \u00b7 cls_resnet50"
    assert shows(sheet[:105], source, Style(16, colour=GREY))
    assert not shows(sheet[:105], "Grad-CAM++", Style(16, colour=GREY))


def test_a_class_changed_by_clahe_is_said_in_its_tile_only() -> None:
    calm = [item(seed) for seed in range(4)]
    items = [item(0, without_clahe=3), *calm[1:]]
    layout, sheet = sheet_layout(items), drawn(*items)
    style = Style(13, colour=CAUTION_INK, background=CAUTION)
    said = [has_colour(tile_of(sheet, layout, number), CAUTION) for number in range(4)]
    assert said == [True, False, False, False]
    tile = tile_of(sheet, layout, 0)
    assert shows(tile, "\u26a0 CLAHE changed the predicted class;", style)
    assert shows(tile, "without CLAHE: trophozoite 0.61", style)
    assert layout.tiles[0].original.top == layout.tiles[1].original.top
    assert layout.tiles[2].top > layout.tiles[0].bottom > layout.tiles[1].bottom
    assert layout.height > sheet_layout(calm).height
    assert not has_colour(drawn(*calm), CAUTION)


def test_a_map_of_another_class_than_the_predicted_one_is_said() -> None:
    items = [item(), item(target=3)]
    layout, sheet = sheet_layout(items), drawn(*items)
    notice = "\u26a0 The maps explain trophozoite 0.15, not the predicted class"
    style = Style(13, colour=CAUTION_INK, background=CAUTION)
    tile = tile_of(sheet, layout, 1)
    assert shows(tile, notice, style)
    assert shows(tile, "ring", Style(20, bold=True))
    assert shows(tile, "0.70", Style(20, colour=GREY))
    assert not has_colour(tile_of(sheet, layout, 0), CAUTION)


def test_names_too_long_for_the_tile_are_said_in_full_below_it() -> None:
    name = "gametocyte of Plasmodium vivax, mature"
    names = ("gametocyte", name, "schizont", "trophozoite")
    items = [item(names=names, true_class=name), item(true_class="a" + name)]
    layout, sheet = sheet_layout(items), drawn(*items)
    style = Style(13, colour=CAUTION_INK, background=CAUTION)
    assert shows(tile_of(sheet, layout, 0), f"\u26a0 Predicted: {name}", style)
    assert shows(tile_of(sheet, layout, 1), f"true class: a{name}", style)
    usual = item(
        names=("a", "P. falciparum, ring", "b", "c"), true_class="P. falciparum, late ring"
    )
    assert not sheet_layout([usual]).tiles[0].cautions


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize(
    "names", [(LONG,) * 4, ("", " ", "\n", "x"), ("кольцо", "حلقة", "輪状体", "a$b_{c}\\frac")]
)
def test_no_name_overflows(names: tuple[str, ...], count: int) -> None:
    items = [
        item(seed, names=names, true_class=names[3] + "x", target=2, without_clahe=3, title=LONG)
        for seed in range(count)
    ]
    layout, sheet = sheet_layout(items), drawn(*items, model=LONG, heading=LONG)
    assert sheet.shape[:2] == (layout.height, layout.width)
    outside = np.ones(sheet.shape[:2], bool)
    outside[:105] = False
    for tile in layout.tiles:
        outside[tile.top : tile.bottom, tile.left : tile.left + tile.width] = False
    assert (sheet[outside] == 255).all()
    bar_left = layout.width - MARGIN - 240 - 32
    assert (sheet[:105, bar_left - 16 : bar_left] == 255).all()
    assert (sheet[:105, -20:] == 255).all()


def test_a_sheet_needs_an_item_and_its_layer() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        drawn()
    with pytest.raises(KeyError, match="early"):
        render_sheet([item()], "early", CamOptions(), "m", "h")


def test_equal_inputs_give_equal_pixels() -> None:
    first = drawn(item(1), item(2))
    text_tile.cache_clear()
    drawn(item(3, names=NAMES[::-1]), heading="other")
    np.testing.assert_array_equal(drawn(item(1), item(2)), first)

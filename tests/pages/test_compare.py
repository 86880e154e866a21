"""Two explanations side by side: in step, with numbers that are right."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from cam_engine.method_facts import METHOD_FACTS
from processes.serving import running
from tests.pages.conftest import until
from tests.pages.viewing import POST

_EMPTY = {  # the model's late layer holds nothing that speaks for this class
    "experiment": "experiments/experiment_synthetic_lifecycle",
    "image": "crops_gt_crops/crops/test/gametocyte/cell_001.jpg",
    "a": "experiments/experiment_synthetic_lifecycle/cls_mobilenet_v3_small_cb",
    "b": "experiments/experiment_synthetic_lifecycle/cls_mobilenet_v3_small_cb",
    "method_a": "gradcam",
    "method_b": "gradcam",
    "target_a": "schizont",
    "target_b": "gametocyte",
}
_AGREEMENT = """async ({ a, b, share }) => {
  const { correlation, overlap } = await import('/static/pages/compare/agreement.js');
  return [correlation(a, b), overlap(a, b, share)];
}"""
_DRAWN = """() => {
  const canvas = document.querySelector('#difference');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return [...data];
}"""


def open_comparison(page: Page, **query: str) -> None:
    page.goto(f"/compare?{urlencode(query)}")
    page.locator("#measured").wait_for()


@pytest.fixture
def compared(page: Page) -> Page:
    """The page with both explanations there."""
    open_comparison(page)
    return page


def _refuse(route: Route, model: str) -> None:
    """Explanations by a model fail, and are not tried again by themselves."""
    if model in (route.request.post_data or ""):
        problem = {"code": "internal-error", "title": "Something broke", "detail": "Nothing helps."}
        route.fulfill(status=500, content_type="application/problem+json", json=problem)
    else:
        route.continue_()


def viewer(side: str) -> str:
    return f"document.querySelector('#viewer-{side}')"


def values(page: Page, side: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    shown = f"(({viewer(side)}).state.layer ?? {viewer(side)}.facts.layer)"
    return np.array(page.evaluate(f"[...{viewer(side)}.maps.layers[{shown}].values]"))


def number(page: Page, name: str) -> float:
    return float(page.locator(f"#{name}").inner_text())


def query(page: Page) -> dict[str, str]:
    return {name: texts[0] for name, texts in parse_qs(urlsplit(page.url).query).items()}


def expect_in_address(page: Page, **wanted: str) -> None:
    """The address has these, once it is kept up."""
    pairs = json.dumps(list(wanted.items()))
    named = "new URLSearchParams(location.search)"
    until(page, f"{pairs}.every(([name, value]) => {named}.get(name) === value)")


@pytest.mark.parametrize(
    ("a", "b", "share", "expected"),
    [
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.5, (0, 1 / 3)),
        ([0, 1, 2, 3], [3, 2, 1, 0], 0.5, (-1, 0)),
        ([0, 1, 2, 3], [1, 3, 5, 7], 0.25, (1, 1)),
        ([1, 2, 3], [1, 3, 2], 1, (0.5, 1)),
        ([0, 0, 0], [0, 1, 2], 0.5, (None, 0)),
        ([0, 0, 0], [0, 0, 0], 0.5, (None, None)),
    ],
)
def test_agreement_of_numbers_worked_out_by_hand(
    page: Page,
    a: list[float],
    b: list[float],
    share: float,
    expected: tuple[float | None, float | None],
) -> None:
    page.goto("/compare")
    agreement = page.evaluate(_AGREEMENT, {"a": a, "b": b, "share": share})
    assert agreement == [value if value is None else pytest.approx(value) for value in expected]


def test_the_numbers_are_those_of_the_maps(compared: Page) -> None:
    a, b = values(compared, "a"), values(compared, "b")
    assert number(compared, "correlation") == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.006)
    high = [(map_ > 0) & (map_ >= np.sort(map_)[int(len(map_) * 0.8)]) for map_ in (a, b)]
    overlap = (high[0] & high[1]).sum() / (high[0] | high[1]).sum()
    assert number(compared, "overlap") == pytest.approx(overlap, abs=0.006)


def test_the_difference_map_is_orange_where_a_is_higher_and_purple_where_b_is(
    compared: Page,
) -> None:
    difference = values(compared, "a") - values(compared, "b")
    drawn = np.array(compared.evaluate(_DRAWN)).reshape(-1, 4)[:, :3]
    white, orange, purple = np.array([247] * 3), np.array([230, 97, 1]), np.array([94, 60, 153])
    end = np.where(difference[:, None] > 0, orange, purple)
    expected = white + (end - white) * np.abs(difference)[:, None]
    assert np.abs(difference).max() > 0.3
    assert np.abs(drawn - expected).max() <= 2


def test_the_same_model_twice_agrees_wholly(compared: Page) -> None:
    compared.select_option("#b", compared.locator("#a").input_value())
    expect(compared.locator("#correlation")).to_have_text("1.00")
    expect(compared.locator("#overlap")).to_have_text("1.00")
    assert set(compared.evaluate(_DRAWN)) == {247, 255}


def test_zoom_and_cursor_move_together(compared: Page) -> None:
    box = compared.locator("#viewer-a").bounding_box()
    assert box is not None
    compared.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["width"] / 2)
    until(compared, f"{viewer('b')}.cursor != null")
    compared.mouse.wheel(0, -400)
    until(compared, f"{viewer('b')}.transform.scale > 1")
    a, b = (compared.evaluate(f"{viewer(side)}.transform") for side in "ab")
    assert a == b
    assert "scale" in compared.evaluate("document.querySelector('#difference').style.transform")


def test_view_and_menus_and_address_are_in_step(compared: Page) -> None:
    compared.evaluate(f"{viewer('b')}.shadowRoot.querySelector('[value=early]').click()")
    assert compared.evaluate(f"{viewer('a')}.state.layer") == "early"
    a, b = values(compared, "a"), values(compared, "b")
    assert number(compared, "correlation") == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.006)
    compared.select_option("#image", index=3)
    compared.locator("#measured").wait_for()
    expect_in_address(compared, layer="early", image=compared.locator("#image").input_value())
    before = query(compared)
    compared.reload()
    compared.locator("#measured").wait_for()
    assert query(compared) == before
    assert compared.evaluate(f"{viewer('b')}.state.layer") == "early"
    compared.evaluate(f"{viewer('a')}.focus()")
    compared.keyboard.press("ArrowLeft")
    until(compared, "document.querySelector('#image').selectedIndex === 2")


def test_two_methods_are_compared_in_a_layer_where_they_differ(page: Page) -> None:
    open_comparison(page)
    model = page.locator("#a").input_value()
    open_comparison(page, a=model, b=model, method_a="gradcam", method_b="layercam")
    methods = [
        page.evaluate(f"{viewer(side)}.facts.layers.find((one) => one.name === 'late').method")
        for side in "ab"
    ]
    assert methods == ["gradcam", "layercam"]
    assert [page.evaluate(f"{viewer(side)}.state.layer") for side in "ab"] == ["late"] * 2
    assert number(page, "correlation") < 1
    page.select_option("#method_b", "gradcam")
    expect(page.locator("#correlation")).to_have_text("1.00")
    expect_in_address(page, method_b="gradcam")


def test_two_classes_are_compared_and_the_address_names_them(compared: Page) -> None:
    compared.select_option("#b", compared.locator("#a").input_value())
    compared.select_option("#target_a", "vivax")
    compared.select_option("#target_b", "ovale")
    until(compared, f"{viewer('b')}.facts.target.name === 'ovale'")
    until(compared, f"{viewer('a')}.facts.target.name === 'vivax'")
    compared.locator("#measured").wait_for()
    expect_in_address(compared, target_a="vivax", target_b="ovale")
    a, b = values(compared, "a"), values(compared, "b")
    assert number(compared, "correlation") == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.006)


def test_a_map_without_evidence_is_said_to_be_one(page: Page) -> None:
    open_comparison(page, **_EMPTY)
    expect(page.locator("#empty-note")).to_have_text(re.compile(r"^No positive evidence in A:"))
    expect(page.locator("#correlation")).to_have_text("\u2013")
    expect(page.locator("#overlap")).to_have_text("0.00")


def test_the_link_of_either_side_is_that_of_the_comparison(compared: Page) -> None:
    compared.select_option("#method_b", "gradcam")
    expect_in_address(compared, method_b="gradcam")
    links = [compared.evaluate(f"{viewer(side)}.linkTo()") for side in "ab"]
    assert links == [compared.url, compared.url]
    query = parse_qs(urlsplit(links[0]).query)
    assert {"a", "b", "image", "experiment", "method_b"} <= set(query)


def test_methods_and_classes_have_one_menu_a_side(compared: Page) -> None:
    for side in "ab":
        offered = compared.locator(f"#method_{side} option").all_inner_texts()
        assert offered == ["default", *(facts.label for facts in METHOD_FACTS.values())]
        menus = compared.locator(f"#viewer-{side} select").all()
        assert len([menu for menu in menus if menu.is_visible()]) == 1  # colours


def test_an_image_that_one_side_cannot_have_is_said_there(open_page: Callable[..., Any]) -> None:
    with open_page("/compare", expected=("500",)) as page:
        page.locator("#measured").wait_for()
        refused = page.locator("#b").input_value()
        page.route(POST, lambda route: _refuse(route, refused))
        page.select_option("#image", index=3)
        expect(page.locator("#unmeasured")).to_have_text("Not without both sides.")
        expect(page.locator("#viewer-a").get_by_text("right")).to_be_visible()
        page.unroute(POST)
        page.locator("#viewer-b").get_by_role("button", name="Try again").click()
        page.locator("#measured").wait_for()


def test_a_change_that_fails_leaves_the_numbers_of_what_is_on_show(
    open_page: Callable[..., Any],
) -> None:
    with open_page("/compare", expected=("500",)) as page:
        page.select_option("#method_a", "gradcam")
        until(page, f"{viewer('a')}.facts?.options.method === 'gradcam'")
        page.locator("#measured").wait_for()
        before, drawn = number(page, "correlation"), page.evaluate(_DRAWN)
        page.route(POST, lambda route: _refuse(route, page.locator("#b").input_value()))
        page.select_option("#method_b", "eigencam")
        lagging = page.locator("#lagging")
        expect(lagging).to_contain_text("B still shows what was chosen before")
        expect(page.locator("#measured")).to_be_visible()
        assert (number(page, "correlation"), page.evaluate(_DRAWN)) == (before, drawn)
        page.unroute(POST)
        page.locator("#viewer-b").get_by_role("button", name="Try again").click()
        expect(lagging).to_be_hidden()
        until(page, f"{viewer('b')}.facts.options.method === 'eigencam'")
        a, b = values(page, "a"), values(page, "b")
        assert number(page, "correlation") == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.006)


@pytest.mark.system
def test_many_images_are_searched(
    open_page: Callable[..., Any], lifecycle: Path, tmp_path: Path
) -> None:
    many = tmp_path / "data/experiments/experiment_many"
    (many / "crops_gt_crops/crops/test/ring").mkdir(parents=True)
    model = next(lifecycle.glob("cls_*"))
    (many / model.name).mkdir()
    for file in model.glob("*.pt"):
        os.link(file, many / model.name / file.name)
    source = next(lifecycle.glob("crops_gt_crops/crops/test/ring/*.jpg"))
    for i in range(1203):
        os.link(source, many / f"crops_gt_crops/crops/test/ring/cell_{i:04}.jpg")
    with (
        running(tmp_path / "data", tmp_path) as server,
        open_page("/compare", url=server.url) as page,
    ):
        page.locator("#measured").wait_for()
        expect(page.locator("#image option")).to_have_count(500)
        expect(page.get_by_label("Search in 1,203 images")).to_be_visible()
        page.get_by_label("Search in 1,203 images").fill("ring 1201")
        expect(page.locator("#image option")).to_have_count(2)  # and the one on show
        page.get_by_label("Search in 1,203 images").press("Enter")
        until(page, "location.search.includes('cell_1201.jpg')")
        until(page, f"{viewer('b')}.facts.image.name.includes('1201')")


def test_a_link_to_an_experiment_that_is_not_there_says_so(page: Page) -> None:
    page.goto("/compare?experiment=experiments/gone&image=x.jpg")
    expect(page.locator("#state")).to_contain_text("No such experiment")
    expect(page.locator("#state")).to_contain_text("experiments/gone")
    expect(page.locator("#shown")).to_be_hidden()
    page.locator("#experiment").select_option(index=1)
    expect(page.locator("#state")).to_be_hidden()
    page.locator("#measured").wait_for()
    assert page.locator("#method_a option").count() > 2

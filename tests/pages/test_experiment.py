"""Experiments: listed, judged, filtered, looked at, also with thousands of images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from processes.serving import Server, running
from tests.pages.conftest import until

LIFECYCLE = "experiments/experiment_synthetic_lifecycle"
CB, FOCAL = (f"{LIFECYCLE}/cls_mobilenet_v3_small_{name}" for name in ("cb", "focal"))
IMAGES = 48
MOST_TILES = 60
# Counts thumbnails that are being fetched, body and all: what was aborted no longer counts.
COUNT_FETCHES = """
  window.mostFetched = 0;
  let now = 0;
  const real = window.fetch;
  window.fetch = async (...asked) => {
    if (!String(asked[0]).includes('/thumbnails/')) return real(...asked);
    now += 1;
    window.mostFetched = Math.max(window.mostFetched, now);
    try {
      const response = await real(...asked);
      const blob = await response.blob();
      return new Response(blob, response);
    } finally {
      now -= 1;
    }
  };
"""

Predicted = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def predicted(site: Server) -> dict[str, Predicted]:
    """What the service says of each model's predictions, by image."""
    address = f"{site.url}/v1/experiments/{LIFECYCLE}/predictions"
    answers = {
        model_id: httpx.get(address, params={"model": model_id}, timeout=60)
        for model_id in (CB, FOCAL)
    }
    return {
        model: {prediction["image"]: prediction for prediction in answer.json()["predictions"]}
        for model, answer in answers.items()
    }


def open_experiment(page: Page, query: str = "") -> None:
    """The page, once all predictions are there."""
    page.goto(f"/experiment?path={LIFECYCLE}{query}")
    until(page, "document.querySelector('#predicting').hidden && document.querySelector('.tile')")
    until(page, "document.querySelector('.score').textContent.includes(' of ')")


def test_what_stands_above_the_picture_stays_where_it_is_while_that_comes(page: Page) -> None:
    """Who presses a button of the dialog must not miss it."""
    open_experiment(page)
    page.evaluate("""() => {
      window.places = new Set();
      const look = () => {
        const { x, y, width } = document.querySelector('#close-viewing').getBoundingClientRect();
        if (width) window.places.add(`${x} ${y}`);
        requestAnimationFrame(look);
      };
      look();
    }""")
    page.locator(".tile").first.click()
    until(page, "document.querySelector('#viewer').facts")
    page.get_by_role("button", name="Next image").click()
    until(page, "document.querySelector('#viewing-title').textContent.includes('cell_002')")
    page.wait_for_load_state("networkidle")
    assert len(page.evaluate("[...places]")) == 1


def shown(page: Page) -> list[str]:
    """The images in sight, in order."""
    paths: list[str] = page.evaluate(
        "[...document.querySelectorAll('.tile')]"
        ".sort((a, b) => a.dataset.index - b.dataset.index).map((one) => one.dataset.path)"
    )
    return paths


def expect_shown(page: Page, images: set[str]) -> None:
    """Exactly these images are left; there must be some, and not more than fit."""
    assert 0 < len(images) < MOST_TILES
    expect(page.locator("#count")).to_contain_text(f"{len(images)} of {IMAGES}")
    until(page, "document.querySelectorAll('.tile').length > 0")
    until(page, f"document.querySelectorAll('.tile').length <= {len(images)}")
    assert set(shown(page)) <= images


def test_experiments_are_listed_and_one_tells_how_its_models_do(
    page: Page, predicted: dict[str, Predicted]
) -> None:
    page.goto("/experiment")
    expect(page.locator(".experiment-card")).to_have_count(2)
    page.get_by_role("link", name="experiment_synthetic_lifecycle").click()
    until(page, "document.querySelectorAll('.score').length == 2")
    for model in (CB, FOCAL):
        right = sum(prediction["correct"] for prediction in predicted[model].values())
        score = page.locator(f'tr[data-model="{model}"] .score')
        expect(score).to_have_text(
            f"{round(100 * right / IMAGES)} %, {right} of {IMAGES}", timeout=20_000
        )


def test_filters_let_through_what_the_service_says_and_stand_in_the_address(
    page: Page, predicted: dict[str, Predicted]
) -> None:
    open_experiment(page)
    wrong = {image for image, prediction in predicted[CB].items() if not prediction["correct"]}
    ring = {
        image for image, prediction in predicted[CB].items() if prediction["true_class"] == "ring"
    }
    differing = {
        image
        for image, prediction in predicted[CB].items()
        if prediction["predicted"] != predicted[FOCAL][image]["predicted"]
    }
    page.get_by_label("Class", exact=True).select_option("ring")
    expect_shown(page, ring)
    page.get_by_label("Class", exact=True).select_option("")
    page.get_by_label("Prediction", exact=True).select_option("wrong")
    expect_shown(page, wrong)
    until(page, "location.search.includes('right=wrong')")
    page.reload()
    expect_shown(page, wrong)
    page.get_by_label("Prediction", exact=True).select_option("")
    page.get_by_role("checkbox", name="models differ").check()
    expect_shown(page, differing)
    page.get_by_label("Class", exact=True).select_option("ring")
    if not ring & differing:
        expect(page.get_by_role("heading", name="No image is like this")).to_be_visible()
        page.get_by_role("button", name="Show all images").click()
        expect(page.locator("#count")).to_have_text(f"{IMAGES} images")


def test_images_are_sorted_by_the_probability_of_the_model_shown(
    page: Page, predicted: dict[str, Predicted]
) -> None:
    open_experiment(page, f"&model={FOCAL}")
    for order, sign in (("unsurest", 1), ("surest", -1)):
        page.get_by_label("Order").select_option(order)
        best = sorted(
            predicted[FOCAL].values(), key=lambda prediction: sign * prediction["probability"]
        )
        extreme = best[0]["probability"]
        candidates = [
            prediction["image"] for prediction in best if prediction["probability"] == extreme
        ]
        first = "document.querySelector('.tile[data-index=\"0\"]').dataset.path"
        until(page, f"{candidates}.includes({first})")


def test_the_keyboard_alone_opens_an_image_and_steps_on(page: Page) -> None:
    open_experiment(page)
    page.locator("#gallery").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#place")).to_have_text(f"3 of {IMAGES}")
    until(page, "document.querySelector('#viewer').facts != null")
    first = page.evaluate("document.querySelector('#viewer').facts.digest")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#place")).to_have_text(f"2 of {IMAGES}")
    until(page, f"document.querySelector('#viewer').facts?.digest != '{first}'")
    image = page.evaluate("document.querySelector('#viewer').getAttribute('image')")
    for name in ("Compare", "Look"):
        link = page.get_by_role("dialog").get_by_role("link", name=name)
        target = httpx.URL(link.get_attribute("href") or "").params
        assert (target["experiment"], target["image"]) == (LIFECYCLE, image)
        if name == "Compare":
            assert {target["a"], target["b"]} == {CB, FOCAL}
    page.reload()
    expect(page.locator("#place")).to_have_text(f"2 of {IMAGES}")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    until(page, "!location.search.includes('image=')")
    until(page, "document.activeElement.id == 'gallery'")


def linked_experiment(sample_run: Path, data: Path, images: int) -> None:
    """The bundled experiment with so many test images, hard links of its own."""
    source = sample_run / LIFECYCLE
    for folder in source.glob("cls_*"):
        shutil.copytree(folder, data / LIFECYCLE / folder.name)
    crops = sorted((source / "crops_gt_crops/crops/test").glob("*/*.jpg"))
    for number in range(images):
        crop = crops[number % len(crops)]
        copy = data / LIFECYCLE / "crops_gt_crops/crops/test" / crop.parent.name
        copy.mkdir(parents=True, exist_ok=True)
        if number < len(crops):
            shutil.copy(crop, copy / f"{number:05d}.jpg")  # a link needs the same file system
        else:
            os.link(copy / f"{number % len(crops):05d}.jpg", copy / f"{number:05d}.jpg")


@pytest.mark.system
def test_five_thousand_images_scroll_with_few_tiles_and_few_requests(
    open_page: Callable[..., Any], sample_run: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    linked_experiment(sample_run, data, 5000)
    size = {"width": 1920, "height": 1400}
    with running(data, tmp_path) as server, open_page("/docs", server.url, viewport=size) as page:
        page.add_init_script(COUNT_FETCHES)
        page.goto(f"/experiment?path={LIFECYCLE}")
        until(page, "document.querySelector('#count').textContent.startsWith('5,000 images')")
        alive = page.evaluate(
            """async () => {
              const box = document.querySelector('#gallery');
              const counts = new Set();
              for (let i = 0; i <= 30; i += 1) {
                box.scrollTop = (box.scrollHeight * i) / 30;
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                counts.add(document.querySelectorAll('.tile').length);
              }
              return [...counts];
            }"""
        )
        assert 0 < min(alive) <= max(alive) <= MOST_TILES
        last = page.locator('.tile[aria-posinset="5000"]')
        expect(last).to_be_visible()
        until(page, "document.querySelector('.tile[aria-posinset=\"5000\"] img').src !== ''")
        page.locator("#gallery").focus()
        page.keyboard.press("Home")
        expect(page.locator('.tile[aria-posinset="1"]')).to_be_visible()
        assert 1 < page.evaluate("window.mostFetched") <= 6


@pytest.mark.system
def test_a_busy_service_is_asked_again(
    open_page: Callable[..., Any], sample_run: Path, tmp_path: Path
) -> None:
    with (
        running(sample_run, tmp_path, max_in_flight="1") as server,
        open_page("/docs", server.url, expected=("503",)) as page,
    ):
        refused: list[int] = []
        page.on(
            "response",
            lambda response: refused.append(response.status) if response.status == 503 else None,
        )
        page.goto(f"/experiment?path={LIFECYCLE}")
        pictures = "[...document.querySelectorAll('.tile img')]"
        until(page, f"{pictures}.length > 0 && {pictures}.every((one) => one.src)", seconds=60)
        assert refused


def test_an_unknown_experiment_is_explained(open_page: Callable[..., Any]) -> None:
    with open_page("/experiment?path=experiments/none", expected=("404",)) as page:
        expect(page.get_by_role("heading", name="No such experiment")).to_be_visible()


def test_what_is_not_certain_is_not_called_so(page: Page) -> None:
    page.goto("/embed/viewer")  # a page that lets its own scripts be imported, and nothing else
    said = page.evaluate(
        "async () => { const { percent } = await import('/static/shared/models.js');"
        " return [1, 0.996, 0.994, 0.004, 0, null].map((share) => percent(share)); }"
    )
    assert said == ["100 %", "> 99 %", "99 %", "< 1 %", "0 %", ""]

"""What pages offer by themselves: samples that can be read, the best model, one name a number."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from processes.serving import Server, running
from tests.pages.conftest import until
from tests.pages.test_experiment import LIFECYCLE

TEST_IMAGES = "crops_gt_crops/crops/test"


@pytest.mark.system
def test_samples_are_images_that_can_be_read(
    open_page: Callable[..., Any], sample_run: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(sample_run / LIFECYCLE, data / LIFECYCLE)
    for number in (1, 2):
        (data / LIFECYCLE / TEST_IMAGES / f"ring/cell_00{number}.jpg").write_bytes(b"damaged")
    for file in (data / LIFECYCLE).glob("crops_gt_crops/crops/*/schizont/*"):
        file.write_bytes(b"damaged")
    with (
        running(data, tmp_path) as server,
        open_page(url=server.url, expected=("422",)) as page,
    ):
        ring = page.get_by_role("button", name="ring")
        expect(ring).to_have_attribute("data-image", f"{TEST_IMAGES}/ring/cell_003.jpg")
        expect(page.get_by_text("No image of schizont can be read.")).to_be_visible()
        expect(page.locator("#samples button")).to_have_count(3)
        until(page, "document.querySelectorAll('#samples img[src^=blob]').length === 3")
        ring.click()
        until(page, "document.querySelector('#viewer').facts != null")


@pytest.fixture(scope="module")
def models(site: Server) -> list[dict[str, Any]]:
    """The models of an experiment, the best first."""
    listed = httpx.get(f"{site.url}/v1/models").json()["models"]
    own = [model for model in listed if model["experiment"] == LIFECYCLE]
    return sorted(own, key=lambda model: (-model["val_acc"], model["name"]))


def test_the_gallery_opens_the_model_with_the_best_validation_accuracy(
    open_page: Callable[..., Any], models: list[dict[str, Any]]
) -> None:
    worst_first = [
        {**listed, "val_acc": accuracy} for listed, accuracy in zip(models, (0.5, 0.9), strict=True)
    ]
    for changed in (worst_first, [{**model, "val_acc": 0.5} for model in models]):
        best = min(changed, key=lambda model: (-model["val_acc"], model["name"]))
        with open_page("/docs") as page:
            page.route("**/v1/models", partial(Route.fulfill, json={"models": changed}))
            page.goto(f"/experiment?path={LIFECYCLE}")
            expect(page.get_by_role("radio", checked=True)).to_have_value(best["id"])
            other = next(model for model in changed if model is not best)
            page.goto(f"/experiment?path={LIFECYCLE}&model={other['id']}")
            expect(page.get_by_role("radio", checked=True)).to_have_value(other["id"])


@pytest.mark.parametrize("path", ["/", "/compare", "/experiment", f"/experiment?path={LIFECYCLE}"])
def test_the_accuracy_of_training_has_one_name(page: Page, path: str) -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")
    text = page.locator("main").inner_text().lower()
    assert "validation" in text
    assert "in training" not in text


def test_the_two_accuracies_of_a_model_are_explained(page: Page) -> None:
    page.goto(f"/experiment?path={LIFECYCLE}")
    heads = page.locator(".models thead th")
    expect(heads.nth(1)).to_contain_text("test images below, with CLAHE")
    expect(heads.nth(2)).to_contain_text("Validation")
    expect(heads.nth(2)).to_contain_text("accuracy on the validation images")

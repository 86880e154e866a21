"""What is left out of an experiment is said on the pages where its images are chosen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from processes.jobs import Stack, stack_on
from tests.pages.conftest import grave_violations, until

RUN = "optA_20260101_000000"
LIFECYCLE = "experiments/experiment_synthetic_lifecycle"
WORDS = (
    "4 (1 in a format that is not read: slide.svs; 1 image in a folder of another program: @eaDir; "
    "1 cls_ folder without best.pt: cls_empty; 1 of another kind: .txt)"
)


@pytest.fixture(scope="module")
def stack(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two rings and an image of no class, beside a slide and other programs' files."""
    scratch = tmp_path_factory.mktemp("left_out")
    source, experiment = sample_run / LIFECYCLE, scratch / "results" / RUN / LIFECYCLE
    for model in source.glob("cls_*"):
        shutil.copytree(model, experiment / model.name)
    (experiment / "cls_empty").mkdir()
    test = experiment / "crops_gt_crops/crops/test"
    for place in ("RING/a.jpg", "RING/b.jpg", "Uninfected/c.jpg", "RING/@eaDir/a.jpg"):
        (test / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "crops_gt_crops/crops/test/ring/cell_001.jpg", test / place)
    (test / "slide.svs").write_bytes(b"x")
    (test / "README.txt").write_bytes(b"x")
    with stack_on(scratch / "results", scratch) as made:
        yield made


def test_an_experiment_says_what_is_left_out_and_of_how_many_the_class_is_known(
    stack: Stack, open_page: Callable[..., Any]
) -> None:
    with open_page("/experiment", stack.server.url) as page:
        expect(page.locator(".experiment-card")).to_contain_text("3 test images; 4 files skipped")
        page.goto(f"/experiment?path={stack.experiment}")
        expect(page.locator("#left-out")).to_have_text(f"Skipped: {WORDS}.")
        until(page, "document.querySelector('#predicting').hidden")
        score = page.locator("td.score").first
        expect(score).to_have_text("100 %, 2 of 2; 2 of 3 known")
        said = "Folders that are no class of these models: Uninfected (1 image)."
        expect(page.locator("#no-class")).to_have_text(said)
        page.locator("#right").select_option("wrong")
        expect(page.locator("#none-title")).to_have_text("No image is like this")
        assert grave_violations(page) == []
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_compare_says_what_is_left_out(stack: Stack, open_page: Callable[..., Any]) -> None:
    with open_page("/compare", stack.server.url) as page:
        expect(page.locator("#left-out")).to_have_text(f"Skipped: {WORDS}.")


def test_look_says_what_is_left_out_beneath_the_samples(
    stack: Stack, open_page: Callable[..., Any]
) -> None:
    with open_page("/", stack.server.url) as page:
        expect(page.locator("#samples button")).to_have_count(2)
        expect(page.locator("#samples .left-out")).to_have_text(f"Skipped: {WORDS}.")
        assert grave_violations(page) == []
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_the_form_and_the_job_say_what_is_left_out(
    stack: Stack, open_page: Callable[..., Any]
) -> None:
    with open_page("/jobs", stack.server.url) as page:
        expect(page.locator("#form-left-out")).to_have_text(f"Skipped: {WORDS}.")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/jobs?id=*")
        expect(page.locator("#job-left-out")).to_have_text(f"Skipped: {WORDS}.")
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == 320

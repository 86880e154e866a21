"""Jobs in the browser: from the form to the pictures, with a real Redis, service and worker."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from processes.jobs import Stack, copy_experiment, stack_on
from processes.serving import Server
from tests.pages.conftest import grave_violations, until
from tests.tcp_proxy import Proxy

IMAGES = 96
TOTAL = 2 * IMAGES
WHOLE = f"100 %, {TOTAL} of {TOTAL} items; 2 failed"
BROKEN = "0001.jpg"
CALLS = re.compile("/v1/|/healthz")
TIMES = "\N{MULTIPLICATION SIGN}"
SETTINGS = {"lease_seconds": "4", "chunk_seconds": "1"}
# Every state that the page goes through.
WATCH = """
  window.states = [];
  setInterval(() => {
    const said = document.querySelector('#job-count')?.textContent;
    if (said && window.states.at(-1) !== said) window.states.push(said);
  }, 20);
"""


@pytest.fixture(scope="module")
def jobs(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Redis and the service; no worker yet; one image is broken."""
    scratch = tmp_path_factory.mktemp("jobs")
    experiment = copy_experiment(sample_run, scratch / "results", IMAGES)
    (broken,) = experiment.glob(f"**/test/*/{BROKEN}")
    broken.write_bytes(b"no image")
    with stack_on(scratch / "results", scratch, **SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def worked(jobs: Stack) -> Stack:
    """The same with a worker."""
    jobs.add_worker()
    return jobs


def start_job(page: Page, *, everything: bool = True) -> str:
    """Send the form; the job's id, once its page is there."""
    if everything:
        page.locator("[name=amount][value=all]").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/jobs?id=*")
    expect(page.locator("#job-title")).to_have_text("experiment_synthetic_lifecycle")
    return page.url.split("id=")[1]


def away(page: Page) -> None:
    """As if the service had gone, until CALLS is no longer routed."""
    page.route(CALLS, lambda route: route.abort())


def see_the_enlarged_one(page: Page) -> None:
    """Steps to both sides, by button and key; a download; the same image on the page Look."""
    place, title = page.locator("#large-place"), page.locator("#large-title")
    expect(place).to_have_text(f"1 of {TOTAL - 2}")
    expect(page.locator("#previous-figure")).to_be_disabled()
    first = title.inner_text()
    page.locator("#next-figure").click()
    expect(place).to_have_text(f"2 of {TOTAL - 2}")
    expect(title).not_to_have_text(first)
    expect(page.locator("#large-picture")).to_be_visible()
    with page.expect_download() as download:
        page.locator("#download-figure").click()
    name = title.inner_text().split(", ")[0]
    assert download.value.suggested_filename.endswith(f"_improved_gradcam_{name}.png")
    away(page)
    page.locator("#next-figure").click()
    expect(page.locator("#large-waiting")).to_be_visible()
    page.unroute(CALLS)
    expect(page.locator("#large-picture")).to_be_visible()
    expect(page.locator("#offline")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    look = page.locator("#figure-in-look").get_attribute("href") or ""
    assert look.startswith("/?experiment=")
    assert f"{name}.jpg" in look
    page.keyboard.press("ArrowLeft")
    expect(title).to_have_text(first)


def see_a_changed_image_said(page: Page, stack: Stack) -> None:
    """Beneath the first figure, and with it enlarged."""
    expect(page.locator(".figures .notice")).to_have_count(0)
    name = page.locator(".figures figcaption").first.inner_text().split("\n")[0]
    (image,) = (stack.data / stack.experiment).glob(f"crops_gt_crops/**/test/*/{name}.jpg")
    kept = image.read_bytes()
    image.write_bytes(kept + b"\0")
    page.reload()
    said = "The image file has changed since."
    expect(page.locator(".figures .notice")).to_have_text(said)
    page.locator(".figures button").first.click()
    expect(page.locator("#large-picture")).to_be_visible()
    expect(page.locator("#large-problem")).to_have_text(said)
    image.write_bytes(kept)


@pytest.mark.skipif(
    os.environ.get("GRADCAM_PAGES_THROUGH_NGINX") == "1", reason="several services have a Redis"
)
def test_without_redis_the_page_says_what_is_missing(
    site: Server, open_page: Callable[..., Any]
) -> None:
    with open_page("/jobs", site.url, expected=("503",)) as page:
        expect(page.get_by_role("heading", name="Jobs are not set up here")).to_be_visible()
        expect(page.get_by_text("gradcam up")).to_be_visible()


def test_the_form_says_what_will_run_and_a_job_without_workers_waits(
    jobs: Stack, open_page: Callable[..., Any]
) -> None:
    with open_page("/jobs", jobs.server.url) as page:
        expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
        plan = page.locator("#plan")
        expect(plan).to_contain_text(f"2 models {TIMES} 10 images = 20 items")
        page.get_by_label("cls_mobilenet_v3_small_focal").uncheck()
        expect(plan).to_contain_text(f"1 model {TIMES} 10 images = 10 items")
        page.locator("#max_images").fill("3")
        expect(plan).to_contain_text(f"1 model {TIMES} 3 images = 3 items")
        promised = page.locator("#plan code").inner_text()
        page.get_by_label("late").uncheck()
        page.get_by_text("More options").click()
        assert grave_violations(page) == []
        page.get_by_label("Method").select_option("layercam")
        job = jobs.job(start_job(page, everything=False))
        asked = job["request"]
        assert job["output"] == promised
        assert [model["name"] for model in job["models"]] == ["cls_mobilenet_v3_small_cb"]
        assert (asked["layers"], asked["method"], asked["max_images"]) == (
            ["early", "mid"],
            "layercam",
            3,
        )
        expect(page.locator("#notice")).to_contain_text("No worker is up")
        assert grave_violations(page) == []
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#job-status")).to_have_text("Stopped")
        expect(page.locator("#job-count")).to_have_text("0 %, 0 of 3 items; 3 skipped")
        page.get_by_role("link", name="All jobs").click()
        expect(page.locator(".job-list li")).to_contain_text("Stopped")
        expect(page.locator(".job-list li")).to_contain_text("LayerCAM: early, mid")


@pytest.mark.system
def test_a_service_that_is_away_is_waited_for(jobs: Stack, open_page: Callable[..., Any]) -> None:
    with open_page("/docs", jobs.server.url, expected=("ERR_",)) as page:
        away(page)
        page.goto("/jobs")
        expect(page.locator("#offline")).to_be_visible()
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        page.unroute(CALLS)
        expect(page.locator("#destination")).to_contain_text("Pictures go to")
        away(page)
        page.locator("#max_images").fill("7")
        expect(page.locator("#offline")).to_be_visible()
        expect(page.locator("#destination")).to_contain_text("Looking")
        page.unroute(CALLS)
        expect(page.locator("#destination")).to_contain_text("Pictures go to")
        away(page)
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#offline")).to_be_visible()
        expect(page.locator("#refusal")).to_be_empty()
        page.unroute(CALLS)
        page.wait_for_url("**/jobs?id=*")
        expect(page.locator("#job-output")).to_contain_text("gradcam_visualizations")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#job-status")).to_have_text("Stopped")


@pytest.mark.system
def test_a_job_runs_to_its_end_before_ones_eyes_with_errors_pictures_and_zip(
    worked: Stack, open_page: Callable[..., Any]
) -> None:
    with open_page("/docs", worked.server.url, expected=("ERR_",)) as page:
        page.add_init_script(WATCH)
        page.goto("/jobs")
        id_ = start_job(page)
        expect(page.locator("#job-status")).to_have_text("Done, with errors", timeout=90_000)
        expect(page.locator("#job-count")).to_have_text(WHOLE)
        seen = {state.split(" %")[0] for state in page.evaluate("window.states")} - {"0", "100"}
        assert len(seen) >= 2
        failures = page.locator("#failures tr")
        expect(failures).to_have_count(2)
        expect(failures.first).to_contain_text("0001")
        expect(failures.first).to_contain_text("invalid-image")
        pictures = "[...document.querySelectorAll('#figures img')]"
        until(page, f"{pictures}.length == 12 && {pictures}.every((one) => one.naturalWidth > 200)")
        page.locator("#more-figures").click()
        until(page, f"{pictures}.length == 24")
        assert grave_violations(page) == []
        page.locator("#figures button").first.click()
        expect(page.locator("#large-picture")).to_be_visible()
        assert grave_violations(page) == []
        see_the_enlarged_one(page)
        page.get_by_role("button", name="Close").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download zip").click()
        assert id_ in download.value.suggested_filename
        names = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).namelist()
        assert sum(name.endswith(".png") for name in names) >= TOTAL - 2
        see_a_changed_image_said(page, worked)


@pytest.mark.system
def test_a_running_job_keeps_others_out_is_stopped_and_taken_up_again(
    worked: Stack, open_page: Callable[..., Any]
) -> None:
    with open_page("/jobs", worked.server.url, expected=("409",)) as page:
        id_ = start_job(page)
        with open_page("/jobs", worked.server.url, expected=("409",)) as other:
            other.get_by_role("button", name="Start").click()
            expect(other.get_by_role("heading", name="Output in use")).to_be_visible()
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#job-status")).to_have_text("Stopped", timeout=30_000)
        before = worked.job(id_)["progress"]
        assert before["succeeded"] < before["total"]
        page.get_by_role("button", name="Run what is missing").click()
        expect(page.locator("#job-status")).to_have_text("Done, with errors", timeout=90_000)
        expect(page.locator("#job-count")).to_have_text(WHOLE)


@pytest.mark.system
def test_a_lost_connection_is_taken_up_where_it_was(
    worked: Stack, open_page: Callable[..., Any]
) -> None:
    port = int(worked.server.url.rsplit(":", 1)[1])
    with (
        Proxy(port) as proxy,
        open_page("/jobs", f"http://127.0.0.1:{proxy.port}", expected=("ERR_",)) as page,
    ):
        resumed: list[str] = []
        page.on("request", lambda request: resumed.append(request.headers.get("last-event-id", "")))
        start_job(page)
        # What it is told at first has no number to go on from; an event has.
        until(page, "document.querySelector('#job-progress').value > 0")
        assert not any(resumed)
        proxy.cut()
        expect(page.locator("#job-status")).to_have_text("Done, with errors", timeout=90_000)
        expect(page.locator("#connection")).to_be_hidden()
        assert any(resumed)

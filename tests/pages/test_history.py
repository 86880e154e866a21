"""The address and the browser's history: few changes, and Back goes where one was before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import FilePayload, Page, expect

from processes.serving import Server
from tests.pages.conftest import until
from tests.pages.holding import Holding
from tests.pages.test_experiment import IMAGES, LIFECYCLE, open_experiment

pytestmark = pytest.mark.system

LARGE = "document.querySelector('#viewer')"
MOVES = 300
# Counts what browsers allow few of.
_COUNT = """
window.changes = 0;
const real = history.replaceState;
history.replaceState = function (...all) { window.changes += 1; return real.apply(this, all); };
"""
_SLIDE = """async ([selector, moves]) => {
  const viewer = document.querySelector(selector);
  const slider = viewer.shadowRoot.querySelector('input[type=range]');
  for (let i = 0; i < moves; i += 1) {
    slider.value = 0.2 + (0.6 * i) / moves;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    slider.dispatchEvent(new Event('change', { bubbles: true }));
    if (i % 20 === 0) await new Promise(requestAnimationFrame);
  }
  return viewer.getAttribute('opacity');
}"""


def image_in_address(page: Page) -> str:
    return str(page.evaluate("new URLSearchParams(location.search).get('image')"))


def pick(page: Page, index: int) -> str:
    """Take a sample and wait for it; returns its image."""
    button = page.locator("#samples button").nth(index)
    button.click()
    image = button.get_attribute("data-image") or ""
    until(page, f"{LARGE}.facts != null && {LARGE}.getAttribute('image') === '{image}'")
    return image


@pytest.mark.parametrize(("path", "selector"), [("/", "#viewer"), ("/compare", "#viewer-a")])
def test_a_slider_changes_the_address_rarely_and_ends_in_it(
    page: Page, path: str, selector: str
) -> None:
    icons: list[str] = []
    page.on("request", lambda request: icons.append(request.url) if "icon" in request.url else None)
    page.add_init_script(_COUNT)
    page.goto(path)
    if path == "/":
        page.locator("#samples button").first.click()
    until(page, f"document.querySelector('{selector}').facts != null")
    before = page.evaluate("window.changes")
    icons.clear()
    last = page.evaluate(_SLIDE, [selector, MOVES])
    until(page, f"location.search.includes('opacity={last}')")
    assert page.evaluate("window.changes") - before < 20
    assert len(icons) < 5


def test_what_is_pending_is_kept_when_the_page_is_left(page: Page) -> None:
    page.goto("/")
    pick(page, 0)
    last = page.evaluate(_SLIDE, ["#viewer", 10])
    page.evaluate("location.assign('/docs')")
    page.wait_for_url("**/docs")
    page.go_back()
    until(page, f"location.search.includes('opacity={last}')")


def test_a_browser_that_refuses_changes_does_not_break_the_page(page: Page) -> None:
    page.add_init_script(
        "for (const name of ['pushState', 'replaceState']) history[name] = () => {"
        " throw new DOMException('too many', 'SecurityError'); };"
    )
    page.goto("/")
    pick(page, 0)
    pick(page, 1)
    open_experiment(page)
    page.locator(".tile").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_back_on_look_goes_to_the_sample_before_with_its_view_and_forward_again(
    page: Page,
) -> None:
    page.goto("/")
    first = pick(page, 0)
    first_model = page.locator("#model").input_value()
    page.locator("#layers > [data-layer=late]").click()
    second = pick(page, 7)
    second_model = page.locator("#model").input_value()
    assert first_model != second_model
    page.keyboard.press("o")
    until(page, "location.search.includes('overlay=off')")
    page.go_back()
    until(
        page,
        f"{LARGE}.facts?.image.path === '{first}' || {LARGE}.getAttribute('image') === '{first}'",
    )
    assert image_in_address(page) == first
    assert page.evaluate(f"{LARGE}.state") == {"layer": "late"}
    expect(page.locator("#model")).to_have_value(first_model)
    expect(page.locator("#samples [aria-pressed=true]")).to_have_attribute("data-image", first)
    page.go_forward()
    until(page, f"{LARGE}.getAttribute('image') === '{second}'")
    expect(page.locator("#model")).to_have_value(second_model)
    assert page.evaluate(f"{LARGE}.state.overlay") == "off"
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", name="No image yet")).to_be_visible()
    expect(page.locator("#shown")).to_be_hidden()


def test_back_from_an_uploaded_file_goes_to_the_sample_and_forward_to_the_file(
    page: Page, cell: FilePayload
) -> None:
    page.goto("/")
    image = pick(page, 0)
    page.locator("#file").set_input_files(files=[cell])
    until(page, f"{LARGE}.facts?.image.name.includes('mine')")
    assert "?" not in page.url
    page.go_back()
    until(page, f"{LARGE}.getAttribute('image') === '{image}' && {LARGE}.file === null")
    expect(page.locator("#file-name")).to_have_text("/".join(image.split("/")[-2:]))
    until(page, f"{LARGE}.facts != null")
    page.go_forward()
    expect(page.locator("#file-name")).to_have_text("mine.jpg")
    until(page, f"{LARGE}.facts?.image.name.includes('mine')")


@pytest.fixture
def cell(site: Server) -> FilePayload:
    """A file to choose."""
    path = f"/v1/experiments/{LIFECYCLE}/images?limit=1"
    image = httpx.get(site.url + path).json()["images"][0]["path"]
    data = httpx.get(f"{site.url}/v1/experiments/{LIFECYCLE}/thumbnails/{image}").content
    return {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": data}


def test_back_closes_the_dialog_of_the_gallery_and_forward_opens_it(page: Page) -> None:
    open_experiment(page)
    page.get_by_label("Class", exact=True).select_option("ring")
    page.locator(".tile").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    until(page, "location.search.includes('image=')")
    page.get_by_role("button", name="Next image").click()
    until(page, "location.search.includes('cell_002')")
    page.go_back()
    expect(dialog).to_be_hidden()
    until(page, "!location.search.includes('image=') && location.search.includes('class=ring')")
    page.go_forward()
    expect(dialog).to_be_visible()
    expect(page.locator("#viewing-title")).to_have_text("ring_cell_002")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    until(page, "!location.search.includes('image=')")


def test_closing_the_dialog_leaves_no_entries_behind(page: Page) -> None:
    page.goto("/compare")
    open_experiment(page)
    entries = page.evaluate("history.length")
    for number in range(3):
        page.locator(".tile").nth(number).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.get_by_role("button", name="Close").click()
        expect(page.get_by_role("dialog")).to_be_hidden()
        until(page, "!location.search.includes('image=')")
    assert page.evaluate("history.length") <= entries + 1
    page.go_back()
    page.wait_for_url("**/compare*")


def test_a_link_to_an_image_is_kept_and_opened_at_once_with_any_filter(page: Page) -> None:
    held = Holding(page, r"/predictions\?")
    wanted = "crops_gt_crops/crops/test/ring/cell_003.jpg"
    page.goto(f"/experiment?path={LIFECYCLE}&right=wrong&image={wanted}")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#viewing-title")).to_have_text("ring_cell_003")
    expect(page.locator("#place")).to_have_text("1 of 1 so far")
    until(page, f"new URLSearchParams(location.search).get('image') === '{wanted}'")
    expect(page.locator("#none-title")).to_have_text("No image is like this so far")
    page.reload()
    expect(page.locator("#viewing-title")).to_have_text("ring_cell_003")
    held.let_go()
    until(page, "document.querySelector('#predicting').hidden")
    expect(page.locator("#place")).not_to_contain_text("so far")
    total = int(page.locator("#place").inner_text().split(" of ")[1])
    assert 1 < total < IMAGES
    assert image_in_address(page) == wanted
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    until(page, "!location.search.includes('image=')")
    assert "right=wrong" in page.url


def test_numbers_are_so_far_until_all_predictions_are_there(
    open_page: Callable[..., Any],
) -> None:
    with open_page("/docs") as page:
        held = Holding(page, r"/predictions\?")
        page.goto(f"/experiment?path={LIFECYCLE}")
        until(page, "document.querySelector('#predicting:not([hidden])') !== null")
        expect(page.locator("#count")).to_have_text(f"{IMAGES} images")
        page.get_by_label("Prediction", exact=True).select_option("wrong")
        expect(page.locator("#count")).to_have_text(f"0 of {IMAGES} images so far")
        page.get_by_label("Prediction", exact=True).select_option("")
        page.get_by_label("Order").select_option("unsurest")
        expect(page.locator("#count")).to_have_text(f"{IMAGES} images, in this order so far")
        assert all("order=mixed" in route.request.url for route in held.routes)
        held.let_go()
        expect(page.locator("#count")).to_have_text(f"{IMAGES} images")


def test_the_icon_is_kept_by_browsers_under_an_address_of_its_version(site: Server) -> None:
    html = httpx.get(site.url + "/").text
    address = html.partition('rel="icon" href="')[2].partition('"')[0]
    assert address in html.partition("<body")[2]
    path = address.removeprefix("/static/").partition("/")[2]
    assert "immutable" in httpx.get(site.url + address).headers["cache-control"]
    assert path == "icon.svg"
    for other in (path, f"0123456789ab/{path}"):
        plain = httpx.get(f"{site.url}/static/{other}")
        assert plain.headers["cache-control"] == "no-cache"


def test_what_asks_for_favicon_ico_gets_the_icon(site: Server) -> None:
    answer = httpx.get(f"{site.url}/favicon.ico", follow_redirects=True)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("image/")
    assert "max-age" in answer.headers["cache-control"]
    assert len(answer.content) < 5000

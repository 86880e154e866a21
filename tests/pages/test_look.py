"""The first page: an image, a model, an overlay, and a link that reopens it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from processes.serving import Server, running
from service.routes.pages import POLICY
from tests.pages.conftest import opened, until

LARGE = "document.querySelector('#viewer')"
_FILE = """(to) => {
  const file = new File([Uint8Array.from(atob(to.data), (one) => one.charCodeAt(0))], to.name,
    { type: 'image/jpeg' });
  const transfer = new DataTransfer();
  transfer.items.add(file);
  return transfer;
}"""


def loaded(page: Page) -> None:
    until(page, f"{LARGE}.facts != null")


@pytest.fixture
def sample(page: Page) -> Page:
    """The page with its first sample explained."""
    page.goto("/")
    page.locator("#samples button").first.click()
    loaded(page)
    expect(page.locator("#layers > button")).to_have_count(3)
    return page


def test_a_sample_is_explained_in_three_layers_and_its_link_reopens_it(sample: Page) -> None:
    before = sample.evaluate(f"{LARGE}.facts.digest")
    sample.locator("#layers > [data-layer=late]").click()
    sample.keyboard.press("[")
    state = {"layer": "late", "opacity": "0.5"}
    assert sample.evaluate(f"{LARGE}.state") == state
    until(sample, "location.search.includes('opacity=0.5')")
    sample.reload()
    loaded(sample)
    assert sample.evaluate(f"{LARGE}.facts.digest") == before
    assert sample.evaluate(f"{LARGE}.state") == state
    expect(sample.locator("#layers > [aria-pressed=true]")).to_have_attribute("data-layer", "late")


def test_what_was_read_of_the_model_is_said_with_where_it_is_from(sample: Page) -> None:
    box = sample.locator("#read")
    expect(box.locator("summary")).to_have_text("What was read of the model")
    box.locator("summary").click()
    facts = dict(
        zip(box.locator("dt").all_inner_texts(), box.locator("dd").all_inner_texts(), strict=True)
    )
    assert re.match(r"mobilenet\S+ \(timm naming\) \(model_name '", facts["Architecture"])
    assert facts["Classes"] == "falciparum, malariae, ovale, vivax (in the file)"
    assert facts["Input"].startswith("224 \u00d7 224 px (")


@pytest.mark.parametrize("name", ["lifecycle", "species"])
def test_a_link_without_a_model_takes_one_of_its_experiment(page: Page, name: str) -> None:
    experiment = f"experiments/experiment_synthetic_{name}"
    listed = page.request.get("/v1/experiments/" + experiment + "/images").json()
    page.goto("/?" + urlencode({"experiment": experiment, "image": listed["images"][0]["path"]}))
    loaded(page)
    assert page.evaluate(f"{LARGE}.facts.model.id").startswith(f"{experiment}/")


def test_the_layers_beneath_cost_no_request(page: Page) -> None:
    posts: list[str] = []
    page.on(
        "request", lambda request: posts.append(request.url) if request.method == "POST" else None
    )
    page.goto("/")
    page.locator("#samples button").first.click()
    until(
        page,
        "[...document.querySelectorAll('#layers cam-viewer')].filter((one) => one.facts)"
        ".length === 3",
    )
    assert len(posts) == 1
    layers = "[...document.querySelectorAll('#layers cam-viewer')].map((one) => one.state.layer)"
    assert page.evaluate(layers) == ["early", "mid", "late"]
    page.evaluate(f"{LARGE}.shadowRoot.querySelector('[value=contour]').click()")
    modes = "[...document.querySelectorAll('#layers cam-viewer')].map((one) => one.state.mode)"
    assert page.evaluate(modes) == ["contour"] * 3
    assert len(posts) == 1


def test_samples_have_pictures(page: Page) -> None:
    page.goto("/")
    until(page, "document.querySelectorAll('#samples img[src^=blob]').length === 8")
    widths = page.evaluate(
        "[...document.querySelectorAll('#samples img')].map((one) =>"
        " one.decode().then(() => one.naturalWidth))"
        ".reduce(async (all, one) => [...await all, await one], [])"
    )
    assert all(48 <= width <= 96 for width in widths)


def test_arrows_go_to_the_next_image_and_back(sample: Page) -> None:
    first = sample.evaluate(f"{LARGE}.getAttribute('image')")
    sample.evaluate(f"{LARGE}.focus()")
    sample.keyboard.press("ArrowRight")
    until(sample, f"{LARGE}.getAttribute('image').endsWith('cell_002.jpg')")
    until(sample, f"{LARGE}.facts.image.name.includes('cell_002')")
    sample.keyboard.press("ArrowLeft")
    until(sample, f"{LARGE}.getAttribute('image') === {json.dumps(first)}")


@pytest.fixture
def cell(sample_run: Path) -> Path:
    """An image to bring along."""
    return next(sample_run.glob("**/crops/test/*/*.jpg"))


def test_a_chosen_file_is_explained_and_stays_out_of_the_address(page: Page, cell: Path) -> None:
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose an image").press("Enter")
    chooser.value.set_files(cell)
    loaded(page)
    assert "?" not in page.url
    expect(page.locator("#file-name")).to_have_text(cell.name)
    expect(page.locator("#compare")).to_be_hidden()
    expect(page.locator("#layers > button")).to_have_count(3)


@pytest.mark.parametrize(
    "event",
    [
        "new DragEvent('drop', { dataTransfer: transfer, bubbles: true })",
        "new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true })",
    ],
    ids=["dropped", "pasted"],
)
def test_a_file_brought_otherwise_is_explained(page: Page, cell: Path, event: str) -> None:
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    data = base64.b64encode(cell.read_bytes()).decode()
    page.evaluate(
        f"(to) => {{ const transfer = ({_FILE})(to); document.body.dispatchEvent({event}); }}",
        {"name": "brought.jpg", "data": data},
    )
    loaded(page)
    assert page.evaluate(f"{LARGE}.facts.image.name").startswith("brought")
    expect(page.locator("#file-name")).to_have_text("brought.jpg")


def test_of_a_large_image_it_is_said_how_little_of_it_the_model_sees(
    sample: Page, tmp_path: Path
) -> None:
    expect(sample.locator("#shrunk")).to_be_hidden()
    field = tmp_path / "field.png"
    Image.radial_gradient("L").resize((1600, 1200)).convert("RGB").save(field)
    sample.locator("#file").set_input_files(files=[field])
    expect(sample.locator("#shrunk")).to_contain_text(
        "shrunk to 224 \N{MULTIPLICATION SIGN} 224 px"
    )
    sample.locator("#samples button").nth(1).click()
    expect(sample.locator("#shrunk")).to_be_hidden()


def test_a_file_that_is_no_image_is_said_to_be_none(open_page: Callable[..., Any]) -> None:
    with open_page("/", expected=("422", "415", "400")) as page:
        page.locator("#samples button").first.wait_for()
        broken = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}
        page.locator("#file").set_input_files(files=[broken])
        expect(page.locator("#viewer").get_by_role("button", name="Try again")).to_be_visible()
        page.locator("#samples button").first.click()
        loaded(page)


def test_another_model_explains_the_same_image(sample: Page) -> None:
    image = sample.evaluate(f"{LARGE}.getAttribute('image')")
    sample.locator("#model").select_option(index=1)
    chosen = sample.locator("#model").input_value()
    until(sample, f"{LARGE}.facts.model.id === {json.dumps(chosen)}")
    assert sample.evaluate(f"{LARGE}.getAttribute('image')") == image
    assert httpx.QueryParams(urlsplit(sample.url).query)["model"] == chosen
    assert re.search(r" · \d+ %$", sample.locator("#model option:checked").inner_text())


def test_the_first_page_is_small_and_asks_for_little(page: Page) -> None:
    page.goto("/")
    until(page, "document.querySelectorAll('#samples img[src^=blob]').length === 8")
    sizes: dict[str, int] = dict(
        page.evaluate(
            "['navigation', 'resource'].flatMap((one) => performance.getEntriesByType(one))"
            ".filter((one) => !one.name.startsWith('blob:'))"
            ".map((one) => [one.name, one.transferSize])"
        )
    )
    assert 20_000 < sum(sizes.values()) < 150_000
    scripts = [name for name in sizes if name.endswith(".js")]
    viewer = [name for name in scripts if "/viewer/" in name]
    assert len(scripts) - len(viewer) <= 14  # the viewer's address, and the page's own modules
    assert 20 <= len(viewer) <= 30
    assert len(sizes) - len(scripts) <= 26  # 8 samples, the style, and what they ask the API


@pytest.mark.system
def test_it_works_under_a_root_path(browser: Browser, sample_run: Path, tmp_path: Path) -> None:
    with (
        running(sample_run, tmp_path, root_path="/cam") as server,
        opened(browser, server.url, ()) as page,
    ):
        # As the proxy does: the service gets the path without what the proxy adds.
        page.goto(f"{server.url}/cam/")
        page.locator("#samples button").first.click()
        loaded(page)
        addresses = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
        assert all(
            address.startswith(f"{server.url}/cam/")
            for address in addresses
            if "blob:" not in address
        )


@pytest.mark.parametrize("path", ["/", "/compare"])
def test_pages_let_no_inline_or_foreign_code_run(site: Server, path: str) -> None:
    response = httpx.get(site.url + path)
    assert response.headers["content-security-policy"] == POLICY
    assert "'unsafe" not in POLICY
    assert "style=" not in response.text


def test_files_are_revalidated_and_nothing_else_can_be_had(site: Server) -> None:
    first = httpx.get(f"{site.url}/static/shared/api.js")
    again = httpx.get(
        f"{site.url}/static/shared/api.js", headers={"If-None-Match": f"W/{first.headers['etag']}"}
    )
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    plain = httpx.get(f"{site.url}/static/shared/api.js", headers={"Accept-Encoding": "gzip;q=0"})
    assert plain.content == first.content
    assert plain.headers["etag"] != first.headers["etag"]
    assert first.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    for name in ("..%2fapp.py", "%2e%2e", "nothing.js", "app.py", ".css"):
        assert httpx.get(f"{site.url}/static/{name}").status_code == 404


def test_no_console_errors_are_overlooked(
    open_page: Callable[..., Any],
) -> None:
    with pytest.raises(AssertionError, match="seen"), open_page("/") as page:
        page.evaluate("console.error('seen')")

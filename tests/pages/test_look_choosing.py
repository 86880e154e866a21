"""Images brought to the page Look: early, twice, several at once, or no images at all."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Page, expect

from processes.serving import Server
from tests.pages.conftest import until
from tests.pages.holding import Holding
from tests.pages.test_experiment import CB, LIFECYCLE
from tests.pages.test_signin import KEY, locked, sign_in

pytestmark = pytest.mark.system

__all__ = ["locked"]  # a fixture

LARGE = "document.querySelector('#viewer')"
RING = "crops_gt_crops/crops/test/ring/cell_001.jpg"
MODELS = r"/v1/models$"
# Drops or pastes files of these names, types and contents, or text where there are none.
_BRING = """({ files, text, event }) => {
  const transfer = new DataTransfer();
  for (const { name, type, data } of files) {
    const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  if (text) transfer.setData('text/plain', text);
  const options = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(event === 'drop'
    ? new DragEvent('drop', { ...options, dataTransfer: transfer })
    : new ClipboardEvent('paste', { ...options, clipboardData: transfer }));
}"""


@pytest.fixture
def cells(lifecycle: Path) -> list[Path]:
    """Images to bring along."""
    return sorted(lifecycle.glob("crops_gt_crops/crops/test/*/*.jpg"))[:2]


def bring(page: Page, *files: tuple[str, str, bytes], event: str = "drop", text: str = "") -> None:
    listed = [
        {"name": name, "type": kind, "data": base64.b64encode(data).decode()}
        for name, kind, data in files
    ]
    page.evaluate(_BRING, {"files": listed, "text": text, "event": event})


def image(name: str, file: Path) -> tuple[str, str, bytes]:
    return name, "image/jpeg", file.read_bytes()


def expect_shown(page: Page, stem: str) -> None:
    until(page, f"{LARGE}.facts?.image.name.includes('{stem}')")
    expect(page.locator("#shown")).to_be_visible()
    expect(page.locator("#state")).to_be_hidden()


def choose(page: Page, file: Path, name: str) -> None:
    given: FilePayload = {"name": name, "mimeType": "image/jpeg", "buffer": file.read_bytes()}
    page.locator("#file").set_input_files(files=[given])


@pytest.mark.parametrize("how", ["chosen", "drop", "paste"])
def test_an_image_that_comes_before_the_models_waits_for_them(
    page: Page, cells: list[Path], how: str
) -> None:
    held = Holding(page, MODELS)
    page.goto("/")
    held.wait()
    if how == "chosen":
        choose(page, cells[0], "early.jpg")
    else:
        bring(page, image("early.jpg", cells[0]), event=how)
    expect(page.locator("#state")).to_contain_text("early.jpg is shown as soon as")
    expect(page.locator("#live")).to_contain_text("early.jpg is shown as soon as")
    expect(page.locator("#file-name")).to_have_text("early.jpg")
    held.let_go()
    expect_shown(page, "early")
    assert page.evaluate(f"{LARGE}.facts.model.id") == page.locator("#model").input_value()


def test_a_link_that_comes_before_the_models_says_what_it_waits_for(page: Page) -> None:
    held = Holding(page, MODELS)
    page.goto(f"/?experiment={LIFECYCLE}&image={RING}&model={CB}")
    held.wait()
    expect(page.locator("#state")).to_contain_text("Waiting for the models")
    name = "/".join(RING.split("/")[-2:])
    expect(page.locator("#state")).to_contain_text(f"{name} is shown as soon as")
    held.let_go()
    expect(page.locator("#file-name")).to_have_text(name)
    expect(page.locator("#shown")).to_be_visible()


def test_the_latest_of_early_choices_wins(page: Page, cells: list[Path]) -> None:
    held = Holding(page, MODELS)
    posts: list[str] = []
    page.on(
        "request", lambda request: posts.append(request.url) if request.method == "POST" else None
    )
    page.goto("/")
    held.wait()
    choose(page, cells[0], "first.jpg")
    bring(page, image("second.jpg", cells[1]))
    held.let_go()
    expect_shown(page, "second")
    assert len(posts) == 1


def test_an_image_that_comes_while_the_key_is_asked_for_is_shown_after_it(
    open_page: Callable[..., Any], locked: Server, cells: list[Path]
) -> None:
    for refuses in (False, True):
        with open_page(url=locked.url, expected=("401",)) as page:
            expect(page.get_by_role("dialog")).to_be_visible()
            bring(page, image("early.jpg", cells[0]))
            if refuses:
                page.get_by_role("button", name="Not now").click()
                page.locator("#state").get_by_role("button", name="Sign in").click()
            sign_in(page, KEY)
            expect_shown(page, "early")


def test_the_same_file_can_be_chosen_again(page: Page, cells: list[Path]) -> None:
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    for _ in range(2):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Choose an image").click()
        chooser.value.set_files(cells[0])
        expect(page.locator("#file-name")).to_have_text(cells[0].name)
        expect_shown(page, cells[0].stem)
        page.locator("#samples button").first.click()
        expect(page.locator("#file-name")).to_have_text("falciparum/cell_001.jpg")
    assert page.evaluate("document.querySelector('#file').files.length") == 0


def test_of_several_files_the_first_is_shown_and_that_is_said(
    page: Page, cells: list[Path]
) -> None:
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    bring(page, image("one.jpg", cells[0]), image("two.jpg", cells[1]))
    said = "2 files were dropped; this shows the first, one.jpg. For many images use Jobs."
    expect(page.locator("#notice")).to_have_text(said)
    expect(page.locator("#live")).to_have_text(said)
    expect_shown(page, "one")
    page.locator("#samples button").first.click()
    expect(page.locator("#notice")).to_be_empty()


def test_what_is_no_image_file_is_said_to_be_none_and_what_is_shown_stays(
    page: Page, cells: list[Path]
) -> None:
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    bring(page, image("one.jpg", cells[0]))
    expect_shown(page, "one")
    notice = page.locator("#notice")
    bring(page, ("notes.txt", "text/plain", b"words"))
    expect(notice).to_contain_text("notes.txt is not an image file")
    bring(page, text="words")
    expect(notice).to_have_text("What was dropped is not an image file.")
    bring(page, text="words", event="paste")
    expect(notice).to_have_text("What was pasted is not an image file.")
    bring(page, ("notes.txt", "text/plain", b"words"), image("two.jpg", cells[1]))
    expect(notice).to_contain_text("this shows the first image, two.jpg")
    expect_shown(page, "two")


def test_a_dropped_folder_is_said_to_be_one(page: Page, cells: list[Path]) -> None:
    page.goto("/")
    page.locator("#samples button").first.wait_for()
    # A script cannot make a folder of a file system: what browsers say of one is set here.
    page.evaluate(
        "() => { DataTransferItem.prototype.webkitGetAsEntry = function () {"
        " return { isDirectory: true, name: this.getAsFile().name }; }; }"
    )
    bring(page, ("crops", "", b""))
    expect(page.locator("#notice")).to_contain_text("A folder cannot be shown")
    expect(page.locator("#shown")).to_be_hidden()


def test_pasting_a_key_is_no_drop(open_page: Callable[..., Any], locked: Server) -> None:
    with open_page(url=locked.url, expected=("401",)) as page:
        field = page.get_by_role("textbox", name="API key")
        field.evaluate(
            "(field) => field.dispatchEvent(new ClipboardEvent('paste',"
            " { clipboardData: new DataTransfer(), bubbles: true }))"
        )
        expect(page.locator("#notice")).to_be_empty()

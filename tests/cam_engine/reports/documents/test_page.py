"""The page: all in one file, whatever a name holds, for everybody, sortable and printable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cam_engine.reports.documents.page import page as page_of
from cam_engine.reports.report import Report
from tests.cam_engine.reports.documents.conftest import HOSTILE
from tests.pages.conftest import grave_violations, launched


class Seen(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def seen(report: Report) -> Seen:
    parser = Seen()
    parser.feed(page_of(report))
    return parser


def test_nothing_is_fetched_from_elsewhere(seen: Seen, report: Report) -> None:
    for _, attributes in seen.tags:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/", "#"))
    assert not re.search(r"https?://(?!www\.w3\.org)", page_of(report))


def test_names_are_text_and_never_markup(seen: Seen) -> None:
    assert sum(tag == "script" for tag, _ in seen.tags) == 1
    assert seen.text.count("<script>alert(1)</script>") >= 4
    alts = [attributes["alt"] for tag, attributes in seen.tags if tag == "img"]
    assert f"Tiles of {HOSTILE}." in alts


def test_all_of_the_report_is_there_and_links_lead_to_it(seen: Seen) -> None:
    for words in ("It is so.", "A limit.", "cannot tell", "0.500 [0.250, 0.750]", "A note."):
        assert words in seen.text
    ids = {attributes["id"] for _, attributes in seen.tags if "id" in attributes}
    links = [attributes["href"] or "" for tag, attributes in seen.tags if tag == "a"]
    assert links
    assert {link[1:] for link in links} <= ids


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def file(report: Report, tmp_path: Path) -> str:
    (tmp_path / "report.html").write_text(page_of(report))
    return (tmp_path / "report.html").as_uri()


def cells(page: Page, column: int) -> list[str]:
    table = page.locator("table.sortable", has_text="cell_001").first
    return table.locator(f"tbody tr td:nth-child({column})").all_inner_texts()


@pytest.mark.system
def test_a_click_sorts_by_number_and_another_the_other_way(browser: Browser, file: str) -> None:
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.goto(file)
    page.locator("summary").first.click()
    head = page.get_by_role("button", name="p", exact=True)
    for rising in (True, False):
        head.click()
        shares = [float(text.partition("%")[0]) for text in cells(page, 3)]
        assert shares == sorted(shares, reverse=not rising)
    sort = "descending"
    expect(page.locator("th", has=head)).to_have_attribute("aria-sort", sort)
    assert errors == []
    page.close()


@pytest.mark.system
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_is_for_everybody_and_nothing_scrolls_sideways(
    browser: Browser, file: str, scheme: str, width: int
) -> None:
    page = browser.new_page(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
    )
    page.goto(file)
    assert grave_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()

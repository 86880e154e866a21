"""The example portal on an origin of its own: let in, and kept out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Frame, Locator, Page, expect

from cam_engine.images.png import read_png_text
from processes.eventually import eventually_answers
from processes.redis_server import free_port
from processes.serving import Server, running
from service.pages.files import ELEMENT, static_files
from tests.pages.conftest import until

pytestmark = pytest.mark.system

KEY = "gck_key-of-the-portal"
SERVER = Path(__file__).resolve().parents[2] / "examples/portal/server.py"
VIEW = "/embed/viewer?experiment=e&image=i.jpg"
# What comes to the page, as it came.
LISTEN = """
  window.got = [];
  addEventListener("message", ({ origin, data }) => window.got.push({ origin, ...data }));
"""

# What a page's storage holds; frames of other sites may have none.
STORED = """() => {
  try { return JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]); }
  catch { return document.cookie; }
}"""


@dataclass
class Portal:
    """A running example portal, and the service that it shows."""

    url: str
    service: Server


@dataclass
class Visit:
    """A page of the portal, and what it asked for and said meanwhile."""

    page: Page
    addresses: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def frame(self) -> Frame:
        return self.page.frames[1]

    def messages(self, name: str) -> list[dict[str, Any]]:
        got: list[dict[str, Any]] = self.page.evaluate("window.got")
        return [event for event in got if event["type"] == f"gradcam:{name}"]


@contextmanager
def serving_portal(service: str, port: int) -> Iterator[str]:
    """`python examples/portal/server.py` until the block ends."""
    environment = {**os.environ, "GRADCAM_URL": service, "GRADCAM_API_KEY": KEY, "PORT": str(port)}
    process = subprocess.Popen([sys.executable, str(SERVER)], env=environment)
    url = f"http://localhost:{port}"
    try:
        eventually_answers(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextmanager
def portal_of(data: Path, scratch: Path, allowed: Callable[[str], str]) -> Iterator[Portal]:
    port = free_port()
    origins = allowed(f"http://localhost:{port}")
    settings = {"api_keys": KEY, "frame_ancestors": origins, "cors_origins": origins}
    with (
        running(data, scratch, **settings) as service,
        serving_portal(service.url, port) as url,
    ):
        yield Portal(url, service)


@pytest.fixture(scope="module")
def portal(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal that the service lets in."""
    scratch = tmp_path_factory.mktemp("portal")
    with portal_of(sample_run.parent, scratch, lambda origin: origin) as opened:
        yield opened


@pytest.fixture(scope="module")
def stranger(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal that is not on the service's lists."""
    scratch = tmp_path_factory.mktemp("stranger")
    with portal_of(sample_run.parent, scratch, lambda _: "https://portal.example") as portal:
        yield portal


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[str], Visit]]:
    """`visit(address)`: opened, with its messages kept."""
    context = browser.new_context()
    context.add_init_script(LISTEN)

    def open_at(address: str) -> Visit:
        visit = Visit(context.new_page())
        visit.page.on("request", lambda request: visit.addresses.append(request.url))
        visit.page.on(
            "console",
            lambda said: visit.errors.append(said.text) if said.type == "error" else None,
        )
        visit.page.goto(address)
        return visit

    yield open_at
    context.close()


def colours_in(page: Page | Frame) -> int:
    """Of the viewer's canvas; an empty one has one, a picture thousands."""
    colours: int = page.locator("cam-viewer canvas").first.evaluate(
        """(one) => {
          const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )
    return colours


def told(visit: Visit, name: str) -> list[dict[str, Any]]:
    """All messages of the type, once there is one."""
    until(visit.page, f"window.got.some(one => one.type === 'gradcam:{name}')", 40)
    return visit.messages(name)


def test_the_portals_page_shows_the_viewer_and_knows_its_height(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    (loaded,) = told(seen, "loaded")
    assert loaded["origin"] == portal.service.url
    assert loaded["facts"]["prediction"]["name"] == "ring"
    expect(seen.page.locator("#said")).to_have_text("ring")
    assert colours_in(seen.frame()) > 1000
    content = seen.frame().evaluate("document.body.getBoundingClientRect().height")
    until(seen.page, f"Number(document.querySelector('#view').height) === {-(-content // 1)}")
    assert content > 400
    assert seen.frame().evaluate("document.scrollingElement.scrollHeight <= innerHeight")
    assert seen.errors == []


def test_the_key_is_nowhere_and_the_token_in_no_address(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    assert any("/embed/viewer" in address for address in seen.addresses)
    everything = [seen.page.content(), seen.frame().content(), *seen.addresses]
    everything += [frame.evaluate("location.href") for frame in seen.page.frames]
    everything += [frame.evaluate(STORED) for frame in seen.page.frames]
    assert not any(KEY in text for text in everything)
    sent = [address.partition("#")[0] for address in seen.addresses]
    assert not any("gvt_" in address for address in sent)
    assert "gvt_" not in seen.frame().evaluate("location.href")
    assert "gvt_" not in portal.service.log_file.read_text()


def test_choices_in_the_frame_are_told_as_what_reopens_them(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    seen.frame().locator("cam-viewer").focus()
    seen.page.keyboard.press("3")
    state = told(seen, "change")[-1]["state"]
    assert state["layer"] == "late"
    assert state["image"].endswith("ring/cell_001.jpg")
    assert state["model"] == "cls_mobilenet_v3_small_focal"


def test_a_frame_without_a_token_asks_for_one_and_takes_it_by_message(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    # As the portal's page, but the fragment is missing: its listener hands a token over.
    seen.page.evaluate(
        """() => {
          window.got = [];
          const frame = document.querySelector("#view");
          frame.src = `${frame.src.split("#")[0]}&layer=early`;
        }"""
    )
    told(seen, "token-wanted")
    told(seen, "loaded")
    assert seen.errors == []


def test_a_token_that_does_not_hold_is_asked_for_again(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    seen.page.evaluate(
        """() => {
          window.got = [];
          const frame = document.querySelector("#view");
          frame.src = `${frame.src.split("#")[0]}&layer=mid#token=gvt_wrong`;
        }"""
    )
    assert told(seen, "error")[0]["code"] == "view-token-invalid"
    assert told(seen, "token-wanted")
    told(seen, "loaded")


def test_a_token_is_renewed_before_it_expires(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    assert seen.messages("token-wanted") == []
    seen.page.evaluate(
        """async () => {
          const { service, given } = await (await fetch("/view", { method: "POST" })).json();
          const soon = new Date(Date.now() + 2000).toISOString();
          const message = { type: "gradcam:token", ...given, expires_at: soon };
          document.querySelector("#view").contentWindow.postMessage(message, service);
        }"""
    )
    told(seen, "token-wanted")
    assert len(seen.messages("loaded")) == 1  # nothing is fetched again for it
    assert seen.errors == []


def test_tokens_are_taken_from_the_page_around_only(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    frame = seen.frame()
    frame.evaluate(
        """() => {
          window.headersBefore = JSON.stringify(document.querySelector("cam-viewer").headers);
          window.postMessage({ type: "gradcam:token", token: "gvt_other" }, "*");
          return new Promise((resolve) => setTimeout(resolve, 100));
        }"""
    )
    assert frame.evaluate(
        "JSON.stringify(document.querySelector('cam-viewer').headers) === window.headersBefore"
    )


def test_a_page_of_another_origin_sees_no_frame_and_hears_nothing(
    stranger: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(stranger.url)
    until(seen.page, "document.querySelector('#view').src !== ''")
    end = time.monotonic() + 20
    while not any("frame-ancestors" in error for error in seen.errors):
        assert time.monotonic() < end
        seen.page.wait_for_timeout(50)
    seen.page.wait_for_timeout(500)
    assert seen.frame().url.startswith("chrome-error:")
    assert seen.page.evaluate("window.got") == []
    assert not any("pages/embed.js" in address for address in seen.addresses)


def test_the_element_is_loaded_directly_from_another_origin(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(f"{portal.url}/direct.html")
    expect(seen.page.locator("#said")).to_have_text("ring", timeout=40_000)
    label = seen.page.locator("cam-viewer canvas").first.get_attribute("aria-label") or ""
    assert "ring" in label
    assert not any(KEY in text or "gvt_" in text for text in [seen.page.content(), *seen.addresses])
    assert seen.errors == []


def test_the_element_is_refused_to_origins_that_are_not_on_the_list(
    stranger: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(f"{stranger.url}/direct.html")
    expect(seen.page.locator("#said")).to_contain_text("cam-viewer.js", timeout=20_000)
    assert any("CORS" in error for error in seen.errors)
    assert not seen.page.evaluate("Boolean(customElements.get('cam-viewer'))")


def test_opened_by_itself_the_page_says_where_it_belongs(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.service.url + VIEW)
    expect(seen.page.get_by_role("status").first).to_contain_text("portal")
    assert seen.page.locator("cam-viewer").is_hidden()
    assert seen.errors == []


def test_without_keys_no_token_is_needed(site: Server, visit: Callable[[str], Visit]) -> None:
    query = "experiment=experiments/experiment_synthetic_lifecycle"
    image = "image=crops_gt_crops/crops/test/ring/cell_001.jpg"
    seen = visit(f"{site.url}/embed/viewer?{query}&{image}&service=https://evil.example")
    viewer = seen.page.locator("cam-viewer")
    until(seen.page, "Boolean(document.querySelector('cam-viewer').facts)", 40)
    assert viewer.get_attribute("service") is None
    assert seen.errors == []


def _link(seen: Visit) -> Locator:
    return seen.frame().get_by_role("button", name="Copy the link")


def test_a_frame_offers_no_link_that_needs_the_key(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    expect(seen.frame().get_by_role("button", name="Download the picture")).to_be_visible()
    expect(_link(seen)).to_be_hidden()


@pytest.mark.parametrize(
    "address", ["{portal}/slide?number=12", "https://evil.example/", "nothing"]
)
def test_a_link_leads_to_the_portals_own_page(
    portal: Portal, visit: Callable[[str], Visit], address: str
) -> None:
    seen = visit(portal.url)
    told(seen, "loaded")
    seen.page.evaluate(
        """(link) => {
          window.got = [];
          const frame = document.querySelector("#view");
          const address = new URL(frame.src);
          address.searchParams.set("link", link);
          address.searchParams.set("layer", "early");
          frame.allow = "clipboard-write";
          frame.src = address;
        }""",
        address.format(portal=portal.url),
    )
    told(seen, "loaded")
    if not address.startswith("{portal}"):
        expect(_link(seen)).to_be_hidden()
        return
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.bring_to_front()  # only the page in front may write to the clipboard
    _link(seen).click()
    expect(seen.frame().get_by_text("Copied", exact=True)).to_be_visible()
    copied = urlsplit(seen.page.evaluate("navigator.clipboard.readText()"))
    assert f"{copied.scheme}://{copied.netloc}{copied.path}" == f"{portal.url}/slide"
    query = parse_qs(copied.query)
    assert (query["number"], query["layer"]) == (["12"], ["early"])
    assert query["image"][0].endswith("ring/cell_001.jpg")
    assert "link" not in query


def test_the_element_is_made_of_files_that_other_origins_may_load(
    portal: Portal, visit: Callable[[str], Visit]
) -> None:
    """On an origin of its own, with what the service's own pages have."""
    seen = visit(f"{portal.url}/direct.html")
    expect(seen.page.locator("#said")).to_have_text("ring", timeout=40_000)
    assert colours_in(seen.page) > 1000
    scripts = [address for address in seen.addresses if "/static/" in address]
    loaded = sorted(script.partition("/static/")[2] for script in scripts)
    files = static_files()
    behind = [f"{files.version}/{module}" for module in files.modules(ELEMENT)]
    assert loaded == sorted([ELEMENT, *behind])
    for script in scripts:
        answer = httpx.get(script, headers={"Origin": portal.url})
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["Access-Control-Allow-Origin"] == portal.url
    with seen.page.expect_download() as waiting:
        seen.page.get_by_role("button", name="Download the picture").click()
    assert "Recipe" in read_png_text(waiting.value.path())
    expect(seen.page.get_by_role("button", name="Copy the link")).to_be_hidden()

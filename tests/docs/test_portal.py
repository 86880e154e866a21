"""Every code block of docs/portal.md, run in its order against a real service process."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from processes.serving import running

pytestmark = pytest.mark.system

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs" / "portal.md"
_SERVICE = "http://localhost:8000"
_PORTAL = "http://localhost:8080"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVE = re.compile(r"^((?:\w+=\S+\s+(?:\\\n\s*)?)*)gradcam serve --data (\S+)\s*$")
_PNG_START = [137, 80, 78, 71]


@dataclass(frozen=True)
class Block:
    """A code block: its language, its text, and what it prints, where the page says so."""

    line: int
    language: str
    text: str
    prints: str | None

    @property
    def starts_service(self) -> re.Match[str] | None:
        return _SERVE.match(self.text)


def _blocks() -> list[Block]:
    page = _PAGE.read_text()
    matches = list(_BLOCK.finditer(page))
    blocks = []
    for block, following in zip(matches, [*matches[1:], None], strict=True):
        directly = following and not page[block.end() : following.start()].strip()
        prints = following[2] if following and directly and following[1] == "text" else None
        if block[1] != "text":
            line = page.count("\n", 0, block.start()) + 1
            blocks.append(Block(line, block[1], block[2], prints))
    return blocks


@contextmanager
def _service(block: Block, scratch: Path, **more: str) -> Iterator[str]:
    match = block.starts_service
    assert match, block.text
    words = match[1].replace("\\\n", " ").split()
    settings = dict(word.removeprefix("GRADCAM_").split("=", 1) for word in words)
    with running(_ROOT / match[2], scratch, **{**settings, **more}) as server:
        yield server.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples are run: it holds the sample run, as the checkout does."""
    folder = tmp_path_factory.mktemp("portal")
    (folder / "sample").symlink_to(_ROOT / "sample")
    return folder


def test_shell_and_python_blocks_do_what_the_page_says(folder: Path) -> None:
    if not shutil.which("curl") or not shutil.which("bash"):
        pytest.skip("curl or bash is not here")
    address, ran = "", []
    with ExitStack() as service:
        for block in _blocks():
            if block.starts_service:
                service.close()
                address = service.enter_context(_service(block, folder))
            elif block.language in {"bash", "python"}:
                _run(block, address, folder)
                ran.append(block.language)
    assert ran.count("bash") >= 8
    assert ran.count("python") >= 8
    for picture in ("overlay", "panel", "late", "focal", "heatmap", "ring", "contact_sheet"):
        with Image.open(folder / f"{picture}.png") as image:
            image.load()


def _run(block: Block, address: str, folder: Path) -> None:
    command = {
        "bash": ["bash", "-euo", "pipefail", "-c"],
        "python": [sys.executable, "-W", "error", "-c"],
    }[block.language]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    # The commands of this Python's environment, `gradcam` among them.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, block.text.replace(_SERVICE, address)],
        cwd=folder,
        env={**inherited, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    where = f"{_PAGE.name}, line {block.line}"
    assert done.returncode == 0, f"{where}: {done.stderr or done.stdout}"
    if block.prints is not None:
        expected = _pattern(block.prints)
        assert expected.fullmatch(_lines(done.stdout)), f"{where} printed:\n{done.stdout}"


def _pattern(prints: str) -> re.Pattern[str]:
    parts = _lines(prints).split("...")
    return re.compile("[^\n]*".join(map(re.escape, parts)))


def _lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_page_blocks_show_the_overlay(folder: Path, lifecycle: Path) -> None:
    browse = _chromium if _has_chromium() else _node if shutil.which("node") else None
    if browse is None:
        pytest.skip("neither chromium with playwright nor node is here")
    blocks = _blocks()
    [start] = [block for block in blocks if block.starts_service and _PORTAL in block.text]
    [page] = [block.text for block in blocks if block.language == "html"]
    script = "\n".join(block.text for block in blocks if block.language == "js")
    cell = lifecycle.parent / "experiment_synthetic_species/crops_gt_crops/crops/test/vivax"
    port = _free_port()
    origin = f"http://127.0.0.1:{port}"
    with _service(start, folder, CORS_ORIGINS=origin) as address:
        script = f"{script.replace(_SERVICE, address)}\nexport {{ explainInOne }};\n"
        seen = browse(page, script, cell / "cell_001.jpg", folder, port)
    assert re.fullmatch(r"vivax, probability (1\.00|0\.9\d)", seen["shown"])
    assert seen["overlay"] == _PNG_START
    assert seen["name"] == "vivax"
    assert seen["source"] == "data:image/png;base64,iVBO"
    assert seen["refused"].startswith("invalid-image: ")


def _has_chromium() -> bool:
    return find_spec("playwright") is not None and shutil.which("chromium") is not None


def _node(_page: str, script: str, cell: Path, folder: Path, _port: int) -> dict[str, Any]:
    module = folder / "portal.mjs"
    module.write_text(script)
    done = subprocess.run(
        ["node", Path(__file__).with_name("page.mjs"), module, cell],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _chromium(page: str, script: str, cell: Path, folder: Path, port: int) -> dict[str, Any]:
    """The page as its portal serves it: from another origin than the service's."""
    from playwright.sync_api import expect, sync_playwright

    site = folder / "site"
    site.mkdir()
    (site / "portal.mjs").write_text(script)
    loaded = '<script type="module">window.portal = await import("./portal.mjs")</script>'
    (site / "index.html").write_text(f"<!doctype html>\n{page}\n{loaded}")
    (site / "notes.txt").write_text("no image")
    with _serving(site, port), sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        try:
            tab = browser.new_page()
            tab.goto(f"http://127.0.0.1:{port}/index.html")
            tab.wait_for_function("window.portal")
            said = tab.locator("#said")
            tab.set_input_files("#cell", cell)
            expect(said).not_to_be_empty(timeout=30_000)
            shown = said.text_content()
            answer: dict[str, Any] = tab.evaluate(
                """async () => {
                  const bytes = await (await fetch(overlay.src)).arrayBuffer();
                  const first = new Uint8Array(bytes).slice(0, 4);
                  const { name, source } = await portal.explainInOne(cell.files[0]);
                  return { overlay: [...first], name, source: source.slice(0, 26) };
                }"""
            )
            tab.set_input_files("#cell", site / "notes.txt")
            expect(said).to_contain_text(":", timeout=30_000)
            return {**answer, "shown": shown, "refused": said.text_content()}
        finally:
            browser.close()


@contextmanager
def _serving(site: Path, port: int) -> Iterator[None]:
    handler = partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = {  # noqa: RUF012 (as http.server has it)
        ".html": "text/html",
        ".mjs": "text/javascript",
        "": "text/plain",
    }

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server names it so)
        pass


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port

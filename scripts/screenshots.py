#!/usr/bin/env python
"""Pictures of the pages for the documentation, of the bundled sample run."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

_MOST_BYTES = 200_000
_START_SECONDS = 120.0
_JOB_SECONDS = 120.0
_LISTENING = re.compile(r"running on (http://[^\s\"]+)")


@contextmanager
def service(data: Path) -> Iterator[str]:
    """`gradcam up` on a free port, by its address."""
    with tempfile.TemporaryDirectory(prefix="gradcam-screenshots-") as scratch:
        log_file = Path(scratch) / "log"
        command = [sys.executable, "-m", "service", "up", "--data", str(data), "--port", "0"]
        environment = {**os.environ, "GRADCAM_OUTPUT_ROOT": f"{scratch}/output"}
        with log_file.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 (ours)
                [*command, "--state", f"{scratch}/state"], stdout=log, stderr=log, env=environment
            )
        try:
            yield _address(log_file)
        finally:
            process.terminate()
            process.wait(timeout=_START_SECONDS)


def _address(log_file: Path) -> str:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if match := _LISTENING.search(log_file.read_text()):
            return match[1]
        time.sleep(0.2)
    raise SystemExit(f"the service did not start:\n{log_file.read_text()}")


def _look(page: Page) -> None:
    page.locator("#samples button").first.click()
    page.locator("#layers > button").last.wait_for()


def _compare(page: Page) -> None:
    page.locator("#measured").wait_for()


def _experiment(page: Page) -> None:
    page.locator("main a[href*='path=']").first.click()
    page.locator(".tile").first.wait_for()


def _jobs(page: Page) -> None:
    page.locator("#submit").click()
    page.get_by_text("Done", exact=True).wait_for(timeout=_JOB_SECONDS * 1000)
    page.locator("#figures img").first.wait_for()


_PAGES = {
    "look": ("/", _look),
    "experiment": ("/experiment", _experiment),
    "compare": ("/compare", _compare),
    "jobs": ("/jobs", _jobs),
}


def _shrink(file: Path) -> None:
    """Save with as many colours as fit into _MOST_BYTES; what is not flat is dithered."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    pixels = np.asarray(image)
    flat = np.zeros(pixels.shape[:2], bool)
    flat[:, 1:] = (pixels[:, 1:] == pixels[:, :-1]).all(-1)
    for colours in (256, 160, 96, 64):
        if file.stat().st_size <= _MOST_BYTES:
            return
        palette = image.quantize(colours, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
        dithered = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        plain = image.quantize(palette=palette, dither=Image.Dither.NONE)
        dithered.paste(plain, mask=Image.fromarray(flat))
        dithered.save(file, optimize=True)


def take(browser: Browser, url: str, name: str, output: Path, width: int, height: int) -> None:
    """Save one page's picture."""
    address, prepare = _PAGES[name]
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(url + address)
    page.wait_for_load_state("networkidle")
    prepare(page)
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)  # nothing beneath the pointer
    narrow = "-narrow" if width < 600 else ""
    file = output / f"page-{name}{narrow}.png"
    page.screenshot(path=file)
    page.close()
    _shrink(file)
    print(f"{file} ({file.stat().st_size // 1000} kB)")


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("sample/results"))
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    parser.add_argument("--page", choices=_PAGES, action="append", help="default: all")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with service(options.data) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in options.page or _PAGES:
            take(browser, url, name, options.output, 1280, 960)
        if not options.page or "look" in options.page:
            take(browser, url, "look", options.output, 400, 800)
        browser.close()


if __name__ == "__main__":
    main()

"""How soon the first page can be used, and how fast a large overlay is redrawn, in Chromium."""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, sync_playwright

from benchmarks.documents import replace_block
from processes.serving import Server, running

SAMPLE = Path(__file__).resolve().parent.parent / "sample/results"
SIDE = 1024
ROUNDS = 5
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

# A page can be used once it knows its models: the choice of one is enabled.
_INTERACTIVE = """
new MutationObserver((_, observer) => {
  if (!document.querySelector('#model:enabled')) return;
  window.interactive = performance.now();
  observer.disconnect();
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
_SAMPLES = "() => document.querySelectorAll('#samples img[src^=blob]').length === 8"
_SHOWN = """() => document.querySelector('#viewer').shadowRoot.querySelector('.stage').dataset.state
  === 'ready'"""
_REDRAWS = """() => {
  const viewer = document.querySelector('#viewer');
  const context = viewer.shadowRoot.querySelector('canvas').getContext('2d');
  const times = [];
  for (let i = 0; i < 30; i += 1) {
    viewer.setAttribute('opacity', String(0.4 + i / 100));
    const start = performance.now();
    viewer.draw();
    context.getImageData(0, 0, 1, 1);  // drawing may be put off until pixels are wanted
    times.push(performance.now() - start);
  }
  return times;
}"""


def main() -> None:
    """Measure, print, and write the block of a document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="document with a block named pages")
    arguments = parser.parse_args()
    chromium = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    if chromium is None:
        parser.error("no Chromium on the PATH (apt install chromium)")
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(SAMPLE, Path(scratch)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        first = [seconds_until_interactive(browser, server) for _ in range(ROUNDS)]
        redraws = [redraw_ms(browser, server) for _ in range(ROUNDS)]
    lines = [
        f"The first page can be used after {statistics.median(first):.2f} s"
        f" ({min(first):.2f} to {max(first):.2f}, {ROUNDS} times, nothing cached).",
        "",
        f"An overlay of {SIDE} x {SIDE} px is drawn anew in {statistics.median(redraws):.1f} ms"
        f" ({min(redraws):.1f} to {max(redraws):.1f}, medians of 30 in {ROUNDS} pages).",
    ]
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "pages", lines)


def seconds_until_interactive(browser: Browser, server: Server) -> float:
    """From the start of navigation until a model can be chosen, in a browser without a cache."""
    page = browser.new_context(base_url=server.url).new_page()
    page.add_init_script(_INTERACTIVE)
    page.goto("/")
    page.wait_for_function(_SAMPLES)
    seconds = float(page.evaluate("window.interactive")) / 1000
    page.context.close()
    return seconds


def redraw_ms(browser: Browser, server: Server) -> float:
    """Median time to draw the overlay on a noise image at another opacity."""
    page = browser.new_context(base_url=server.url, bypass_csp=True).new_page()
    page.goto("/")
    page.wait_for_function("() => document.querySelector('#model:enabled')")
    _bring(page)
    page.wait_for_function(_SHOWN, timeout=60_000)
    page.wait_for_load_state("networkidle")
    times: list[float] = page.evaluate(_REDRAWS)
    median = statistics.median(times)
    page.context.close()
    return median


def _bring(page: Page) -> None:
    coarse = np.random.default_rng(3).integers(0, 256, (9, 9, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((SIDE, SIDE)).save(buffer, "PNG")
    noise: FilePayload = {"name": "noise.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.locator("#file").set_input_files(files=[noise])


if __name__ == "__main__":
    main()

"""A <cam-viewer> on a page of a real browser, and what is asked of it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, Route

POST = "**/v1/explanations"
CELL = "crops_gt_crops/crops/test/schizont/cell_001.jpg"

_INSERT = """async (attributes) => {
  if (!customElements.get('cam-viewer')) {
    const script = Object.assign(document.createElement('script'),
      { type: 'module', src: '/static/cam-viewer.js' });
    document.head.append(script);
    await customElements.whenDefined('cam-viewer');
  }
  const viewer = document.createElement('cam-viewer');
  window.heard = [];
  for (const name of ['load', 'error', 'change', 'navigate', 'transform', 'cursor'])
    viewer.addEventListener(`cam-${name}`, (event) => window.heard.push([name, event.detail]));
  for (const [name, value] of Object.entries(attributes)) viewer.setAttribute(name, value);
  window.viewer = viewer;
  document.body.replaceChildren(viewer);
}"""
_SETTLED = (
    "() => ['ready', 'error'].includes(viewer.shadowRoot.querySelector('.stage').dataset.state)"
)
_UPLOAD = """(data) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  viewer.file = new File([bytes], 'cell.png', { type: 'image/png' });
}"""
_PIXELS = """() => {
  viewer.draw();
  const canvas = viewer.shadowRoot.querySelector('canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let text = '';
  for (let i = 0; i < data.length; i += 8192)
    text += String.fromCharCode(...data.subarray(i, i + 8192));
  return [canvas.width, canvas.height, btoa(text)];
}"""

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.int16]]


def experiment_of(folder: Path) -> str:
    """The id of a bundled experiment."""
    return f"experiments/{folder.name}"


def insert(page: Page, **attributes: str) -> None:
    """Make a viewer the only thing on the page; `viewer` and `heard` are there for scripts."""
    page.evaluate(_INSERT, attributes)


def settled(page: Page) -> None:
    """Wait until the viewer shows an explanation or says why not."""
    page.wait_for_function(_SETTLED)


def show(page: Page, **attributes: str) -> None:
    """Insert a viewer and wait for what it shows."""
    insert(page, **attributes)
    settled(page)


def upload(page: Page, image: bytes, **attributes: str) -> None:
    """Insert a viewer, give it a file, and wait."""
    insert(page, **attributes)
    page.evaluate(_UPLOAD, base64.b64encode(image).decode())
    page.wait_for_function(
        "() => viewer.shadowRoot.querySelector('.stage').dataset.state !== 'empty'"
    )
    settled(page)


def drawn(page: Page) -> Pixels:
    """(H, W, 3): the pixels of its canvas, after drawing."""
    width, height, text = page.evaluate(_PIXELS)
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return data.reshape(height, width, 4)[..., :3].astype(np.int16)


def decoded(png: bytes) -> Pixels:
    """(H, W, 3): the pixels of a PNG."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def png_of(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """An image file of (H, W, 3) pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise(width: int, height: int) -> bytes:
    """An image file of soft coloured noise."""
    coarse = np.random.default_rng(3).integers(0, 256, (9, 9, 3), np.uint8)
    return png_of(np.asarray(Image.fromarray(coarse).resize((width, height))))


def requests_of(page: Page) -> list[str]:
    """A list that the method and path of each request to the API from now on is put into."""
    requests: list[str] = []

    def notice(method: str, address: str) -> None:
        if "/v1/" in address:
            requests.append(f"{method} /v1/{address.partition('/v1/')[2]}")

    page.on("request", lambda request: notice(request.method, request.url))
    return requests


class Held:
    """Requests to explain something, until they are let go."""

    def __init__(self, page: Page) -> None:
        self.page, self.routes = page, list[Route]()
        page.route(POST, self._hold)

    def _hold(self, route: Route) -> None:
        self.routes.append(route)

    def let_go(self) -> None:
        """Let the first one go on, once it is there, and all others; none is held any more."""
        while not self.routes:
            self.page.wait_for_timeout(20)
        for route in self.routes:
            route.continue_()
        self.page.unroute(POST)

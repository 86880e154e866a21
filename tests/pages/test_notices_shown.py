"""What was assumed of an image's pixels, beneath its picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.pages.conftest import grave_violations, until

BENEATH = "\u26a0 Transparency: the colours beneath it were read."


def transparent(cell: Path) -> bytes:
    """The cell with a transparent part, as a PNG."""
    colours = np.asarray(Image.open(cell).convert("RGB"))
    alpha = np.full(colours.shape[:2], 255, np.uint8)
    alpha[: len(alpha) // 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([colours, alpha])).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_notice_stands_beneath_the_picture(page: Page, lifecycle: Path) -> None:
    cell = lifecycle / "crops_gt_crops/crops/test/schizont/cell_001.jpg"
    page.goto("/")
    files: FilePayload = {"name": "cell.png", "mimeType": "image/png", "buffer": transparent(cell)}
    page.locator("#file").set_input_files(files)
    until(page, "document.querySelector('#viewer').facts != null")
    expect(page.locator("#viewer .assumed").first).to_have_text(BENEATH)
    expect(page.locator(".assumed:visible")).to_have_count(1)
    assert grave_violations(page) == []
    plain: FilePayload = {"name": "cell.jpg", "mimeType": "image/jpeg", "buffer": cell.read_bytes()}
    page.locator("#file").set_input_files(plain)
    until(page, "document.querySelector('#viewer').facts.image.name == 'cell.jpg'")
    expect(page.locator(".assumed:visible")).to_have_count(0)

"""What <cam-viewer> shows of a file before it is explained, and of large ones afterwards."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from processes.serving import Server
from tests.pages.conftest import until
from tests.pages.viewing import Held, decoded, drawn, insert, noise, requests_of, settled

_GIVE = """([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  viewer.file = new File([bytes], name);
}"""
_INPUT = """() => {
  const input = Object.assign(document.createElement('input'), { type: 'file', id: 'file' });
  input.addEventListener('change', () => { viewer.file = input.files[0]; });
  document.body.append(input);
}"""
_PREVIEW = """() => {
  const canvas = viewer.shadowRoot.querySelector('.preview');
  if (!canvas) return null;
  const { width, height } = canvas;
  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
  const at = (x, y) => [...data.subarray(4 * (y * width + x)).subarray(0, 3)];
  return { size: [width, height], first: at(2, 2), last: at(width - 3, height - 3),
    opacity: getComputedStyle(canvas).opacity };
}"""


@pytest.fixture
def bare(open_page: Callable[..., Any]) -> Iterator[Page]:
    """A page with a viewer that shows nothing."""
    with open_page("/docs", expected=("415", "422", "400")) as page:
        insert(page)
        yield page


def _give(page: Page, data: bytes, name: str = "cell.png") -> None:
    page.evaluate(_GIVE, [base64.b64encode(data).decode(), name])


def _saved(pixels: np.ndarray[Any, Any], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def _shows(page: Page, size: tuple[int, int]) -> dict[str, Any]:
    condition = f"[...Object.values(({_PREVIEW})()?.size ?? [])].join() === '{size[0]},{size[1]}'"
    until(page, condition)
    preview: dict[str, Any] = page.evaluate(_PREVIEW)
    return preview


def test_a_file_is_shown_while_it_is_explained(bare: Page) -> None:
    held = Held(bare)
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:, :45] = (200, 40, 40)
    _give(bare, _saved(pixels, "PNG"))
    preview = _shows(bare, (90, 60))
    assert (preview["first"], preview["last"]) == ([200, 40, 40], [0, 0, 0])
    assert float(preview["opacity"]) < 0.6
    expect(bare.get_by_text("Explaining …").first).to_be_visible()
    expect(bare.get_by_text("The model looks at the image.")).to_be_hidden()
    expect(bare.get_by_role("button", name="Zoom in")).to_be_hidden()
    stage = bare.locator("cam-viewer .stage").bounding_box()
    assert stage is not None
    assert abs(stage["width"] / stage["height"] - 1.5) < 0.02
    held.let_go()
    settled(bare)
    bare.wait_for_function("() => viewer.facts !== null")
    assert bare.evaluate(_PREVIEW) is None
    expect(bare.get_by_role("img")).to_be_visible()


def test_it_is_shown_upright(bare: Page) -> None:
    held = Held(bare)
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: to be turned to the right
    _give(bare, _saved(pixels, "JPEG", exif=exif), "cell.jpg")
    preview = _shows(bare, (40, 80))
    assert min(preview["first"]) > 200
    assert max(preview["last"]) < 50
    held.let_go()
    bare.wait_for_function("() => viewer.facts !== null")
    assert bare.evaluate("[viewer.maps.width, viewer.maps.height]") == [40, 80]


def test_what_the_browser_cannot_decode_waits_with_words(bare: Page) -> None:
    held = Held(bare)
    _give(bare, _saved(decoded(noise(50, 40)).astype(np.uint8), "TIFF"), "cell.tif")
    expect(bare.get_by_text("The model looks at the image.").first).to_be_visible()
    held.let_go()
    bare.wait_for_function("() => viewer.facts !== null")
    assert bare.evaluate(_PREVIEW) is None


def test_another_file_takes_the_place_of_the_one_before(bare: Page) -> None:
    _give(bare, noise(64, 64))
    bare.wait_for_function("() => viewer.facts !== null")
    caption = bare.locator("cam-viewer .prediction")
    expect(caption).to_be_visible()
    held = Held(bare)
    _give(bare, noise(120, 40), "other.png")
    _shows(bare, (120, 40))
    expect(bare.get_by_role("img")).to_be_hidden()
    expect(caption).to_be_hidden()
    held.let_go()
    bare.wait_for_function("() => viewer.maps.width === 120")
    held = Held(bare)
    bare.evaluate("viewer.setAttribute('method', 'gradcam')")
    expect(bare.get_by_text("Explaining …").first).to_be_visible()
    assert bare.evaluate(_PREVIEW) is None  # the same image: its overlay stays, dimmed
    expect(bare.get_by_role("img")).to_be_visible()
    held.let_go()
    bare.wait_for_function("() => viewer.facts.options.method === 'gradcam'")


def test_viewers_of_one_file_decode_it_once(bare: Page) -> None:
    bare.evaluate(
        "() => { window.files = 0; const { createImageBitmap } = window;"
        " window.createImageBitmap = (source, ...rest) => {"
        " if (source instanceof File) window.files += 1;"
        " return createImageBitmap(source, ...rest); };"
        " window.other = document.createElement('cam-viewer');"
        " other.setAttribute('method', 'gradcam'); document.body.append(other); }"
    )
    held = Held(bare)
    _give(bare, noise(90, 60))
    bare.evaluate("() => { other.file = viewer.file; }")
    _shows(bare, (90, 60))
    until(bare, "Boolean(other.shadowRoot.querySelector('.preview'))")
    assert bare.evaluate("window.files") == 1
    while len(held.routes) < 2:
        bare.wait_for_timeout(20)
    held.let_go()
    bare.wait_for_function("() => viewer.facts !== null && other.facts !== null")
    bare.evaluate(
        "async () => { const small = document.createElement('cam-viewer');"
        " small.file = viewer.file; document.body.append(small);"
        " await new Promise((done) => small.addEventListener('cam-load', done)); }"
    )
    assert bare.evaluate("window.files") == 1


def test_what_cannot_be_explained_is_not_shown_as_if_it_were(bare: Page) -> None:
    _give(bare, noise(64, 64)[:-200] + b"\0" * 200)
    expect(bare.get_by_role("button", name="Try again")).to_be_visible()
    assert bare.evaluate(_PREVIEW) is None


def test_maps_are_made_for_the_layer_that_is_shown(bare: Page) -> None:
    asked = requests_of(bare)
    _give(bare, noise(300, 200))
    bare.wait_for_function("() => viewer.facts !== null")
    bare.wait_for_load_state("networkidle")
    made = "Object.values(viewer.maps.layers).map((one) => one.bytes > 4 * 300 * 200)"
    assert bare.evaluate(made) == [False, False, False, True]
    bare.evaluate("() => { viewer.setAttribute('layer', 'early'); viewer.draw(); }")
    assert bare.evaluate(made) == [True, False, False, True]
    digest = bare.evaluate("viewer.facts.digest")
    image = f"GET /v1/explanations/{digest}/image?enhanced="
    assert sorted(address for address in asked if "models" not in address) == sorted(
        ["POST /v1/explanations", f"{image}false", f"{image}true"]
    )


@pytest.mark.system
def test_a_field_of_a_microscope(bare: Page, site: Server, tmp_path: Path) -> None:
    """8000 x 6000 px: asked for three times in all, and drawn as the service draws it."""
    coarse = np.random.default_rng(7).integers(0, 256, (60, 80, 3), np.uint8)
    file = tmp_path / "field.jpg"
    Image.fromarray(coarse).resize((8000, 6000), Image.Resampling.BICUBIC).save(file, quality=90)
    bare.evaluate(_INPUT)
    asked = requests_of(bare)
    held = Held(bare)
    bare.locator("#file").set_input_files(file)
    until(bare, f"({_PREVIEW})() !== null")
    width, height = bare.evaluate(_PREVIEW)["size"]
    assert (width, abs(height - 768) <= 1) == (1024, True)
    held.let_go()
    bare.wait_for_function("() => viewer.facts !== null", timeout=90_000)
    bare.wait_for_load_state("networkidle")
    assert len([address for address in asked if "models" not in address]) == 3
    with site.client() as client:
        for layer in ("early", "mid", "late", "fused"):
            bare.evaluate("(layer) => { viewer.state = { layer }; }", layer)
            answer = client.post(
                "/v1/explanations",
                files={"image": ("field.jpg", file.read_bytes())},
                data={"layer": layer},
            )
            assert answer.status_code == httpx.codes.OK
            expected, found = decoded(answer.content), drawn(bare)
            assert found.shape == expected.shape == (1536, 2048, 3)
            assert np.abs(found - expected).max() <= 2

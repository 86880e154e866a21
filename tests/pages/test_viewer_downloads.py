"""What <cam-viewer> hands out: pictures that say how they were made, and links."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from cam_engine.images.png import is_whole_png, read_png_text
from processes.serving import Server
from tests.pages.viewing import CELL, decoded, drawn, experiment_of, noise, png_of, show, upload

pytestmark = pytest.mark.system

_STEM = "cell_001_cls_mobilenet_v3_small_cb_schizont"
_TEXTS = """() => {
  window.texts = [];
  const { prototype } = CanvasRenderingContext2D;
  const { fillText } = prototype;
  prototype.fillText = function (text, ...place) {
    window.texts.push(text);
    fillText.call(this, text, ...place);
  };
}"""
_WITH_TEXT = """async ([png, text]) => {
  const { withText } = await import('/static/viewer/downloads/png-text.js');
  const bytes = Uint8Array.from(atob(png), (one) => one.charCodeAt(0));
  const written = await withText(new Blob([bytes]), text);
  return btoa(String.fromCharCode(...new Uint8Array(await written.arrayBuffer())));
}"""


@pytest.fixture
def bare(open_page: Callable[..., Any]) -> Iterator[Page]:
    """A page to put a viewer on."""
    with open_page("/docs", viewport={"width": 1280, "height": 900}) as page:
        page.evaluate(_TEXTS)
        yield page


@pytest.fixture
def view(bare: Page, lifecycle: Path) -> Page:
    """A page with a viewer on a bundled image."""
    show(bare, experiment=experiment_of(lifecycle), image=CELL)
    bare.wait_for_load_state("networkidle")
    return bare


def _download(page: Page, name: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def _picture(page: Page) -> tuple[str, bytes]:
    page.evaluate("window.texts.length = 0")
    return _download(page, "Download the picture")


def _texts(page: Page) -> str:
    return " ".join(page.evaluate("window.texts"))


def test_the_picture_says_how_it_was_made(view: Page, site: Server, tmp_path: Path) -> None:
    state = {"layer": "late", "opacity": "0.8", "threshold": "0.1", "colormap": "viridis"}
    view.evaluate("(state) => { viewer.state = state; }", state | {"zoom": "2,0.5,0.5"})
    name, png = _picture(view)
    assert name == f"{_STEM}_gradcam++_late.png"
    (tmp_path / name).write_bytes(png)
    assert is_whole_png(tmp_path / name)
    text = read_png_text(png)
    fields = {"experiment": view.evaluate("viewer.getAttribute('experiment')"), "image": CELL}
    with site.client() as client:
        own = client.post("/v1/explanations", json={**fields, "layer": "late"}).content
    assert {name: text[name] for name in text if name != "View"} == read_png_text(own)
    recipe = json.loads(text["Recipe"])
    facts = view.evaluate("viewer.facts")
    assert recipe["grid"] == [7, 7]
    assert recipe["image_sha256"] == facts["image"]["sha256"]
    assert recipe["facts"]["model_sha256"] == facts["model"]["sha256"]
    assert json.loads(text["View"]) == {
        "drawn": "in the viewer",
        "opacity": 0.8,
        "threshold": 0.1,
        "colormap": "viridis",
        "mode": "colour",
        "base": "original",
        "overlay": True,
        "grid": False,
        "zoom": {"scale": 2, "x": 0.5, "y": 0.5},
    }


def test_the_picture_has_the_screens_size_and_a_caption(view: Page) -> None:
    shown = view.evaluate("viewer.shadowRoot.querySelector('.stage').clientWidth")
    assert shown > 2 * 224
    _, png = _picture(view)
    picture = decoded(png)
    assert picture.shape[1] == shown
    assert picture.shape[0] > shown + 100
    small = np.asarray(Image.fromarray(picture[:shown].astype(np.uint8)).resize((224, 224)))
    assert np.abs(small.astype(int) - drawn(view)).mean() < 3
    said = _texts(view)
    prediction = view.evaluate("viewer.facts.prediction")
    for words in (
        f"Predicted {prediction['name']}, ",
        "True class: schizont",
        "Explained: schizont",
        "Fused: ",
        "class-aware · 28 \N{MULTIPLICATION SIGN} 28 cells",
        "cls_mobilenet_v3_small_cb",
        "s maximum",
        "100 %",
    ):
        assert words in said
    bar = picture[shown + 18, 20:-20]
    assert len(np.unique(bar, axis=0)) > 200


def test_contours_and_other_views_are_said(view: Page) -> None:
    view.evaluate(
        "() => { viewer.state = { mode: 'contour', threshold: '0.3', zoom: '2,0.5,0.5' }; }"
    )
    name, png = _picture(view)
    assert name.endswith("_class-aware_fused.png")
    said = _texts(view)
    assert "Lines at 25, 50, 75 % of the maximum · below 30 % hidden · a part of the image" in said
    assert json.loads(read_png_text(png)["View"])["mode"] == "contour"
    assert len(np.unique(decoded(png)[:300].reshape(-1, 3), axis=0)) > 100


def test_a_map_without_evidence_is_called_that(bare: Page, sample_run: Path) -> None:
    (species,) = sample_run.glob("experiments/*_species")
    model = f"{experiment_of(species)}/cls_mobilenetv3_small_050_cb"
    grey = np.full((64, 64, 3), 128, np.uint8)
    upload(bare, png_of(grey), model=model, target="malariae", method="gradcam", layer="late")
    _picture(bare)
    assert "No positive evidence for this class in this layer." in _texts(bare)


@pytest.mark.parametrize(("size", "wanted"), [((30, 400), None), ((2500, 300), 2048)])
def test_pictures_are_at_least_their_own_size(
    bare: Page, size: tuple[int, int], wanted: int | None
) -> None:
    upload(bare, noise(*size))
    _, png = _picture(bare)
    picture = decoded(png)
    stage = bare.evaluate("viewer.shadowRoot.querySelector('.stage').clientWidth")
    assert picture.shape[1] == (wanted or max(stage, 420))
    assert max(picture.shape) < 2048 + 400


def test_text_of_all_languages_is_written(bare: Page) -> None:
    text = {"Class": "Größe 疟疾", "Plain": "a" * 3000, "Empty": ""}
    png = base64.b64encode(noise(20, 10)).decode()
    written = base64.b64decode(bare.evaluate(_WITH_TEXT, [png, text]))
    assert read_png_text(written) == text
    np.testing.assert_array_equal(decoded(written), decoded(base64.b64decode(png)))


def test_panel_and_array_have_telling_names(view: Page, site: Server) -> None:
    name, panel = _download(view, "Download the panel")
    assert name == f"{_STEM}_gradcam++_panel.png"
    assert decoded(panel).shape[1] > 1000
    name, npy = _download(view, "Download the maps")
    assert name == f"{_STEM}_gradcam++_maps.npy"
    digest = view.evaluate("viewer.facts.digest")
    with site.client() as client:
        answer = client.get(f"/v1/explanations/{digest}", headers={"Accept": "application/x-npy"})
    assert answer.status_code == httpx.codes.OK
    maps = np.load(io.BytesIO(npy))
    np.testing.assert_array_equal(maps, np.load(io.BytesIO(answer.content)))
    late = np.array(view.evaluate("[...viewer.maps.layers.late.values]")).reshape(224, 224)
    assert np.abs(maps[2] / 65535 - late).max() < 1e-4


def test_an_array_that_was_forgotten_is_made_again(
    open_page: Callable[..., Any], lifecycle: Path
) -> None:
    body = json.dumps({"code": "explanation-gone", "title": "Explanation is gone"})

    def gone(route: Route) -> None:
        route.fulfill(status=410, content_type="application/problem+json", body=body)

    with open_page("/docs", expected=("410",)) as page:
        show(page, experiment=experiment_of(lifecycle), image=CELL, method="gradcam")
        page.wait_for_load_state("networkidle")
        page.route(re.compile("/v1/explanations/[0-9a-f]+$"), gone)
        name, npy = _download(page, "Download the maps")
        assert name == f"{_STEM}_gradcam_maps.npy"
        assert np.load(io.BytesIO(npy)).shape == (4, 224, 224)


def test_names_are_made_of_what_files_may_be_called(bare: Page) -> None:
    made = bare.evaluate(
        "async () => { const { fileName } = await import('/static/viewer/downloads/downloads.js');"
        " const parts = ['a b/c', '', '..x', 'Größe', 'gradcam++'];"
        " return [fileName(parts, '.png'), fileName([], '.npy')]; }"
    )
    assert made == ["a_b_c_x_Größe_gradcam++.png", "image.npy"]


def test_where_a_link_leads_can_be_said(view: Page) -> None:
    view.context.grant_permissions(["clipboard-read", "clipboard-write"])
    link = view.get_by_role("button", name="Copy the link")

    def copied() -> str:
        link.click()
        expect(view.get_by_text("Copied", exact=True)).to_be_visible()
        return str(view.evaluate("navigator.clipboard.readText()"))

    assert "/?experiment=" in copied()
    view.evaluate("() => { viewer.linkTo = (query) => `https://portal.example/?${query}&own=1`; }")
    address = copied()
    assert address.startswith("https://portal.example/?experiment=")
    assert address.endswith("&own=1")
    view.evaluate("() => { viewer.linkTo = null; }")
    expect(link).to_be_hidden()
    view.evaluate("() => { viewer.linkTo = undefined; }")
    expect(link).to_be_visible()
    view.evaluate(
        "() => { const early = document.createElement('cam-viewer'); early.linkTo = null;"
        " window.early = early; }"
    )
    assert view.evaluate("early.shadowRoot.querySelector('button[aria-label^=Copy]').hidden")

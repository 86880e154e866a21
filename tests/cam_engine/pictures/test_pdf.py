from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from cam_engine.images.png import is_whole_png, read_png_text
from cam_engine.options import CamOptions
from cam_engine.pictures.paper import save_paper_figure
from cam_engine.pictures.rendering import full_size_map
from cam_engine.pictures.wording import FigureFacts
from cam_engine.results import ClassScore, Explanation, FloatMap, LayerMap, RgbImage

Inputs = tuple[RgbImage, RgbImage, Explanation, dict[str, FloatMap], CamOptions, FigureFacts]
TEXT = {"Recipe": '{"class": "кольцо"}', "Software": "gradcam 1"}


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    values = np.random.default_rng(0).random((7, 7), dtype=np.float32)
    layers = (
        LayerMap("early", "layer2", "gradcam++", values, 1.0),
        LayerMap("late", "layer4", "gradcam++", values * 0, 0.0),
    )
    scores = ClassScore(0, "кольцо $x_1$", 0.7), ClassScore(1, "schizont", 0.3)
    answer = Explanation(scores[0], scores, layers, scores[1])
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    maps = {layer.name: full_size_map(layer, (40, 50)) for layer in layers}
    facts = FigureFacts("image", "cls_resnet50_ce", "schizont")
    return image, image, answer, maps, CamOptions(), facts


def pdf(inputs: Inputs) -> bytes:
    buffer = io.BytesIO()
    save_paper_figure(buffer, *inputs, format="pdf", dpi=100, text=TEXT)
    return buffer.getvalue()


def test_a_pdf_embeds_its_fonts_as_truetype(inputs: Inputs) -> None:
    data = pdf(inputs)
    assert data.startswith(b"%PDF")
    assert data.rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in data
    assert b"/Type3" not in data


def test_a_pdf_is_seven_inches_wide_and_says_how_it_was_made(inputs: Inputs) -> None:
    data = pdf(inputs)
    assert b"/MediaBox [ 0 0 504 " in data
    assert "кольцо".encode("utf-16-be") in data
    assert b"/CreationDate" not in data


def information(data: bytes, name: str) -> str:
    """A text of a PDF's information dictionary, in which brackets are escaped."""
    match = re.search(rb"/%s \((.*?)(?<!\\)\)" % name.encode(), data, re.DOTALL)
    assert match is not None
    text = re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL)
    return text.decode("utf-16" if text.startswith(b"\xfe\xff") else "latin-1")


def test_a_pdf_has_a_title_and_a_subject_for_people(inputs: Inputs) -> None:
    data = pdf(inputs)
    assert information(data, "Title") == "image: predicted кольцо $x_1$, probability 0.70"
    subject = "Class activation maps of кольцо $x_1$ by cls_resnet50_ce: early, late"
    assert information(data, "Subject") == subject
    assert '"class": "кольцо"' in information(data, "Keywords")
    assert information(data, "Creator") == "gradcam 1"


def test_equal_inputs_give_equal_files(inputs: Inputs) -> None:
    assert pdf(inputs) == pdf(inputs)


def test_matplotlibs_settings_are_left_as_they_were(inputs: Inputs) -> None:
    before = dict(mpl.rcParams)
    pdf(inputs)
    assert dict(mpl.rcParams) == before


def test_worker_threads_may_draw_at_the_same_time(inputs: Inputs) -> None:
    expected = pdf(inputs)
    with ThreadPoolExecutor(2) as pool:
        assert all(data == expected for data in pool.map(lambda _: pdf(inputs), range(3)))


@pytest.mark.parametrize("dpi", [150, 300])
def test_a_png_states_its_resolution_and_has_it(inputs: Inputs, tmp_path: Path, dpi: int) -> None:
    path = tmp_path / "figure.png"
    save_paper_figure(path, *inputs, format="png", dpi=dpi, text=TEXT)
    assert is_whole_png(path)
    assert read_png_text(path) == TEXT
    with Image.open(path) as image:
        assert image.width == 7 * dpi
        assert image.info["dpi"] == pytest.approx((dpi, dpi), abs=0.02)

"""What was assumed of an image's pixels, in answers; how callers may have them read otherwise."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from cam_engine.images.png import read_png_text
from processes.serving import running
from service.commands.arguments import main as gradcam
from tests.service.asking import CB, JSON, LIFECYCLE, facts, pixels, post_image, sound

BENEATH = "Transparency: the colours beneath it were read"


def transparent(cell: Path) -> bytes:
    """The cell as a PNG whose surroundings are transparent."""
    colours = np.asarray(Image.open(cell).convert("RGB"))
    alpha = np.full(colours.shape[:2], 255, np.uint8)
    alpha[: len(alpha) // 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([colours, alpha])).save(buffer, "PNG")
    return buffer.getvalue()


def test_an_answer_says_what_was_assumed(http: httpx.Client, cell: Path) -> None:
    answer = facts(post_image(http, transparent(cell), model=CB, headers=JSON))
    assert answer["notices"] == [BENEATH]
    assert answer["image"]["decoding"]["alpha"] == "beneath"
    assert answer["image"]["decoding"]["words"] == f"PNG, 8 bits; {BENEATH}"
    place = f"/v1/explanations/{answer['digest']}/image?enhanced=false"
    beneath = pixels(sound(http.get(place)).content)
    np.testing.assert_array_equal(beneath, np.asarray(Image.open(cell).convert("RGB")))
    plain = facts(post_image(http, cell, model=CB, headers=JSON))
    assert plain["notices"] == []
    assert plain["prediction"]["index"] == answer["prediction"]["index"]


def test_pictures_say_it_in_a_header_and_the_command_in_a_line(
    http: httpx.Client, cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = sound(post_image(http, transparent(cell), model=CB))
    assert unquote(answer.headers["X-Gradcam-Notices"]) == BENEATH
    assert "X-Gradcam-Notices" not in sound(post_image(http, cell, model=CB)).headers
    image, url = tmp_path / "cell.png", str(http.base_url)
    image.write_bytes(transparent(cell))
    words = ["explain", str(image), "--url", url, "-o", str(tmp_path / "overlay.png")]
    assert gradcam([*words, "--background", "black"]) == 0
    assert "notice: Transparency was laid on black" in capsys.readouterr().out


def test_a_background_is_another_answer(http: httpx.Client, cell: Path) -> None:
    image = transparent(cell)
    beneath = facts(post_image(http, image, model=CB, headers=JSON))
    white = facts(post_image(http, image, model=CB, background="white", headers=JSON))
    assert white["digest"] != beneath["digest"]
    assert white["notices"] == ["Transparency was laid on white"]
    place = f"/v1/explanations/{white['digest']}/image?enhanced=false"
    assert (pixels(sound(http.get(place)).content)[0] == 255).all()
    panel = sound(post_image(http, image, model=CB, background="white", view="panel"))
    text = read_png_text(panel.content)
    assert text["Decoding"] == "PNG, 8 bits; Transparency was laid on white"
    assert json.loads(text["Recipe"])["facts"]["options"]["decoding"]["background"] == "white"


def test_a_page_may_be_asked_for(http: httpx.Client, cell: Path) -> None:
    colours = Image.open(cell).convert("RGB")
    buffer = io.BytesIO()
    turned = colours.rotate(180)
    colours.save(buffer, "TIFF", save_all=True, append_images=[turned])
    data = buffer.getvalue()
    first = facts(post_image(http, data, model=CB, headers=JSON))
    assert first["notices"] == ["Page 1 of 2 was read"]
    second = facts(post_image(http, data, model=CB, page=2, headers=JSON))
    assert second["image"]["decoding"]["page"] == 2
    place = f"/v1/explanations/{second['digest']}/image?enhanced=false"
    np.testing.assert_array_equal(pixels(sound(http.get(place)).content), np.asarray(turned))
    beyond = post_image(http, data, model=CB, page=3, headers=JSON)
    assert (beyond.status_code, beyond.json()["code"]) == (422, "page-not-found")
    assert "page 3 was asked for, but the file has 2 pages" in beyond.json()["detail"]
    assert post_image(http, data, model=CB, page=0).status_code == 422
    assert post_image(http, data, model=CB, intensity="loud").status_code == 422


@pytest.fixture
def deep(sample_run: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    """A service on an experiment of 16-bit crops, of which one alone needs 12 bits."""
    source = sample_run / LIFECYCLE
    target = tmp_path / "data" / LIFECYCLE
    shutil.copytree(source, target)
    crops = sorted((target / "crops_gt_crops/crops/test").glob("*/*.jpg"))
    for number, crop in enumerate(crops):
        if number < 3:
            grey = np.asarray(Image.open(crop).convert("L")).astype(int)
            samples = (grey * (4000 if number else 900) // 255).astype(np.uint16)
            cv2.imwrite(str(crop.with_suffix(".tif")), samples)
        crop.unlink()
    dim = min((target / "crops_gt_crops/crops/test").glob("*/*.tif"))
    link = target / "crops_gt_crops/crops/test/ring/link.tif"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(dim)
    with running(tmp_path / "data", tmp_path) as started, started.client() as client:
        yield client


def test_images_of_an_experiment_are_read_by_its_depth(deep: httpx.Client) -> None:
    listed = sound(deep.get(f"/v1/experiments/{LIFECYCLE}/images")).json()["images"]
    dim = listed[0]["path"]
    for body in (
        {"experiment": LIFECYCLE, "image": dim},
        {"image": f"{LIFECYCLE}/{dim}", "model": CB},
        {"experiment": LIFECYCLE, "image": "crops_gt_crops/crops/test/ring/link.tif"},
    ):
        answer = facts(deep.post("/v1/explanations", json=body, headers=JSON))
        said = "16 bits scaled by 12 bits (the folder's largest sample)"
        assert answer["notices"] == [said]
    asked = {"model": answer["model"]["id"], "limit": "3"}
    page = sound(deep.get(f"/v1/experiments/{LIFECYCLE}/predictions", params=asked)).json()
    [predicted] = [prediction for prediction in page["predictions"] if prediction["image"] == dim]
    assert predicted["predicted"] == answer["prediction"]["name"]
    assert predicted["probability"] == pytest.approx(answer["prediction"]["probability"], abs=1e-3)

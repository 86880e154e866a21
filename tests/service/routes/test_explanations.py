"""POST /v1/explanations over a real process: the pictures and numbers are the engine's."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from cam_engine.images.png import read_png_text
from cam_engine.images.preparing import read_image
from cam_engine.maps.explainer import Explainer
from cam_engine.method_facts import Method
from cam_engine.models.loading import load_classifier
from cam_engine.options import STAGES, CamOptions
from cam_engine.pictures.rendering import colour_table, full_size_map
from cam_engine.results import Explanation, FloatMap, RgbImage
from tests.service.asking import CB, array, pixels, post_image, sound
from tests.service.odd_root import CLASSES, OddRoot

MODULE = "features.4"
CLASS_NAMES = ("gametocyte", "ring", "schizont", "trophozoite")


class Truth:
    """What the engine itself says of the cell."""

    def __init__(self, cell: Path, checkpoint: Path) -> None:
        self.image: RgbImage = read_image(cell)
        self.explainer = Explainer(load_classifier(checkpoint))

    @cache  # noqa: B019 (lives as long as the tests)
    def explanation(self, options: CamOptions) -> Explanation:
        [explained] = self.explainer.explain([self.image], options)
        return explained

    def full_map(self, layer: str, options: CamOptions | None = None) -> FloatMap:
        explanation = self.explanation(options or CamOptions(fused=True))
        return full_size_map(explanation.layer(layer), self.image.shape[:2])


@pytest.fixture(scope="module")
def truth(cell: Path, lifecycle: Path) -> Truth:
    return Truth(cell, lifecycle / "cls_mobilenet_v3_small_cb" / "best.pt")


def assert_near(left: object, right: object, most: float) -> None:
    difference = np.abs(np.asarray(left, np.float64) - np.asarray(right, np.float64))
    assert difference.max() <= most


def inferno(values: np.ndarray[tuple[int, ...], Any]) -> np.ndarray[tuple[int, ...], Any]:
    """(H, W) in 0..1 to (H, W, 3) in 0..255: Matplotlib's colours."""
    colours = mpl.colormaps["inferno"](np.round(255 * values).astype(int))
    return 255 * np.asarray(colours)[..., :3]


def test_the_overlay_is_the_engines_map_in_colour_over_the_image(
    http: httpx.Client, cell: Path, truth: Truth
) -> None:
    response = sound(post_image(http, cell, model=CB))
    assert response.headers["content-type"] == "image/png"
    options = CamOptions(fused=True)
    values = truth.full_map("fused").astype(np.float64)
    opacity = 0.6 * (values**2 * (3 - 2 * values))[..., None]
    expected = (1 - opacity) * truth.image + opacity * inferno(values)
    assert_near(pixels(response.content), expected, 2)
    predicted = truth.explanation(options).predicted
    assert response.headers["x-gradcam-prediction"] == predicted.name
    assert abs(float(response.headers["x-gradcam-probability"]) - predicted.probability) < 1e-3


def test_the_array_is_the_engines_map_in_float32(
    http: httpx.Client, cell: Path, truth: Truth
) -> None:
    values = array(post_image(http, cell, model=CB, view="array"))
    assert values.dtype == np.float32
    assert values.shape == truth.image.shape[:2]
    assert_near(values, truth.full_map("fused"), 1e-3)


def test_maps_are_all_layers_in_the_order_that_a_header_names(
    http: httpx.Client, cell: Path, truth: Truth
) -> None:
    response = post_image(http, cell, model=CB, view="maps", layer=MODULE)
    values = array(response)
    names = [unquote(layer) for layer in response.headers["x-gradcam-layers"].split(",")]
    assert names == [*STAGES, MODULE, "fused"]
    assert values.dtype == np.uint16
    assert values.shape == (5, *truth.image.shape[:2])
    options = CamOptions(layers=(*STAGES, MODULE), fused=True)
    for name, map_ in zip(names, values, strict=True):
        assert_near(map_ / 65535, truth.full_map(name, options), 1e-3)


@pytest.mark.parametrize(("bits", "mode", "most"), [(8, "L", 255), (16, "I;16", 65535)])
def test_a_grey_map_has_the_bits_asked_for(
    http: httpx.Client, cell: Path, truth: Truth, bits: int, mode: str, most: int
) -> None:
    response = sound(post_image(http, cell, model=CB, view="map", bits=bits, layer="late"))
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.mode == mode
    values = pixels(response.content)
    assert_near(values / most, truth.full_map("late"), 1 / most + 1e-3)


@pytest.mark.parametrize("colormap", ["inferno", "viridis"])
def test_the_heatmap_has_the_colours_asked_for(
    http: httpx.Client, cell: Path, truth: Truth, colormap: str
) -> None:
    response = sound(post_image(http, cell, model=CB, view="heatmap", colormap=colormap))
    drawn = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"))
    table = colour_table(colormap)
    expected = table[np.round(truth.full_map("fused") * (len(table) - 1)).astype(int)]
    assert_near(drawn, expected, 8)


def test_the_panel_shows_all_layers_at_once(http: httpx.Client, cell: Path, truth: Truth) -> None:
    response = sound(post_image(http, cell, model=CB, view="panel"))
    height, width = pixels(response.content).shape[:2]
    assert width > 4 * height / 3  # five columns over two rows
    assert width >= 1000
    text = read_png_text(response.content)
    assert "Places" in text
    assert "Layer" not in text


@pytest.mark.parametrize(
    ("fields", "layer", "method", "grid"),
    [
        ({"fusion": "layercam"}, "fused", "layercam", "28x28"),
        ({"score": "margin"}, "fused", "class-aware", "28x28"),
        ({}, "fused", "class-aware", "28x28"),
        ({"method": "gradcam"}, "late", "gradcam", "7x7"),
        ({"layer": "early"}, "early", "gradcam++", "28x28"),
        ({"layer": "mid"}, "mid", "gradcam++", "14x14"),
        ({"layer": "late", "method": "hirescam"}, "late", "hirescam", "7x7"),
        ({"layer": "fused", "method": "xgradcam"}, "fused", "class-aware", "28x28"),
        ({"layer": MODULE, "method": "layercam"}, MODULE, "layercam", "14x14"),
        ({"layer": "early", "method": "eigencam"}, "early", "eigencam", "28x28"),
        ({"layer": "late", "taps": "raw"}, "late", "gradcam++", "7x7"),
    ],
)
def test_every_answer_names_the_layer_and_method_really_used(
    http: httpx.Client, cell: Path, fields: dict[str, Any], layer: str, method: str, grid: str
) -> None:
    response = sound(post_image(http, cell, model=CB, **fields))
    headers = response.headers
    assert (headers["x-gradcam-layer"], headers["x-gradcam-method"]) == (layer, method)
    assert headers["x-gradcam-grid"] == grid
    text = read_png_text(response.content)
    assert text["Method"] == method
    assert text["Layer"].startswith(f"{layer}: ")
    assert text["Layer"].endswith(grid)


@pytest.mark.parametrize("method", ["gradcam", "layercam", "xgradcam"])
def test_another_method_is_the_engines(
    http: httpx.Client, cell: Path, truth: Truth, method: Method
) -> None:
    values = array(post_image(http, cell, model=CB, view="array", method=method))
    options = CamOptions(method=method, fused=True)
    assert_near(values, truth.full_map("late", options), 1e-3)


@pytest.mark.parametrize("target", [1, "1", "ring", "RING"])
def test_a_target_goes_by_index_or_name(
    http: httpx.Client, cell: Path, truth: Truth, target: int | str
) -> None:
    response = post_image(http, cell, model=CB, view="array", target=target)
    assert response.headers["x-gradcam-target"] == "ring"
    assert response.headers["x-gradcam-prediction"] == "schizont"
    expected = truth.full_map("fused", CamOptions(fused=True, target="ring"))
    assert_near(array(response), expected, 1e-3)
    assert np.abs(array(response) - truth.full_map("fused")).max() > 0.1


def test_without_clahe_the_network_sees_the_image_as_it_is(
    http: httpx.Client, cell: Path, truth: Truth
) -> None:
    values = array(post_image(http, cell, model=CB, view="array", clahe="false"))
    assert_near(values, truth.full_map("fused", CamOptions(fused=True, clahe=False)), 1e-3)
    assert np.abs(values - truth.full_map("fused")).max() > 0.02


def test_alpha_and_blend_say_how_much_of_the_map_is_laid_over(
    http: httpx.Client, cell: Path, truth: Truth
) -> None:
    nothing = pixels(sound(post_image(http, cell, model=CB, alpha=0)).content)
    assert_near(nothing, truth.image, 1)
    all_of_it = pixels(sound(post_image(http, cell, model=CB, alpha=1, blend="uniform")).content)
    assert_near(all_of_it, inferno(truth.full_map("fused")), 2)
    assert np.abs(all_of_it.astype(int) - nothing).max() > 100


def test_a_picture_says_how_it_was_made(http: httpx.Client, cell: Path, lifecycle: Path) -> None:
    text = read_png_text(sound(post_image(http, cell, model=CB)).content)
    model = (lifecycle / "cls_mobilenet_v3_small_cb" / "best.pt").read_bytes()
    assert text["Model-SHA256"] == hashlib.sha256(model).hexdigest()
    assert text["Model"] == f"{CB} (mobilenet_v3_small)"
    assert text["Class"] == "schizont"
    assert text["Software"].startswith("gradcam-service ")
    assert hashlib.sha256(cell.read_bytes()).hexdigest() in text["Recipe"]


def test_without_a_model_the_best_one_of_the_newest_experiment_answers(
    http: httpx.Client, cell: Path
) -> None:
    models = http.get("/v1/models").json()["models"]
    [default] = [model for model in models if model["default"]]
    newest = http.get("/v1/experiments").json()["experiments"][0]
    rivals = [model["val_acc"] for model in models if model["id"] in newest["models"]]
    assert default["val_acc"] == max(rivals)
    response = sound(post_image(http, cell))
    assert unquote(response.headers["x-gradcam-model"]) == default["id"]


def test_a_model_goes_by_its_folder_where_there_is_only_one_of_that_name(
    http: httpx.Client, cell: Path
) -> None:
    for name in ("cls_mobilenet_v3_small_cb", "mobilenet_v3_small_cb"):
        assert sound(post_image(http, cell, model=name)).headers["x-gradcam-model"] == CB


def test_class_names_that_are_not_ascii_are_percent_encoded(
    odd: httpx.Client, odd_root: OddRoot, cell: Path
) -> None:
    for index, name in enumerate(CLASSES):
        response = sound(post_image(odd, cell, model=odd_root.named_oddly, target=index))
        header = response.headers["x-gradcam-target"]
        assert header.isascii()
        assert not set(header) & set(' ,"/')
        assert unquote(header) == name
        assert read_png_text(response.content)["Class"] == name
    by_name = sound(post_image(odd, cell, model=odd_root.named_oddly, target=CLASSES[1]))
    assert unquote(by_name.headers["x-gradcam-target"]) == CLASSES[1]
    assert unquote(by_name.headers["x-gradcam-prediction"]) == CLASSES[2]


def test_the_file_name_comes_back_encoded_and_without_folders(
    http: httpx.Client, cell: Path
) -> None:
    response = sound(post_image(http, cell, name="C:\\scans\\Zelle, 'ü' 1.jpg"))
    disposition = response.headers["content-disposition"]
    assert disposition == "inline; filename*=UTF-8''Zelle%2C%20%27%C3%BC%27%201_overlay.png"


def test_times_stand_in_a_header(http: httpx.Client, cell: Path) -> None:
    timing = sound(post_image(http, cell)).headers["server-timing"]
    assert [step.split(";")[0] for step in timing.split(", ")] == [
        *("decode", "queue", "compute", "encode")
    ]


EXPLAINED = {"Content-Type": "multipart/form-data; boundary=b"}


def upload(image: Path, disposition: str, after: bytes = b"") -> bytes:
    """A multipart body whose image has this disposition, with a model after it."""
    head = f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    field = f'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{CB}'.encode()
    return head + image.read_bytes() + field + b"\r\n--b--" + after


@pytest.mark.parametrize("after", [b"", b"\r\n", b"\r\nan epilogue, which is passed over --b"])
def test_what_follows_the_closing_boundary_is_passed_over(
    http: httpx.Client, cell: Path, after: bytes
) -> None:
    body = upload(cell, 'name="image"; filename="a.jpg"', after)
    sound(http.post("/v1/explanations", content=body, headers=EXPLAINED))


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="image"', "image"),
        ('name="image"; filename=""', "image"),
        ("name=\"image\"; filename*=UTF-8''z%C3%A4hl%20%22er%5C.jpg", 'z\u00e4hl "er\\.jpg'),
        ("name=\"image\"; filename*=iso-8859-1'de'z%E4hler.jpg", "z\u00e4hler.jpg"),
        ("name=\"image\"; filename=plain.jpg; filename*=UTF-8''other.jpg", "plain.jpg"),
        ("name=\"image\"; filename*=no-charset''a%E4.jpg", "a\u00e4.jpg"),
        ('name="image"; filename*=a.jpg', "a.jpg"),
    ],
)
def test_the_part_called_image_is_the_image_however_its_file_is_named(
    http: httpx.Client, cell: Path, disposition: str, name: str
) -> None:
    headers = {**EXPLAINED, "Accept": "application/json"}
    body = upload(cell, disposition)
    response = sound(http.post("/v1/explanations", content=body, headers=headers))
    assert response.json()["image"]["name"] == name


def test_a_file_named_in_the_extended_form_is_a_file_under_other_names_too(
    http: httpx.Client, cell: Path
) -> None:
    body = upload(cell, "name=\"alpha\"; filename*=UTF-8''a.jpg")
    response = http.post("/v1/explanations", content=body, headers=EXPLAINED)
    assert response.status_code == 422
    said = {error["field"]: error["detail"] for error in response.json()["errors"]}
    assert said["alpha"].startswith("no file is expected here")

"""What comes back for which Accept header: PNG, JSON, npy or zip."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from cam_engine.images.png import read_png_text
from tests.service.asking import (
    CB,
    JSON,
    LIFECYCLE,
    RING,
    SPECIES,
    ZIP,
    array,
    assert_problem,
    facts,
    pixels,
    post_image,
    sound,
)

PNG, NPY, JSON_TYPE, ZIP_TYPE = "image/png", "application/x-npy", JSON["Accept"], ZIP["Accept"]


@pytest.mark.parametrize(
    ("accept", "view", "expected"),
    [
        ("*/*", "overlay", PNG),
        ("image/*", "overlay", PNG),
        ("image/png", "panel", PNG),
        ("IMAGE/PNG", "panel", PNG),
        ("application/json", "overlay", JSON_TYPE),
        ("application/json; charset=utf-8", "overlay", JSON_TYPE),
        ("application/zip", "heatmap", ZIP_TYPE),
        ("application/json, image/png", "overlay", PNG),
        ("image/png;q=0.5, application/json", "overlay", JSON_TYPE),
        ("application/json;q=0.2, application/zip;q=0.3, */*;q=0.1", "overlay", ZIP_TYPE),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "overlay", PNG),
        ("image/png;q=0, */*", "overlay", JSON_TYPE),
        ("*/*", "array", NPY),
        ("application/x-npy", "maps", NPY),
        ("application/*", "array", NPY),
        ("application/json", "maps", JSON_TYPE),
        ("application/zip, application/x-npy;q=0.1", "array", ZIP_TYPE),
    ],
)
def test_the_type_wanted_most_is_answered(
    http: httpx.Client, cell: Path, accept: str, view: str, expected: str
) -> None:
    response = sound(post_image(http, cell, headers={"Accept": accept}, view=view))
    assert response.headers["content-type"] == expected
    assert "Accept" in response.headers["vary"]


@pytest.mark.parametrize("view", ["overlay", "maps"])
def test_without_an_accept_header_the_views_own_type_is_answered(
    http: httpx.Client, cell: Path, view: str
) -> None:
    files = {"image": ("a.jpg", cell.read_bytes())}
    request = http.build_request("POST", "/v1/explanations", files=files, data={"view": view})
    del request.headers["accept"]
    response = sound(http.send(request))
    assert response.headers["content-type"] == {"overlay": PNG, "maps": NPY}[view]


@pytest.mark.parametrize(
    ("accept", "view"),
    [
        ("text/html", "overlay"),
        ("image/jpeg, image/webp", "overlay"),
        ("image/png;q=0", "overlay"),
        ("image/png", "array"),
        ("application/x-npy", "overlay"),
        ("nonsense", "overlay"),
    ],
)
def test_what_is_not_offered_is_refused_with_what_is(
    http: httpx.Client, cell: Path, accept: str, view: str
) -> None:
    body = assert_problem(
        post_image(http, cell, headers={"Accept": accept}, view=view), "not-acceptable"
    )
    if accept != "nonsense":
        assert JSON_TYPE in body["detail"]


def test_json_holds_the_facts_of_every_layer(
    http: httpx.Client, cell: Path, lifecycle: Path
) -> None:
    body = facts(post_image(http, cell, headers=JSON, model=CB, layer="features.4"))
    assert [layer["name"] for layer in body["layers"]] == [
        *("early", "mid", "late", "features.4", "fused")
    ]
    grids = {layer["name"]: tuple(layer["grid"]) for layer in body["layers"]}
    assert grids["early"] == grids["fused"] == (28, 28)
    assert (grids["mid"], grids["late"]) == ((14, 14), (7, 7))
    methods = [layer["method"] for layer in body["layers"]]
    assert methods == ["gradcam++"] * 4 + ["class-aware"]
    for layer in body["layers"]:
        assert layer["label"]
        assert layer["empty"] is (layer["maximum"] <= 0)
        assert 0 < layer["border_energy"] < 1
    assert (body["layer"], body["method"]) == ("features.4", "gradcam++")
    checkpoint = (lifecycle / "cls_mobilenet_v3_small_cb/best.pt").read_bytes()
    assert body["model"] == {
        "id": CB,
        "name": "cls_mobilenet_v3_small_cb",
        "architecture": "mobilenet_v3_small",
        "sha256": hashlib.sha256(checkpoint).hexdigest(),
    }
    assert body["image"]["sha256"] == hashlib.sha256(cell.read_bytes()).hexdigest()
    assert body["pictures"] == {}


def test_json_holds_prediction_and_classes_by_falling_probability(
    http: httpx.Client, cell: Path
) -> None:
    body = facts(post_image(http, cell, headers=JSON, model=CB, target="ring"))
    probabilities = [score["probability"] for score in body["top_classes"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert body["prediction"] == body["top_classes"][0]
    assert body["prediction"]["name"] == "schizont"
    assert (body["target"]["name"], body["target"]["index"]) == ("ring", 1)
    assert body["unenhanced"]["name"] == "schizont"
    assert body["clahe_changed_class"] is False
    assert facts(post_image(http, cell, headers=JSON, clahe="false"))["unenhanced"] is None


def test_json_links_lead_somewhere(http: httpx.Client, cell: Path) -> None:
    response = post_image(http, cell, headers=JSON, model=CB)
    body = facts(response)
    assert body["links"]["self"] == response.headers["content-location"]
    assert facts(http.get(body["links"]["self"], headers=JSON)) == body
    assert facts(http.get(body["links"]["model"]))["id"] == CB


def test_a_listing_says_the_same_of_a_model_as_its_answers_do(http: httpx.Client) -> None:
    for experiment in (LIFECYCLE, SPECIES):
        image = facts(http.get(f"/v1/experiments/{experiment}/images"))["images"][0]["path"]
        question = {"experiment": experiment, "image": image}
        answer = facts(http.post("/v1/explanations", json=question, headers=JSON))
        listed = facts(http.get(answer["links"]["model"]))
        assert listed["architecture"] == answer["model"]["architecture"]
        said = [
            {key: layer[key] for key in ("name", "label", "grid")} for layer in answer["layers"]
        ]
        assert listed["layers"] == said[:-1]  # all but the fused one


def test_pictures_asked_for_come_as_base64_and_are_those_of_the_views(
    http: httpx.Client, cell: Path
) -> None:
    options: dict[str, Any] = {"model": CB, "layer": "late", "bits": 8}
    wanted = ("overlay", "heatmap", "map", "panel")
    body = facts(post_image(http, cell, headers=JSON, pictures=",".join(wanted), **options))
    assert set(body["pictures"]) == set(wanted)
    for view in wanted:
        picture = body["pictures"][view]
        assert picture["media_type"] == PNG
        seen = pixels(base64.b64decode(picture["base64"], validate=True))
        alone = sound(post_image(http, cell, view=view, **options))
        assert (seen == pixels(alone.content)).all()


def test_pictures_of_a_json_body_are_a_list(http: httpx.Client) -> None:
    body = {"experiment": LIFECYCLE, "image": RING, "pictures": ["heatmap"]}
    answer = facts(http.post("/v1/explanations", json=body, headers=JSON))
    assert set(answer["pictures"]) == {"heatmap"}


def test_a_zip_holds_the_documented_tree(http: httpx.Client, cell: Path) -> None:
    response = sound(post_image(http, cell, headers=ZIP, model=CB, name="scan 7.jpg"))
    assert response.headers["content-disposition"].startswith("attachment; ")
    archive = zipfile.ZipFile(io.BytesIO(response.content))
    assert archive.testzip() is None
    layers = ("early", "mid", "late", "fused")
    components = {
        f"components/scan_7_{layer}_{kind}.png"
        for layer in layers
        for kind in ("heatmap", "overlay", "map")
    }
    expected = {*components, "improved_gradcam_scan_7.png", "explanation.json"}
    assert set(archive.namelist()) == expected
    for layer in layers:
        png = archive.read(f"components/scan_7_{layer}_overlay.png")
        assert read_png_text(png)["Layer"].startswith(f"{layer}: ")
        alone = sound(post_image(http, cell, model=CB, layer=layer, name="scan 7.jpg"))
        assert (pixels(png) == pixels(alone.content)).all()
    panel = sound(post_image(http, cell, model=CB, view="panel", name="scan 7.jpg"))
    assert (pixels(archive.read("improved_gradcam_scan_7.png")) == pixels(panel.content)).all()
    told = json.loads(archive.read("explanation.json"))
    assert told["links"]["self"] == response.headers["content-location"]


def test_arrays_are_named_as_what_they_are(http: httpx.Client, cell: Path) -> None:
    response = post_image(http, cell, view="array", name="x.jpg")
    assert array(response).ndim == 2
    assert response.headers["content-disposition"] == "inline; filename*=UTF-8''x_array.npy"
    assert response.headers["x-gradcam-model"] == quote(response.headers["x-gradcam-model"])

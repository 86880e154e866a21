"""POST /v1/explanations with a JSON body: images of the data root, and contact sheets."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from cam_engine.images.png import read_png_text
from tests.service.asking import (
    CB,
    EXPLANATIONS,
    FOCAL,
    JSON,
    LIFECYCLE,
    RING,
    ZIP,
    assert_problem,
    facts,
    pixels,
    post_image,
    sound,
)
from tests.service.odd_root import MODEL, OddRoot


def ask(client: httpx.Client, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return client.post(EXPLANATIONS, json=body, headers=headers or {})


def test_an_image_of_an_experiment_is_answered_like_the_same_one_uploaded(
    http: httpx.Client, lifecycle: Path
) -> None:
    stored = sound(ask(http, experiment=LIFECYCLE, image=RING, view="heatmap"))
    assert stored.headers["x-gradcam-model"] == CB  # the best of that experiment
    uploaded = sound(post_image(http, lifecycle / RING, model=CB, view="heatmap"))
    assert (pixels(stored.content) == pixels(uploaded.content)).all()


def test_the_answer_knows_the_true_class_by_the_images_folder(http: httpx.Client) -> None:
    body = facts(ask(http, JSON, experiment=LIFECYCLE, image=RING))
    assert body["image"]["true_class"] == "ring"
    assert body["image"]["name"] == f"{LIFECYCLE}/{RING}"
    assert body["prediction"]["name"] == "ring"


def test_an_image_goes_by_its_path_below_the_data_root(http: httpx.Client) -> None:
    image = f"{LIFECYCLE}/{RING}"
    body = facts(ask(http, JSON, image=image, model=FOCAL))
    assert (body["image"]["name"], body["model"]["id"]) == (image, FOCAL)


def test_a_model_goes_by_its_folder_within_the_experiment(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    body = facts(ask(odd, JSON, experiment=odd_root.sound, image=RING, model=MODEL))
    assert body["model"]["id"] == f"{odd_root.sound}/{MODEL}"


def test_options_are_those_of_an_upload(http: httpx.Client) -> None:
    options = {"layer": "mid", "method": "hirescam", "target": 2, "clahe": False, "alpha": 0.25}
    body = facts(ask(http, JSON, experiment=LIFECYCLE, image=RING, **options))
    assert options.items() <= body["options"].items()
    assert (body["layer"], body["method"], body["target"]["index"]) == ("mid", "hirescam", 2)


def test_an_experiment_alone_is_a_contact_sheet_of_its_best_model(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    sheet = sound(ask(odd, experiment=odd_root.sound))
    assert sheet.headers["content-type"] == "image/png"
    assert sheet.headers["x-gradcam-model"] == odd_root.best  # not the first by name
    assert sheet.headers["x-gradcam-images"] == "4"
    assert pixels(sheet.content).ndim == 3
    shown = read_png_text(sheet.content)["Images"].split(", ")
    classes = [Path(path).parent.name for path in shown]
    assert classes == ["gametocyte", "ring", "schizont", "trophozoite"]


def test_a_contact_sheet_in_numbers(http: httpx.Client) -> None:
    body = facts(ask(http, JSON, experiment=LIFECYCLE, pictures=["overlay"], layer="late"))
    assert (body["experiment"], body["model"]["id"], body["layer"]) == (LIFECYCLE, CB, "late")
    classes = [image["image"]["true_class"] for image in body["images"]]
    assert classes == ["gametocyte", "ring", "schizont", "trophozoite"]
    for image in body["images"]:
        assert image["image"]["name"].startswith(f"{LIFECYCLE}/")
        assert set(image["pictures"]) == {"overlay"}


def test_a_contact_sheet_as_a_zip_holds_every_images_tree(http: httpx.Client) -> None:
    response = sound(ask(http, ZIP, experiment=LIFECYCLE, max_images=2))
    names = zipfile.ZipFile(io.BytesIO(response.content)).namelist()
    assert {"contact_sheet.png", "explanation.json"} <= set(names)
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    assert folders == ["01_cell_001", "02_cell_001"]
    assert "01_cell_001/improved_gradcam_cell_001.png" in names


def test_classes_take_turns_on_a_contact_sheet(http: httpx.Client) -> None:
    body = facts(ask(http, JSON, experiment=LIFECYCLE, max_images=6))
    names = [Path(image["image"]["name"]).name for image in body["images"]]
    assert names == ["cell_001.jpg"] * 4 + ["cell_002.jpg"] * 2


def test_too_many_images_are_pointed_to_jobs(odd: httpx.Client, odd_root: OddRoot) -> None:
    assert ask(odd, experiment=odd_root.sound, max_images=4).status_code == 200
    response = ask(odd, experiment=odd_root.sound, max_images=5)
    body = assert_problem(response, "too-many-images")
    assert "/v1/jobs" in body["detail"]
    assert "/v1/jobs" in response.headers["link"]


def test_more_images_than_there_are_is_all_that_there_are(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    body = facts(ask(odd, JSON, experiment=odd_root.odd, model=MODEL, max_images=4))
    assert len(body["images"]) == 1
    assert body["images"][0]["image"]["true_class"] is None  # no class of this model


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid-request"),
        ({"model": CB}, "invalid-request"),
        ({"experiment": LIFECYCLE, "image": RING, "max_images": 2}, "invalid-request"),
        ({"experiment": LIFECYCLE, "max_images": 0}, "invalid-request"),
        ({"experiment": LIFECYCLE, "colour": "red"}, "invalid-request"),
        ({"experiment": LIFECYCLE, "image": RING, "target": -1}, "invalid-request"),
        ({"experiment": LIFECYCLE, "image": RING, "target": True}, "invalid-request"),
        ({"experiment": LIFECYCLE, "image": RING, "alpha": 1.5}, "invalid-request"),
        ({"experiment": LIFECYCLE, "image": RING, "view": "hologram"}, "invalid-request"),
        ({"experiment": LIFECYCLE, "view": "maps"}, "invalid-option"),
        ({"experiment": "experiments/experiment_none"}, "experiment-not-found"),
        ({"experiment": LIFECYCLE, "model": "cls_none"}, "model-not-found"),
        ({"experiment": LIFECYCLE, "image": "crops_gt_crops/none.jpg"}, "image-not-found"),
        ({"experiment": LIFECYCLE, "image": "crops_gt_crops/crops"}, "image-not-found"),
        ({"experiment": LIFECYCLE, "image": f"{RING}/more.jpg"}, "image-not-found"),
        ({"image": RING}, "image-not-found"),
        ({"experiment": LIFECYCLE, "image": "cls_mobilenet_v3_small_cb/best.pt"}, "invalid-image"),
        ({"experiment": LIFECYCLE, "image": RING, "target": "elf"}, "class-not-found"),
        ({"experiment": LIFECYCLE, "image": RING, "layer": "attic"}, "layer-not-found"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_code(
    http: httpx.Client, body: dict[str, Any], code: str
) -> None:
    assert_problem(ask(http, **body), code)


def test_an_unknown_field_is_refused_by_name(http: httpx.Client) -> None:
    problem = assert_problem(
        ask(http, experiment=LIFECYCLE, colour="red", alpha="much"), "invalid-request"
    )
    wrong = {error["field"]: error["detail"] for error in problem["errors"]}
    assert set(wrong) == {"colour", "alpha"}
    assert "unknown" in wrong["colour"]


@pytest.mark.parametrize("name", ["colour", "experiment", "max_images", "images"])
def test_an_unknown_field_of_an_upload_is_refused_by_name(
    http: httpx.Client, cell: Path, name: str
) -> None:
    unknown: dict[str, Any] = {name: "1"}
    problem = assert_problem(post_image(http, cell, **unknown), "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [name]

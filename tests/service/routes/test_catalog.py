"""GET /v1/experiments and /v1/models: what the data root holds."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.service.asking import (
    CB,
    EXPLANATIONS,
    JSON,
    LIFECYCLE,
    RING,
    SPECIES,
    assert_problem,
    assert_tells_nothing,
    facts,
    metric,
    post_image,
    sound,
)
from tests.service.odd_root import CLASSES, CROPS, MODEL, OddRoot

IMAGES = f"/v1/experiments/{LIFECYCLE}/images"


def test_experiments_are_listed_with_models_classes_and_counts(http: httpx.Client) -> None:
    experiments = facts(http.get("/v1/experiments"))["experiments"]
    assert [experiment["path"] for experiment in experiments] == [SPECIES, LIFECYCLE]
    lifecycle = experiments[1]
    assert lifecycle["name"] == "experiment_synthetic_lifecycle"
    assert lifecycle["classes"] == ["gametocyte", "ring", "schizont", "trophozoite"]
    assert lifecycle["models"] == [CB, CB.replace("_cb", "_focal")]
    assert lifecycle["images"] == 64
    counts = {
        split["split"]: (split["images"], split["classes"]["ring"]) for split in lifecycle["splits"]
    }
    assert counts == {"test": (48, 12), "val": (16, 4)}


def test_an_experiment_is_had_by_its_link(http: httpx.Client) -> None:
    for listed in facts(http.get("/v1/experiments"))["experiments"]:
        assert facts(http.get(listed["links"]["self"])) == listed
        assert facts(http.get(listed["links"]["images"]))["total"] == listed["images"]


def test_newest_runs_come_first(odd: httpx.Client, odd_root: OddRoot) -> None:
    paths = [experiment["path"] for experiment in facts(odd.get("/v1/experiments"))["experiments"]]
    order = [paths.index(path) for path in (odd_root.odd, odd_root.sound, odd_root.bare)]
    assert order == sorted(order)


def test_pages_follow_each_other_by_their_links(http: httpx.Client) -> None:
    address: str | None = f"{IMAGES}?split=test&limit=20"
    paths: list[str] = []
    sizes = []
    while address is not None:
        page = facts(http.get(address))
        paths += [image["path"] for image in page["images"]]
        sizes.append(len(page["images"]))
        assert page["total"] == 48
        address = page["links"].get("next")
    assert sizes == [20, 20, 8]
    assert paths == sorted(set(paths))
    assert "next" not in page["links"]
    before = facts(http.get(page["links"]["previous"]))
    assert before["offset"] == 20
    assert [image["path"] for image in before["images"]] == paths[20:40]
    assert "previous" not in facts(http.get(f"{IMAGES}?limit=20"))["links"]


def test_an_offset_beyond_the_end_is_an_empty_page(http: httpx.Client) -> None:
    page = facts(http.get(f"{IMAGES}?offset=1000"))
    assert (page["images"], page["total"]) == ([], 64)


def test_a_listed_image_can_be_explained(http: httpx.Client) -> None:
    for image in facts(http.get(f"{IMAGES}?split=val&class=ring&limit=2"))["images"]:
        body = {"experiment": LIFECYCLE, "image": image["path"]}
        answer = facts(http.post(EXPLANATIONS, json=body, headers=JSON))
        assert answer["image"]["true_class"] == image["true_class"] == "ring"


def test_images_are_filtered_by_split_and_class(http: httpx.Client) -> None:
    page = facts(http.get(f"{IMAGES}?split=val&class=ring"))
    assert page["total"] == 4
    assert {(image["split"], image["true_class"]) for image in page["images"]} == {("val", "ring")}
    assert all(image["path"].startswith(f"{CROPS}/val/ring/") for image in page["images"])
    assert facts(http.get(f"{IMAGES}?class=elf"))["total"] == 0
    assert facts(http.get(f"{IMAGES}?split=train"))["total"] == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("Split=test", "Split"),
        ("split=attic", "split"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=many", "limit"),
        ("offset=-1", "offset"),
    ],
)
def test_a_wrong_query_field_is_refused_by_name(http: httpx.Client, query: str, field: str) -> None:
    body = assert_problem(http.get(f"{IMAGES}?{query}"), "invalid-request")
    assert [error["field"] for error in body["errors"]] == [field]


def test_models_are_listed_with_their_facts(http: httpx.Client) -> None:
    models = {listed["id"]: listed for listed in facts(http.get("/v1/models"))["models"]}
    assert len(models) == 4
    model = models[CB]
    assert model["experiment"] == LIFECYCLE
    assert model["name"] == "cls_mobilenet_v3_small_cb"
    assert model["architecture"] == "mobilenet_v3_small"
    assert model["classes"] == ["gametocyte", "ring", "schizont", "trophozoite"]
    grids = {layer["name"]: layer["grid"] for layer in model["layers"]}
    assert grids == {"early": [28, 28], "mid": [14, 14], "late": [7, 7]}
    assert model["input_size"] == [224, 224]
    assert model["val_acc"] == pytest.approx(0.9979, abs=1e-4)
    assert (model["epoch"], model["problem"]) == (18, None)
    assert [served["default"] for served in models.values()].count(True) == 1
    assert facts(http.get(model["links"]["self"])).keys() == model.keys()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cls_damaged", "checkpoint-invalid"),
        ("cls_unsafe", "checkpoint-unsafe"),
    ],
)
def test_a_damaged_model_is_listed_with_its_problem_and_others_work(
    odd: httpx.Client, odd_root: OddRoot, name: str, code: str
) -> None:
    response = odd.get("/v1/models")
    models = {model["id"]: model for model in facts(response)["models"]}
    broken = models[f"{odd_root.odd}/{name}"]
    assert broken["problem"]["code"] == code
    assert broken["problem"]["detail"]
    assert (broken["architecture"], broken["layers"], broken["loaded"]) == (None, [], False)
    assert facts(odd.get(broken["links"]["self"])) == broken
    assert models[odd_root.best]["problem"] is None
    assert models[f"{odd_root.odd}/{MODEL}"]["classes"] == list(CLASSES)
    assert str(odd_root.root) not in response.text
    assert_tells_nothing(response.text)
    assert not odd_root.booby_trap.exists()


def test_an_experiment_without_images_or_models_is_listed_as_such(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    experiments = {
        experiment["path"]: experiment
        for experiment in facts(odd.get("/v1/experiments"))["experiments"]
    }
    bare = experiments[odd_root.bare]
    assert (bare["models"], bare["images"], bare["splits"]) == ([], 0, [])
    assert facts(odd.get(bare["links"]["images"]))["images"] == []
    assert experiments[odd_root.pictureless]["images"] == 0
    assert len(experiments[odd_root.pictureless]["models"]) == 1


def test_names_with_blanks_and_signs_can_be_asked_for_as_listed(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    page = facts(odd.get(f"/v1/experiments/{odd_root.odd}/images?split=test"))
    [image] = page["images"]
    assert image["path"].endswith("cell 001+ü#.jpg")
    body = {"experiment": odd_root.odd, "model": MODEL, "image": image["path"]}
    sound(odd.post(EXPLANATIONS, json=body))


def test_a_new_image_is_seen_without_a_restart(odd: httpx.Client, odd_root: OddRoot) -> None:
    address = f"/v1/experiments/{odd_root.sound}/images?class=ring&split=val"
    before = facts(odd.get(address))["total"]
    folder = odd_root.root / odd_root.sound / CROPS / "val/ring"
    added = folder / "added.jpg"
    added.write_bytes(min(folder.iterdir()).read_bytes())
    assert facts(odd.get(address))["total"] == before + 1
    added.unlink()
    assert facts(odd.get(address))["total"] == before


def test_an_empty_root_is_empty_and_says_so(empty: httpx.Client, cell: Path) -> None:
    nothing = {"total": 0, "words": "", "kinds": []}
    assert facts(empty.get("/v1/experiments")) == {"experiments": [], "skipped": nothing}
    assert facts(empty.get("/v1/models")) == {"models": []}
    assert_problem(post_image(empty, cell), "no-models-found")
    assert facts(empty.get("/openapi.json"))["paths"]


def test_listing_loads_no_weights(rooted: httpx.Client, lifecycle: Path) -> None:
    models = facts(rooted.get("/v1/models"))["models"]
    default = f"{lifecycle.name}/cls_mobilenet_v3_small_cb"
    assert {model["id"]: model["loaded"] for model in models} == {
        default: True,
        f"{lifecycle.name}/cls_mobilenet_v3_small_focal": False,
    }
    assert all(model["layers"] and model["val_acc"] for model in models)
    assert metric(rooted, "gradcam_model_loads_total") == 1
    assert metric(rooted, "gradcam_model_loads_total", model=default) == 1


def test_an_experiment_that_is_the_root_goes_by_its_name(
    rooted: httpx.Client, lifecycle: Path
) -> None:
    [experiment] = facts(rooted.get("/v1/experiments"))["experiments"]
    assert experiment["path"] == lifecycle.name
    assert facts(rooted.get(experiment["links"]["images"]))["total"] == 64
    sheet = sound(rooted.post(EXPLANATIONS, json={"experiment": lifecycle.name}))
    assert sheet.headers["x-gradcam-images"] == "4"
    whole = {"image": f"{lifecycle.name}/{RING}"}
    assert facts(rooted.post(EXPLANATIONS, json=whole, headers=JSON))["image"]["name"]


def test_paths_within_an_experiment_that_is_the_root_are_read(
    rooted: httpx.Client, lifecycle: Path
) -> None:
    image = facts(rooted.get(f"/v1/experiments/{lifecycle.name}/images"))["images"][0]["path"]
    body = {"experiment": lifecycle.name, "image": image}
    sound(rooted.post(EXPLANATIONS, json=body))


def test_a_models_folder_in_an_experiment_that_is_the_root_is_found(
    rooted: httpx.Client, cell: Path
) -> None:
    sound(post_image(rooted, cell, model="cls_mobilenet_v3_small_cb"))

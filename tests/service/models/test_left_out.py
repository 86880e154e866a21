"""What listings leave out is said, and folders mean classes however they are spelled."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from processes.serving import running
from service.models.catalog import Catalog
from tests.privileges import without_privileges
from tests.service.asking import EXPLANATIONS, JSON, facts
from tests.service.odd_root import CROPS, OddRoot

EXPERIMENT = "experiment_spelled"
ADDRESS = f"/v1/experiments/{EXPERIMENT}"
MODEL = f"{EXPERIMENT}/cls_mobilenet_v3_small_cb"


def put(lifecycle: Path, experiment: Path, place: str, name: str = "ring") -> Path:
    file = experiment / CROPS / place
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lifecycle / CROPS / f"test/{name}/cell_001.jpg", file)
    return file


@pytest.fixture(scope="module")
def spelled_root(lifecycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with folders as people name them, links, and other programs' files."""
    root = tmp_path_factory.mktemp("spelled")
    experiment = root / EXPERIMENT
    model = Path(MODEL).name
    shutil.copytree(lifecycle / model, root / "models" / model)
    experiment.mkdir()
    (experiment / model).symlink_to(root / "models" / model)
    (experiment / "cls_empty").mkdir()
    put(lifecycle, experiment, "test/Ring/a.jpg")
    put(lifecycle, experiment, "test/Uninfected/b.jpg")
    put(lifecycle, experiment, "test/Uninfected/@eaDir/b.jpg")
    put(lifecycle, experiment, "test/slide.svs")
    put(lifecycle, experiment, "val/ring/c.jpg")
    pool = put(lifecycle, root / "pool", "1/d.jpg", "schizont").parent
    (experiment / CROPS / "test/SCHIZONT").symlink_to(pool)
    (experiment / CROPS / "test/up").symlink_to("..")
    return root


@pytest.fixture(scope="module")
def spelled(spelled_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    scratch = tmp_path_factory.mktemp("service")
    with running(spelled_root, scratch) as server, server.client() as client:
        yield client


def reasons(answer: dict[str, Any]) -> dict[str, int]:
    return {kind["reason"]: kind["count"] for kind in answer["skipped"]["kinds"]}


def test_an_experiment_says_what_is_left_out_of_it(spelled: httpx.Client) -> None:
    experiment = facts(spelled.get(ADDRESS))
    assert experiment["images"] == 4
    images = {"format-not-read": 1, "other-program": 1, "link-loop": 1}
    assert reasons(experiment) == images | {"no-checkpoint": 1}
    splits = {split["split"]: reasons(split) for split in experiment["splits"]}
    assert splits == {"test": images, "val": {}}
    page = facts(spelled.get(f"{ADDRESS}/images?split=test"))
    assert reasons(page) == images
    assert page["skipped"]["words"].startswith("3 (1 in a format that is not read: slide.svs; ")
    assert facts(spelled.get(f"{ADDRESS}/images?split=val"))["skipped"]["total"] == 0
    assert experiment["models"] == [MODEL]


def test_folders_that_are_spelled_differently_are_one_class(spelled: httpx.Client) -> None:
    experiment = facts(spelled.get(ADDRESS))
    assert experiment["classes"] == ["Ring", "SCHIZONT", "Uninfected"]
    for name in ("ring", "Ring", " RING "):
        page = facts(spelled.get(f"{ADDRESS}/images", params={"class": name}))
        assert [(image["split"], image["true_class"]) for image in page["images"]] == [
            ("test", "Ring"),
            ("val", "Ring"),
        ]


def test_predictions_are_judged_by_the_models_classes(spelled: httpx.Client) -> None:
    page = facts(spelled.get(f"{ADDRESS}/predictions", params={"model": MODEL}))
    judged = {prediction["image"].split("/")[-2]: prediction for prediction in page["predictions"]}
    assert {name: (shown["true_class"], shown["correct"]) for name, shown in judged.items()} == {
        "Ring": ("ring", True),
        "SCHIZONT": ("schizont", True),
        "Uninfected": (None, None),
    }
    assert page["folders_of_no_class"] == {"Uninfected": 1}


@pytest.mark.parametrize(
    ("image", "true_class"),
    [("Ring/a.jpg", "ring"), ("SCHIZONT/d.jpg", "schizont"), ("Uninfected/b.jpg", None)],
)
def test_an_explanation_says_the_models_own_class(
    spelled: httpx.Client, image: str, true_class: str | None
) -> None:
    body = {"experiment": EXPERIMENT, "image": f"{CROPS}/test/{image}", "target": "Gametocyte"}
    answer = facts(spelled.post(EXPLANATIONS, json=body, headers=JSON))
    assert answer["image"]["true_class"] == true_class
    assert answer["target"]["name"] == "gametocyte"


def test_a_contact_sheet_has_one_image_a_class(spelled: httpx.Client) -> None:
    sheet = facts(spelled.post(EXPLANATIONS, json={"experiment": EXPERIMENT}, headers=JSON))
    classes = [image["image"]["true_class"] for image in sheet["images"]]
    assert classes == ["ring", "schizont", None]


def test_links_out_and_names_that_are_not_utf8_are_counted(
    odd: httpx.Client, odd_root: OddRoot
) -> None:
    experiments = {fact["path"]: fact for fact in facts(odd.get("/v1/experiments"))["experiments"]}
    unspeakable = experiments[odd_root.unspeakable]
    assert reasons(unspeakable) == {"name-not-utf8": 1}
    page = facts(odd.get(f"/v1/experiments/{odd_root.odd}/images"))
    # A file and a folder in val, and train itself; where they lead to is nobody's business.
    assert reasons(page) == {"leads-out": 3}
    assert reasons(experiments[odd_root.odd]) == {"leads-out": 4}  # and a model
    listing = facts(odd.get("/v1/experiments"))
    assert reasons(listing) == {"leads-out": 1}
    assert str(odd_root.outside) not in odd.get("/v1/experiments").text


def test_a_change_deep_in_a_folder_or_behind_a_link_is_seen(
    lifecycle: Path, tmp_path: Path
) -> None:
    experiment = tmp_path / "data/experiment_x"
    shutil.copytree(lifecycle / Path(MODEL).name, experiment / Path(MODEL).name)
    put(lifecycle, experiment, "test/a/b/ring/a.jpg")
    pool = put(lifecycle, tmp_path / "data/pool", "1/d.jpg", "schizont").parent
    (experiment / CROPS / "test/schizont").symlink_to(pool)
    catalog = Catalog(tmp_path / "data/experiment_x/..", 0)
    (entry,) = catalog.experiments()

    def names() -> list[str]:
        return [item.path.name for item in catalog.images(entry, "test")]

    assert names() == ["a.jpg", "d.jpg"]
    images = catalog.found_images(entry, "test")
    assert catalog.found_images(entry, "test") is images
    put(lifecycle, experiment, "test/a/b/ring/b.jpg")
    (pool / "d.jpg").rename(pool / "e.jpg")
    assert names() == ["a.jpg", "b.jpg", "e.jpg"]


def test_a_folder_that_cannot_be_read_does_not_end_a_listing(
    lifecycle: Path, open_folder: Path
) -> None:
    experiment = open_folder / "data/experiment_x"
    shutil.copytree(lifecycle / Path(MODEL).name, experiment / Path(MODEL).name)
    put(lifecycle, experiment, "test/ring/a.jpg")
    put(lifecycle, experiment, "test/schizont/b.jpg").parent.chmod(0)
    (experiment / "cls_closed").mkdir(mode=0)
    (experiment / CROPS / "val").mkdir(mode=0)
    catalog = Catalog(open_folder / "data", 0)
    with without_privileges():
        (entry,) = catalog.experiments()
        assert [item.path.name for item in catalog.images(entry, "test")] == ["a.jpg"]
        assert catalog.images(entry, "val") == ()
        assert catalog.found_images(entry, "val").skipped.total == 1
        assert [model.name for model in entry.models] == [Path(MODEL).name]

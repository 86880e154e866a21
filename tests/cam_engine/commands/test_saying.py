"""What commands say of what they left out, and of whom it is not known whether they are right."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest

from cam_engine.commands.arguments import experiment_main, images_main
from cam_engine.experiments.finding import Experiment
from tests.privileges import without_privileges


@pytest.fixture(autouse=True)
def _threads(one_thread: None) -> None:
    """Small networks are quickest on one thread."""


def crop(lifecycle: Path, number: int = 1, name: str = "ring") -> Path:
    return lifecycle / f"crops_gt_crops/crops/test/{name}/cell_{number:03}.jpg"


def checkpoint(lifecycle: Path) -> Path:
    return next(lifecycle.glob("cls_*_focal/best.pt"))


def put(source: Path, *targets: Path) -> None:
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def run_images(lifecycle: Path, images: Path, output: Path, *more: str) -> int:
    given = [
        "--model",
        str(checkpoint(lifecycle)),
        "--images",
        str(images),
        "--output",
        str(output),
    ]
    return images_main([*given, *more])


def test_a_second_run_below_the_images_explains_what_the_first_did(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    put(crop(lifecycle), images / "ring/a.jpg")
    for output in (images / "out", images / "again"):
        assert run_images(lifecycle, images, output) == 0
        summary = json.loads((output / "summary.json").read_text())
        assert [row["image"] for row in summary["images"]] == ["ring/a.jpg"]
    said = capsys.readouterr().out
    assert "skipped: 10 (7 pictures made by this software: out, out/components; " in said


def test_what_is_left_out_is_said_by_reason(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    eadir = images / "ring/@eaDir/a.jpg/thumb.jpg"
    put(crop(lifecycle), images / "ring/a.jpg", images / "ring/._a.jpg", eadir)
    for name in ("README.txt", "Thumbs.db", "slide.svs"):
        (images / name).write_bytes(b"x")
    assert run_images(lifecycle, images, tmp_path / "out") == 0
    words = (
        "5 (1 in a format that is not read: slide.svs; 1 image in a folder of another program: "
        "@eaDir; 1 hidden: ._a.jpg; 2 of another kind: .txt, .db)"
    )
    assert f"skipped: {words}" in capsys.readouterr().out
    skipped = json.loads((tmp_path / "out/summary.json").read_text())["skipped"]
    assert (skipped["total"], skipped["words"]) == (5, words)
    assert skipped["kinds"][0] == {
        "reason": "format-not-read",
        "count": 1,
        "examples": ["slide.svs"],
    }
    assert run_images(lifecycle, images, tmp_path / "out", "--json", "--quiet") == 0
    [answer] = json.loads(capsys.readouterr().out)["models"]
    assert answer["skipped"] == skipped


def test_nothing_is_said_where_nothing_is_left_out(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(crop(lifecycle), tmp_path / "images/ring/a.jpg")
    assert run_images(lifecycle, tmp_path / "images", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "skipped" not in said
    assert "no class" not in said
    assert "known" not in said
    assert "1/1 (100%)" in said
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["skipped"] == {"total": 0, "words": "", "kinds": []}
    assert summary["folders_of_no_class"] == {}


def test_where_all_is_left_out_the_error_says_what(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/slide.svs").write_bytes(b"x")
    assert run_images(lifecycle, tmp_path / "images", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "error [no-images-found]" in error
    assert "skipped: 1 (1 in a format that is not read: slide.svs)" in error


def test_folders_that_are_no_class_are_named_and_accuracy_says_of_how_many(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    decomposed = unicodedata.normalize("NFD", "ring")
    put(crop(lifecycle, 1), images / f"{decomposed.upper()}/a.jpg", images / "Uninfected/b.jpg")
    put(crop(lifecycle, 2), images / "Uninfected/c.jpg")
    assert run_images(lifecycle, images, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "1/1 (100%), 1 of 3 known" in said
    assert said.count("folders that are no class of this model: Uninfected (2 images)") == 1
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["accuracy"] == {"correct": 1, "of_known_class": 1, "images": 3}
    assert summary["folders_of_no_class"] == {"Uninfected": 2}
    assert [row["true_class"] for row in summary["images"]] == ["ring", None, None]


def test_errors_are_picked_by_the_class_that_a_folder_means(
    lifecycle: Path, tmp_path: Path
) -> None:
    """A ring among the schizonts, in a folder that is spelled in another way, comes first."""
    images = tmp_path / "images"
    put(crop(lifecycle, 1), images / "Ring/a.jpg", images / "SCHIZONT/z.jpg")
    assert run_images(lifecycle, images, tmp_path / "out", "--pick", "errors") == 0
    rows = json.loads((tmp_path / "out/summary.json").read_text())["images"]
    assert [(row["image"], row["correct"]) for row in rows] == [
        ("SCHIZONT/z.jpg", False),
        ("Ring/a.jpg", True),
    ]


def linked(lifecycle: Path, folder: Path) -> Path:
    """An experiment all of whose folders are links."""
    experiment = folder / "experiment_linked"
    test = experiment / "crops_gt_crops/crops/test"
    test.mkdir(parents=True)
    for source in lifecycle.glob("cls_*"):
        (experiment / source.name).symlink_to(source)
    for source in (lifecycle / "crops_gt_crops/crops/test").iterdir():
        (test / source.name).symlink_to(source)
    return experiment


def test_an_experiment_of_links_is_explained_whole(
    lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = linked(lifecycle, tmp_path)
    there = len(Experiment(lifecycle).images())
    (experiment / "cls_loop").symlink_to("cls_loop")
    (experiment / "cls_up").symlink_to("..")
    (experiment / "cls_left_empty").mkdir()
    (experiment / "cls_notes.txt").touch()
    given = ["--exp-folder", str(experiment), "--max-images", "1", "--models", "focal"]
    assert experiment_main(given) == 0
    said = capsys.readouterr().out
    assert f"1 classifier, {there} test images" in said
    assert "1 link that leads nowhere: cls_loop" in said
    assert said.count("2 cls_ folders without best.pt: cls_left_empty, cls_up") == 1


def test_a_models_folder_that_cannot_be_read_does_not_end_the_others(
    lifecycle: Path, open_folder: Path
) -> None:
    for model in lifecycle.glob("cls_*"):
        shutil.copytree(model, open_folder / model.name)
    (open_folder / "cls_closed").mkdir(mode=0)
    with without_privileges():
        names = [model.name for model in Experiment(open_folder).models()]
    assert names == sorted(path.name for path in lifecycle.glob("cls_*"))

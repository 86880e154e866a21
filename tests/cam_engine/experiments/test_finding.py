"""Finding models and images in results trees as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cam_engine.errors import ExperimentNotFound, ImageNotFound, NoImagesFound, NoModelsFound
from cam_engine.experiments.finding import Experiment, find_experiments, find_images
from tests.cam_engine.experiments.trees import make


def test_models_by_folder_and_either_checkpoint_name(tmp_path: Path) -> None:
    make(
        tmp_path,
        "cls_resnet50_focal/best.pt",
        "cls_densenet121_cb/best_model.pt",
        "cls_last/last.pt",
        "cls_last/best_val_acc.pt",
        "cls_empty/notes.txt",
        "det_yolo11/best.pt",
    )
    models = Experiment(tmp_path).models()
    assert [(m.name, m.checkpoint.name) for m in models] == [
        ("cls_densenet121_cb", "best_model.pt"),
        ("cls_last", "best_val_acc.pt"),
        ("cls_resnet50_focal", "best.pt"),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["focal"], ["cls_densenet121_focal", "cls_resnet50_focal"]),
        (["CB"], ["cls_densenet121_cb"]),
        (["densenet121_focal"], ["cls_densenet121_focal"]),
        (["resnet", "_cb"], ["cls_densenet121_cb", "cls_resnet50_focal"]),
    ],
)
def test_model_filter_is_a_substring_whatever_the_case(
    tmp_path: Path, wanted: list[str], expected: list[str]
) -> None:
    names = ("cls_densenet121_focal", "cls_densenet121_cb", "cls_resnet50_focal")
    make(tmp_path, *(f"{name}/best.pt" for name in names))
    assert [m.name for m in Experiment(tmp_path).models(wanted)] == expected


def test_no_models_says_what_was_expected_and_what_is_there(tmp_path: Path) -> None:
    make(tmp_path, "det_yolo11/best.pt", "notes.txt")
    with pytest.raises(NoModelsFound, match=r"no classification models found.*cls_\*/best.pt") as e:
        Experiment(tmp_path).models()
    assert "det_yolo11/" in str(e.value)
    make(tmp_path, "cls_resnet50_focal/best.pt")
    with pytest.raises(NoModelsFound, match=r"match vgg.*cls_resnet50_focal"):
        Experiment(tmp_path).models(["vgg"])


@pytest.mark.parametrize("crops", ["crops_gt_crops/crops/test", "crops_gt_crops/test"])
def test_test_images_in_the_newer_and_the_older_layout(tmp_path: Path, crops: str) -> None:
    make(tmp_path, f"{crops}/ring/b.jpg", f"{crops}/ring/a.PNG", f"{crops}/ring/notes.txt")
    images = Experiment(tmp_path).images()
    assert [(i.path.name, i.name, i.true_class) for i in images] == [
        ("a.PNG", "a", "ring"),
        ("b.jpg", "b", "ring"),
    ]


def test_what_is_left_out_of_one_layout_is_said_beside_the_images_of_the_other(
    tmp_path: Path,
) -> None:
    newer, older = "crops_gt_crops/crops/test", "crops_gt_crops/test"
    make(tmp_path, f"{newer}/ring/a.svs", f"{older}/b.svs", f"{older}/notes.txt")
    assert Experiment(tmp_path).look_for_images().skipped.total == 3
    make(tmp_path, f"{older}/c.jpg")
    images = Experiment(tmp_path).look_for_images()
    assert [item.name for item in images.items] == ["c"]
    assert [kind.count for kind in images.skipped.kinds] == [2, 1]


def test_older_layout_without_class_folders_has_no_true_class(tmp_path: Path) -> None:
    make(tmp_path, "crops_gt_crops/test/a.jpg")
    assert [i.true_class for i in Experiment(tmp_path).images()] == [None]


def test_no_images_says_where_they_were_expected(tmp_path: Path) -> None:
    make(tmp_path, "crops_gt_crops/crops/train/ring/a.jpg")
    with pytest.raises(NoImagesFound, match=r"no test images found.*crops.*gradcam images"):
        Experiment(tmp_path).images()


def test_a_results_folder_means_the_newest_run_by_the_date_in_its_name(tmp_path: Path) -> None:
    make(
        tmp_path,
        "optZ_20240101_000000/experiments/experiment_old/cls_a/best.pt",
        "optA_20251005_182645/experiments/experiment_b/cls_a/best.pt",
        "optA_20251005_182645/experiments/experiment_a/cls_a/best.pt",
        "optB_20260101_000000/notes/readme.txt",
    )
    run = tmp_path / "optA_20251005_182645"
    for folder in (tmp_path, run, run / "experiments"):
        assert [e.name for e in find_experiments(folder)] == ["experiment_a", "experiment_b"]
    experiment = run / "experiments" / "experiment_b"
    assert [e.folder for e in find_experiments(experiment)] == [experiment]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExperimentNotFound, match="there is no folder"):
        find_experiments(tmp_path / "nowhere")
    with pytest.raises(ImageNotFound, match="nowhere"):
        find_images(tmp_path / "nowhere")

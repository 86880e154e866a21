"""Finding models and images in results trees as people have them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cam_engine.errors import ExperimentNotFound, ImageNotFound, NoImagesFound, NoModelsFound
from cam_engine.experiments.finding import Experiment, ImageItem, find_experiments, find_images
from cam_engine.experiments.naming import unique_names
from cam_engine.experiments.picking import pick_by_errors, pick_images


def make(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def test_models_by_folder_and_either_checkpoint_name(tmp_path: Path) -> None:
    make(
        tmp_path,
        "cls_resnet50_focal/best.pt",
        "cls_densenet121_cb/best_model.pt",
        "cls_empty/last.pt",
        "det_yolo11/best.pt",
    )
    models = Experiment(tmp_path).models()
    assert [(m.name, m.checkpoint.name) for m in models] == [
        ("cls_densenet121_cb", "best_model.pt"),
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
    found = Experiment(tmp_path).look_for_images()
    assert [item.name for item in found.items] == ["c"]
    assert [kind.count for kind in found.skipped.kinds] == [2, 1]


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
    one = run / "experiments" / "experiment_b"
    assert [e.folder for e in find_experiments(one)] == [one]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExperimentNotFound, match="there is no folder"):
        find_experiments(tmp_path / "nowhere")
    with pytest.raises(ImageNotFound, match="nowhere"):
        find_images(tmp_path / "nowhere")


def test_images_of_one_stem_get_names_of_their_own(tmp_path: Path) -> None:
    make(
        tmp_path,
        "ring/cell_1.jpg",
        "ring/cell_2.jpg",
        "schizont/cell_1.jpg",
        "schizont/cell_1.png",
        "schizont/CELL_2.jpg",
        "alone.jpg",
        ".hidden/x.jpg",
    )
    names = {i.path.relative_to(tmp_path).as_posix(): i.name for i in find_images(tmp_path)}
    assert names == {
        "alone.jpg": "alone",
        "ring/cell_1.jpg": "ring_cell_1",
        "ring/cell_2.jpg": "ring_cell_2",
        "schizont/CELL_2.jpg": "schizont_CELL_2",
        "schizont/cell_1.jpg": "schizont_cell_1_jpg",
        "schizont/cell_1.png": "schizont_cell_1_png",
    }


_PART = st.text("ab_1", min_size=1, max_size=3)


@given(
    st.lists(
        st.tuples(st.lists(_PART, max_size=2), _PART, st.sampled_from([".jpg", ".png"])),
        max_size=12,
        unique_by=lambda t: ("/".join(t[0]), t[1], t[2]),
    )
)
def test_names_are_always_unique_whatever_the_case(files: list[tuple[list[str], str, str]]) -> None:
    paths = [Path(*folders, stem + suffix) for folders, stem, suffix in files]
    names = unique_names(paths)
    assert len({name.casefold() for name in names}) == len(paths)


def items(**classes: int) -> list[ImageItem]:
    return [
        ImageItem(Path(f"{name}/{i}.jpg"), f"{name}_{i}", name)
        for name, count in classes.items()
        for i in range(count)
    ]


def test_balanced_shows_every_class() -> None:
    picked = pick_images(items(gametocyte=20, ring=3, schizont=1), 10)
    counts = [sum(i.true_class == c for i in picked) for c in ("gametocyte", "ring", "schizont")]
    assert counts == [6, 3, 1]


def test_first_and_random() -> None:
    many = items(a=20, b=20)
    assert [i.name for i in pick_images(many, 2, "first")] == ["a_0", "a_1"]
    one, same, other = (pick_images(many, 5, "random", seed) for seed in (1, 1, 2))
    assert one == same != other


def test_errors_first_then_the_least_certain() -> None:
    margins = [0.9, -0.2, None, 0.1, -0.7]
    picked = pick_by_errors(items(a=5), margins, 4)
    assert [i.name for i in picked] == ["a_4", "a_1", "a_3", "a_0"]


def test_names_too_long_for_their_pictures_are_shortened_with_a_digest(tmp_path: Path) -> None:
    long = "клетка_" * 18  # 126 characters, 234 bytes
    files = [Path(f"{long}{number}.jpg") for number in (1, 2)]
    names = unique_names([*files, Path("short.jpg")])
    assert names[2] == "short"
    digests = [hashlib.sha256(f"{long}{number}".encode()).hexdigest()[:12] for number in (1, 2)]
    assert [name.rsplit("_", 1)[1] for name in names[:2]] == digests
    assert all(long.startswith(name.rsplit("_", 1)[0]) for name in names[:2])
    assert all(len(name.encode()) <= 160 for name in names)
    assert unique_names([files[1]]) == [names[1]]
    (tmp_path / files[0].name).touch()
    assert [item.name for item in find_images(tmp_path / files[0].name)] == [names[0]]

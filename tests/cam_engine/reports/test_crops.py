"""Crops with their boxes, fields and slides, from folders, tables and files of boxes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cam_engine.errors import InvalidOption
from cam_engine.experiments.finding import Experiment
from cam_engine.images.decoding import read_image
from cam_engine.reports.crops import (
    METADATA,
    Crop,
    crops_beside,
    read_crops,
    read_table,
    with_slides,
)

HEADER = "original_image,crop_filename,split,class_id,class_name,bbox_x1,bbox_y1,bbox_x2,bbox_y2"


@pytest.fixture
def experiment(lifecycle: Path, tmp_path: Path) -> Path:
    """The bundled crops without any model."""
    folder = tmp_path / "experiment_x"
    shutil.copytree(lifecycle / "crops_gt_crops", folder / "crops_gt_crops")
    return folder


def test_boxes_of_the_metadata_lie_on_the_drawn_parasites(sample_crops: list[Crop]) -> None:
    assert {crop.split for crop in sample_crops} == {"test", "val"}
    for crop in sample_crops[::7]:
        mask = crop.file.parents[3] / "masks" / crop.split / crop.label / f"{crop.file.stem}.png"
        ys, xs = read_image(mask)[..., 0].nonzero()
        assert crop.box is not None
        assert abs(crop.box[0] - xs.min()) <= 1
        assert abs(crop.box[3] - (ys.max() + 1)) <= 1
        assert crop.field_box is None


def test_boxes_in_field_pixels_are_not_taken_for_the_crops(experiment: Path) -> None:
    table = experiment / "crops_gt_crops" / METADATA
    head, *rows = table.read_text().splitlines()
    moved = []
    for row in rows:
        *first, x1, y1, x2, y2 = row.split(",")[:9]
        moved.append(",".join([*first, *(str(int(side) + 900) for side in (x1, y1, x2, y2))]))
    table.write_text("\n".join([head, *moved]))
    crops = read_crops(Experiment(experiment))
    assert {crop.box for crop in crops} == {None}
    assert all(crop.field_box is not None and crop.field_box[0] >= 900 for crop in crops)
    assert all(crop.field is not None for crop in crops)


def test_a_file_of_boxes_overrules_by_class_and_name_or_by_name(experiment: Path) -> None:
    crops = read_crops(Experiment(experiment))
    named = next(crop for crop in crops if crop.split == "test")
    file = experiment / "boxes.json"
    file.write_text(json.dumps({f"any/{named.label}/{named.name}": [1, 2, 30, 40]}))
    found = {(c.split, c.label, c.name): c.box for c in read_crops(Experiment(experiment), file)}
    assert found["test", named.label, named.name] == (1, 2, 30, 40)
    other = next(crop for crop in crops if crop.label != named.label)
    assert found[other.split, other.label, other.name] == other.box
    table = experiment / "boxes.csv"
    table.write_text(f"{HEADER}\nf.jpg,{named.name},test,0,{named.label},5,6,7,8")
    again = {(c.split, c.label, c.name): c.box for c in read_crops(Experiment(experiment), table)}
    assert again["test", named.label, named.name] == (5, 6, 7, 8)


@pytest.mark.parametrize(
    "text", ["[1, 2]", "{", '{"a.jpg": [1, 2, 3]}', '{"a.jpg": ["x", 1, 2, 3]}']
)
def test_what_is_no_file_of_boxes_is_refused_with_an_example(
    experiment: Path, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(text)
    with pytest.raises(InvalidOption, match=r'is no file of boxes, which is JSON like \{"ring/'):
        read_crops(Experiment(experiment), file)


@pytest.mark.parametrize("text", ["a,b\n1,2", f"{HEADER}\nf.jpg,c.jpg,test,0,ring,1,2,3,x"])
def test_what_is_no_table_of_crops_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(InvalidOption, match="is no table of crops"):
        read_table(file)


def test_images_beside_a_file_of_boxes_are_crops_of_their_own(
    experiment: Path, tmp_path: Path
) -> None:
    crop = read_crops(Experiment(experiment))[0]
    wide = tmp_path / "wide" / "context" / "ring"
    wide.mkdir(parents=True)
    shutil.copy(crop.file, wide / "PA171695_117.jpg")
    boxes = tmp_path / "wide" / "boxes.json"
    boxes.write_text(
        json.dumps(
            {"context/ring/PA171695_117.jpg": [9, 9, 50, 50], "ring/none_1.jpg": [0, 0, 1, 1]}
        )
    )
    (found,) = crops_beside(boxes)
    assert (found.label, found.field, found.box) == ("ring", "PA171695", (9, 9, 50, 50))
    assert found.cluster == "PA171695"


def of_fields(*fields: str) -> list[str | None]:
    return [
        crop.slide for crop in with_slides([Crop("n", "test", "ring", field=f) for f in fields])
    ]


def test_slides_are_the_prefixes_that_several_fields_share() -> None:
    assert of_fields("130-01-R", "130-02-S", "140-01-R") == ["130", "130", "140"]
    assert of_fields("slide1_f1", "slide1_f2", "slide2_f1") == ["slide1", "slide1", "slide2"]


@pytest.mark.parametrize(
    "fields",
    [
        ("PA171734", "PA171735"),  # nothing to part
        ("smear_001", "smear_002", "smear_003"),  # one prefix for all
        ("a_1", "b_1", "c_1"),  # each its own
    ],
)
def test_names_that_tell_nothing_are_no_slides(fields: tuple[str, ...]) -> None:
    assert set(of_fields(*fields)) == {None}


def test_the_cluster_is_the_largest_unit_that_is_known() -> None:
    crop = Crop("n.jpg", "test", "ring")
    assert crop.cluster == "test/ring/n.jpg"
    assert Crop("n.jpg", "test", "ring", field="f").cluster == "f"
    assert Crop("n.jpg", "test", "ring", field="f", slide="s").cluster == "s"
    with pytest.raises(ValueError, match=r"n\.jpg is no file"):
        _ = crop.file

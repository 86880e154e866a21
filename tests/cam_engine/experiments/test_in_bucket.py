"""Experiments in a bucket are found as those in a folder are, and read as they are needed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cam_engine import text_keys
from cam_engine.errors import DataUnavailable, ExperimentNotFound, ImageNotFound, PathOutsideRoot
from cam_engine.experiments.data_root import DataRoot
from cam_engine.experiments.finding import Experiment, find_experiments, look_for_images
from cam_engine.images.png import encode_png
from cam_engine.reports.crops import METADATA, read_crops
from cam_engine.stores import access, fetching
from cam_engine.stores.access import MirrorOptions
from tests.buckets import Bucket, requests_of
from tests.s3_server import S3Server


@pytest.fixture
def options(tmp_path: Path) -> MirrorOptions:
    return MirrorOptions(tmp_path / "cache", listing_seconds=0.0)


@pytest.mark.parametrize("below", ["", "experiments/", "experiments/experiment_synthetic_species/"])
def test_a_data_root_is_the_same_in_a_bucket(
    bucket: Bucket, options: MirrorOptions, sample_run: Path, below: str
) -> None:
    bucket.put_tree(sample_run, "lab/run_20250101_000000/")
    bucket.put("lab/notes.txt", b"x")
    bucket.put("elsewhere/experiment_hidden/cls_a/best.pt", b"x")
    start = f"lab/run_20250101_000000/{below}" if below else "lab"
    there = DataRoot(access.local(bucket.address / start, options))
    here = DataRoot(sample_run / below)
    found, expected = there.look_for_experiments(), here.look_for_experiments()
    assert len(found.experiments) == len(expected.experiments) > 0
    for a, b in zip(found.experiments, expected.experiments, strict=True):
        assert there.id_of(a.folder).endswith(here.id_of(b.folder))
        assert [m.name for m in there.models(a)] == [m.name for m in here.models(b)]
        assert a.splits == b.splits
        for split in b.splits:
            images, others = there.look_for_images(a, split), here.look_for_images(b, split)
            assert images.skipped == others.skipped
            for one, other in zip(images.items, others.items, strict=True):
                assert (one.name, one.true_class) == (other.name, other.true_class)
                assert fetching.state_of(one.path) == fetching.BY_NAME
            assert there.read_image(images.items[0].path) == here.read_image(others.items[0].path)


def test_experiments_that_come_and_go_are_seen(bucket: Bucket, options: MirrorOptions) -> None:
    root = DataRoot(access.local(bucket.address / "lab", options))
    assert root.experiments() == []
    for name in ("a", "b"):
        bucket.put(f"lab/experiment_{name}/cls_x/best.pt", b"x")
    assert [e.name for e in root.experiments()] == ["experiment_b", "experiment_a"]
    bucket.remove("lab/experiment_a/cls_x/best.pt")
    (kept,) = root.experiments()
    bucket.put("lab/experiment_b/cls_y/best.pt", b"y")
    assert [model.name for model in root.models(kept)] == ["cls_x", "cls_y"]


def test_one_experiment_that_cannot_be_listed_is_told_and_the_others_are_there(
    bucket: Bucket, options: MirrorOptions
) -> None:
    for name in ("good", "odd"):
        bucket.put(f"lab/experiment_{name}/cls_x/best.pt", b"x")
    bucket.put_raw("lab/experiment_odd/cls_x//last.pt", b"x")
    root = DataRoot(access.local(bucket.address / "lab", options))
    odd, good = root.experiments()
    assert [model.name for model in root.models(good)] == ["cls_x"]
    (kind,) = root.look_for_models(odd).skipped.kinds
    assert kind.reason == "not-readable"
    assert "cls_x//last.pt" in kind.words
    assert odd.splits == []


def test_a_key_that_is_no_path_is_counted(bucket: Bucket, options: MirrorOptions) -> None:
    bucket.put("lab/experiment_a/cls_x/best.pt", b"x")
    bucket.put(f"lab/experiment_a/crops_gt_crops/test/ring/{'x' * 300}.jpg", b"x")
    bucket.put("lab/experiment_a/crops_gt_crops/test/ring/y.jpg", b"x")
    root = DataRoot(access.local(bucket.address / "lab", options))
    (experiment,) = root.experiments()
    images = root.look_for_images(experiment)
    assert [item.name for item in images.items] == ["y"]
    assert [(kind.reason, kind.count) for kind in images.skipped.kinds] == [("no-path", 1)]
    assert not root.look_for_models(experiment).skipped


def test_no_path_leads_out_of_the_prefix(bucket: Bucket, options: MirrorOptions) -> None:
    bucket.put("lab/experiment_a/cls_x/best.pt", b"x")
    bucket.put("lab2/secret.jpg", b"x")
    root = DataRoot(access.local(bucket.address / "lab", options))
    access.look_below(root.root.parent / "lab2")
    for path in ("../lab2/secret.jpg", "/lab2/secret.jpg", "x/../../lab2/secret.jpg"):
        with pytest.raises(PathOutsideRoot):
            root.inside(path)
    with pytest.raises(PathOutsideRoot):
        root.read_image(root.root.parent / "lab2/secret.jpg")


def test_own_pictures_are_known_by_name_and_then_by_what_they_say(
    bucket: Bucket, options: MirrorOptions
) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    ours = encode_png(pixels, text={text_keys.RECIPE: '{"image_sha256": "0"}'})
    plain = encode_png(pixels)
    for name, content in (
        ("improved_gradcam_a.png", ours),
        ("improved_gradcam_b.png", plain),
        ("c.png", plain),
    ):
        bucket.put(f"lab/{name}", content)
    folder = access.local(bucket.address / "lab", options)
    with requests_of(bucket) as asked:
        images = look_for_images(folder)
    assert [item.name for item in images.items] == ["c", "improved_gradcam_b"]
    assert [(kind.reason, kind.count) for kind in images.skipped.kinds] == [("own-picture", 1)]
    assert not any("c.png" in words for words in asked)


def test_a_folder_that_is_not_there_is_named_by_its_address(
    bucket: Bucket, options: MirrorOptions
) -> None:
    folder = access.local(bucket.address / "nothing", options)
    with pytest.raises(ExperimentNotFound, match=f"no folder s3://{bucket.name}/nothing;"):
        find_experiments(folder)
    with pytest.raises(ImageNotFound, match=f"s3://{bucket.name}/nothing"):
        look_for_images(folder)


def test_a_bucket_that_is_not_there_is_told_as_such(s3: S3Server, options: MirrorOptions) -> None:
    folder = access.local(Path("s3://no-such-bucket/lab"), options)
    for look in (find_experiments, look_for_images, lambda path: DataRoot(path).experiments()):
        with pytest.raises(DataUnavailable, match="s3://no-such-bucket/lab"):
            look(folder)
    assert Experiment(folder).look_for_models().skipped


def test_crops_and_their_boxes_are_those_of_the_folder(
    bucket: Bucket, options: MirrorOptions, lifecycle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "experiment_x"
    shutil.copytree(lifecycle / "crops_gt_crops", copy / "crops_gt_crops")
    sides = "bbox_x1,bbox_y1,bbox_x2,bbox_y2"
    (copy / "crops_gt_crops" / METADATA).write_text(
        f"crop_filename,split,class_name,original_image,{sides}\n"
        "cell_001.jpg,test,ring,field 7.jpg,10,20,30,40\n"
    )
    bucket.put_tree(copy, "experiment_x/")
    there = read_crops(Experiment(access.local(bucket.address / "experiment_x", options)))
    here = read_crops(Experiment(copy))
    assert any(crop.box == (10, 20, 30, 40) for crop in there)
    assert [replace(crop, path=Path()) for crop in there] == [
        replace(crop, path=Path()) for crop in here
    ]

"""What a bucket has below a folder."""

from __future__ import annotations

import pytest

from cam_engine.stores.listing import Stamp, all_levels, between, one_level
from tests.buckets import Bucket, requests_of


def test_one_level_has_its_files_and_folders(bucket: Bucket) -> None:
    for key in ("lab/a.txt", "lab/run/x.pt", "lab/run/deep/y.pt", "other/z"):
        bucket.put(key, b"x")
    listed = one_level(bucket.store, "lab")
    assert list(listed.files) == [("a.txt",)]
    assert listed.folders == {("run",)}
    assert one_level(bucket.store, "").folders == {("lab",), ("other",)}


def test_all_levels_are_below_the_folder_and_not_below_one_of_a_longer_name(
    bucket: Bucket,
) -> None:
    for key in ("lab/a", "lab/b/c/d", "lab2/e", "la"):
        bucket.put(key, b"x")
    assert set(all_levels(bucket.store, "lab").files) == {("a",), ("b", "c", "d")}


def test_names_that_only_look_escaped_are_names(bucket: Bucket) -> None:
    bucket.put("lab/h i%20ü#?.jpg", b"x")
    assert list(all_levels(bucket.store, "lab").files) == [("h i%20ü#?.jpg",)]


def test_between_lists_no_page_beyond_the_last_folder(bucket: Bucket) -> None:
    wanted = ("cls_a/best.pt", "cls_b/best.pt", "crops_gt_crops/crops/test/ring/1.jpg")
    others = ("a.txt", "cl", "crops_gt_crops_old/2.jpg", "det/best.pt")
    made = [f"gradcam_visualizations/cls_a/{number:04}.png" for number in range(1100)]
    for key in (*wanted, *others, *made):
        bucket.put(f"lab/{key}", b"x")
    with requests_of(bucket) as asked:
        listed = between(bucket.store, "lab", "cls_", "crops_gt_crops")
    assert {"/".join(parts) for parts in listed.files} == set(wanted)
    assert len(asked) == 1, asked


def test_a_key_that_is_also_a_folder_is_no_file(bucket: Bucket) -> None:
    bucket.put("lab/run/", b"")  # as consoles make folders
    bucket.put("lab/run/x", b"x")
    bucket.put("lab/run/y", b"something")
    bucket.put("lab/run/y/z", b"x")
    for look in (all_levels(bucket.store, "lab"), one_level(bucket.store, "lab/run")):
        assert not {("run",), ("run", "y"), ("y",)} & set(look.files)
    assert all_levels(bucket.store, "lab").odd == ["run/y"]


def test_a_name_that_no_file_can_have_is_told_and_the_others_are_there(bucket: Bucket) -> None:
    bucket.put(f"lab/{'x' * 300}.jpg", b"x")
    bucket.put("lab/y.jpg", b"x")
    listed = all_levels(bucket.store, "lab")
    assert list(listed.files) == [("y.jpg",)]
    assert listed.odd == [f"lab/{'x' * 300}.jpg"]


def test_a_stamp_tells_contents_of_one_size_and_second_apart(bucket: Bucket) -> None:
    stamps = set()
    for content in (b"one", b"two"):
        bucket.put("lab/a", content)
        (stamp,) = all_levels(bucket.store, "lab").files.values()
        assert stamp.size == 3
        assert stamp.mtime_ns % 1000 == 0  # which all file systems keep
        stamps.add(stamp)
    bucket.put("lab/a", b"one")
    assert len(stamps) == 2


@pytest.mark.parametrize("key", ["lab//a.jpg", "lab/../a.jpg", "lab/./a.jpg"])
def test_a_page_with_a_key_that_leads_elsewhere_is_refused_with_that_key(
    bucket: Bucket, key: str
) -> None:
    bucket.put_raw(key, b"x")
    with pytest.raises(Exception, match="path") as raised:
        all_levels(bucket.store, "lab")
    assert key in str(raised.value)


def test_a_stamp_has_the_size_and_the_second_of_the_change(bucket: Bucket) -> None:
    bucket.put("a", b"four")
    meta = bucket.store.head("a")
    stamp = Stamp.of(meta)
    assert stamp.size == 4
    assert stamp.mtime_ns // 10**9 == int(meta["last_modified"].timestamp())

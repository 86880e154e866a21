"""What an S3 store has that a folder has not: uploads, conditions, marks of unfinished jobs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from cam_engine.errors import InvalidOption, OutputBusy, OutputNotWritable, PathOutsideRoot
from cam_engine.experiments.data_root import DataRoot
from cam_engine.experiments.finding import ImageItem
from cam_engine.images.png import encode_png
from cam_engine.outputs.files import PicturePaths
from cam_engine.outputs.folder_lock import OLDER_JOB_FILE
from processes.eventually import eventually
from tests.s3_server import BUCKET, S3Server
from tests.worker.jobs.outputs.storing import (
    ENDED,
    FOUR,
    ONE,
    RUNNING,
    THREE,
    TWO,
    made_by,
    named,
    output_of,
    publish,
)
from worker.jobs.outputs.objects import Objects
from worker.jobs.outputs.s3 import ObjectStorage
from worker.jobs.outputs.storage import OutputFolder, Workspace


def test_what_was_made_in_this_way_is_known(in_s3: OutputFolder, tmp_path: Path) -> None:
    image = tmp_path / "x.jpg"
    image.write_bytes(b"pixels")
    digest = hashlib.sha256(b"pixels").hexdigest()
    for name, run, sha256 in (
        ("same", "r1", digest),
        ("other_way", "r0", digest),
        ("other_image", "r1", "0" * 64),
    ):
        publish(in_s3, "cls_a", name, made_by(run, sha256))
    names = ["other_way", "same", "missing", "other_image"]
    items = [ImageItem(image, name, None) for name in names]
    with in_s3.workspace("cls_a") as workspace:
        assert workspace.made_before("r1", items) == {1: ()}


def test_with_what_was_made_comes_what_was_assumed_of_its_image(
    in_s3: OutputFolder, tmp_path: Path
) -> None:
    image = tmp_path / "x.jpg"
    image.write_bytes(b"pixels")
    recipe = json.loads(made_by("r1", hashlib.sha256(b"pixels").hexdigest())["Recipe"])
    decoding = {"format": "TIFF", "bits": 16, "scaling": "folder", "scaled_bits": 12}
    publish(in_s3, "cls_a", "x", {"Recipe": json.dumps({**recipe, "decoding": decoding})})
    with in_s3.workspace("cls_a") as workspace:
        said = "16 bits scaled by 12 bits (the folder's largest sample)"
        assert workspace.made_before("r1", [ImageItem(image, "x", None)]) == {0: (said,)}


def test_the_scratch_folder_is_empty_after_each_image_and_gone_in_the_end(
    in_s3: OutputFolder,
) -> None:
    with in_s3.workspace("cls_a") as workspace:
        main = PicturePaths(Path(), "x").main()
        workspace.folder.write(main, b"figure")
        workspace.publish([main], lambda: None)
        workspace.wait()
        assert list(workspace.folder.files_below(levels=2)) == []
    assert not workspace.folder.path.exists()


def told_of(workspace: Workspace, files: list[Path], told: list[Path]) -> None:
    workspace.publish(files, lambda: told.append(files[-1]))
    workspace.wait()


def test_a_failed_upload_is_said_and_leaves_no_main_figure(in_s3: OutputFolder) -> None:
    told: list[Path] = []
    with in_s3.workspace("cls_a") as workspace:
        paths = PicturePaths(Path(), "x")
        workspace.folder.write(paths.main(), b"figure")
        missing = paths.component("late", "heatmap")
        with pytest.raises(OutputNotWritable):
            told_of(workspace, [missing, paths.main()], told)
    assert told == []
    assert in_s3.figures("cls_a") == []
    assert in_s3.file("cls_a/components/x_late_heatmap.png") is None


def test_a_store_that_is_not_there_is_said(s3: S3Server, tmp_path: Path) -> None:
    storage = ObjectStorage("s3://no-such-bucket", DataRoot(tmp_path))
    output = output_of(storage, "here")
    with pytest.raises(OutputNotWritable, match="output store"):
        output.write_job_file(ONE, RUNNING, finished=False)
    with pytest.raises(OutputNotWritable):
        output.acquire("cls_a", ONE)


@pytest.mark.parametrize("name", ["../x", "/x", ".unfinished", "a/.b"])
def test_an_output_cannot_leave_the_prefix(s3: S3Server, tmp_path: Path, name: str) -> None:
    storage = ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", DataRoot(tmp_path))
    with pytest.raises((PathOutsideRoot, InvalidOption)):
        storage.place(named(name))


def test_planted_marks_of_unfinished_runs_lead_nowhere(s3: S3Server, tmp_path: Path) -> None:
    address = f"s3://{BUCKET}/{tmp_path.name}"
    objects, storage = Objects(address), ObjectStorage(address, DataRoot(tmp_path))
    for name, output in (("x", "here"), (ONE, "../here"), (TWO, "/here"), (THREE, "h" * 2000)):
        objects.write(f".unfinished/{name}", output.encode())
    objects.write(f".unfinished/{FOUR}", b"\xff")
    objects.write(f"here/runs/{ONE}/job.json", RUNNING)
    objects.write("here/runs/x/job.json", RUNNING)
    assert list(storage.unfinished_jobs()) == []


def test_a_foreign_mark_hides_no_job_that_goes_on(s3: S3Server, tmp_path: Path) -> None:
    address = f"s3://{BUCKET}/{tmp_path.name}"
    storage = ObjectStorage(address, DataRoot(tmp_path))
    output_of(storage, "here").write_job_file(TWO, RUNNING, finished=False)
    objects = Objects(address)
    for name in ("0", ONE, "zzz"):
        objects.write(f".unfinished/{name}", b"here")
    assert [(job.job, job.content) for job in storage.unfinished_jobs()] == [(TWO, RUNNING)]


def test_a_job_of_an_older_version_is_read_and_then_written_anew(
    in_s3: OutputFolder, tmp_path: Path
) -> None:
    objects = Objects(f"s3://{BUCKET}/{tmp_path.name}")
    objects.write(f"here/runs/{ONE}/{OLDER_JOB_FILE}", RUNNING)
    assert in_s3.read_job_file(ONE) == RUNNING
    in_s3.acquire("cls_a", ONE)
    with pytest.raises(OutputBusy):
        in_s3.acquire("cls_a", TWO)  # it goes on
    in_s3.write_job_file(ONE, ENDED, finished=True)
    assert in_s3.read_job_file(ONE) == ENDED
    assert objects.size(f"here/runs/{ONE}/{OLDER_JOB_FILE}") is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"job": 7}', b'{"job": "x"}', b"[" * 100_000])
def test_a_lock_that_says_nothing_is_free(
    in_s3: OutputFolder, tmp_path: Path, content: bytes
) -> None:
    objects = Objects(f"s3://{BUCKET}/{tmp_path.name}")
    objects.write("here/cls_a/.gradcam.lock", content)
    in_s3.acquire("cls_a", ONE)
    assert json.loads(objects.read("here/cls_a/.gradcam.lock")) == {"job": ONE}


@pytest.mark.parametrize("content", [b"no JSON", b"[" * 100_000])
def test_a_damaged_file_of_a_job_holds_no_folder(in_s3: OutputFolder, content: bytes) -> None:
    in_s3.write_job_file(ONE, content, finished=False)
    in_s3.acquire("cls_a", ONE)
    in_s3.acquire("cls_a", TWO)


def test_images_are_told_of_while_others_are_put(in_s3: OutputFolder) -> None:
    told: list[int] = []
    with in_s3.workspace("cls_a") as workspace:

        def put(number: int) -> None:
            main = PicturePaths(Path(), str(number)).main()
            workspace.folder.write(main, b"figure")
            workspace.publish([main], lambda: told.append(number))

        put(0)
        eventually("the first is put", lambda: in_s3.figures("cls_a") == ["0"])
        for number in range(1, 100):
            if told:
                break
            put(number)
        assert told[0] == 0  # before anybody waited
        workspace.wait()
    assert told == sorted(told)
    assert len(in_s3.figures("cls_a")) == len(told)


def test_of_a_large_figure_the_beginning_is_read(
    in_s3: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    with in_s3.workspace("cls_a") as workspace:
        main = PicturePaths(Path(), "x").main()
        workspace.folder.write(main, encode_png(pixels, text=made_by("r1")))
        workspace.publish([main], lambda: None)
        workspace.wait()
    whole: list[str] = []
    monkeypatch.setattr(Objects, "read", lambda _, key: whole.append(key))
    (made,) = in_s3.provenance(["cls_a/improved_gradcam_x.png"])
    assert made is not None
    assert (made.run_digest, whole) == ("r1", [])


def test_what_is_in_the_store_but_is_no_picture_of_ours_is_not_touched(
    in_s3: OutputFolder, tmp_path: Path
) -> None:
    objects = Objects(f"s3://{BUCKET}/{tmp_path.name}")
    for name in ("notes.txt", "foreign.png", "improved_gradcam_x.txt"):
        objects.write(f"here/cls_a/{name}", b"x")
    publish(in_s3, "cls_a", "old", made_by("r0"))
    assert in_s3.figures("cls_a") == ["old"]
    assert in_s3.remove_made_otherwise("cls_a", {"r1"}) == 1
    assert {key for key, _ in objects.below("here/cls_a")} == {
        "here/cls_a/notes.txt",
        "here/cls_a/foreign.png",
        "here/cls_a/improved_gradcam_x.txt",
        "here/cls_a/components/old_late_heatmap.png",
    }


def test_a_job_that_is_removed_leaves_the_pictures(in_s3: OutputFolder, tmp_path: Path) -> None:
    in_s3.write_job_file(ONE, RUNNING, finished=False)
    publish(in_s3, "cls_a", "x", made_by("r1"))
    in_s3.remove_job(ONE)
    objects = Objects(f"s3://{BUCKET}/{tmp_path.name}")
    assert list(objects.below(".unfinished")) == []
    assert list(objects.below("here/runs")) == []
    assert in_s3.figures("cls_a") == ["x"]

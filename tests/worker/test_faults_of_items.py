"""One item's fault in a job: it fails by itself, with a code, and the rest is done."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from cam_engine.errors import NoModelsFound, PathOutsideRoot
from cam_engine.options import Pick
from tests.cam_engine.commands.test_running import save_failing
from tests.worker.working import IMAGES, MODEL, Setting, crops
from worker.jobs.contract import JobRequest, JobState


def done(setting: Setting, *models: str, pick: Pick = "balanced") -> JobState:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    request = JobRequest(experiment=name, models=models, max_images=None, pick=pick)
    job = setting.jobs.accept(request, None).state.record.id
    while given := list(setting.jobs.store.out(job)):
        for image in given:
            setting.runner.run(image.chunk)
    return setting.jobs.get(job)


def test_a_model_that_fails_in_any_way_fails_alone(setting: Setting) -> None:
    crops(setting)
    save_failing(setting.experiment / "cls_failing_ce")
    job = done(setting, "failing", "focal")
    assert (job.status, job.progress.succeeded, job.progress.failed) == ("partial", IMAGES, IMAGES)
    whys = setting.jobs.store.failures(job.record.id).values()
    assert {why.code for why in whys} == {"internal-error"}
    assert not any(str(setting.experiment.parent.parent) in why.detail for why in whys)


ODD_NAMES = ("ring\\cell.jpg", "a%5Cb.jpg", "two\nlines.jpg", "plain.jpg")


def name_oddly(setting: Setting) -> None:
    for crop, name in zip(crops(setting), ODD_NAMES, strict=True):
        crop.rename(crop.with_name(name))


@pytest.mark.parametrize("pick", ["balanced", "errors"])
def test_images_of_any_name_are_explained(setting: Setting, pick: Pick) -> None:
    """As zips made on Windows name them."""
    name_oddly(setting)
    job = done(setting, "focal", pick=pick)
    assert (job.status, job.progress.succeeded, job.progress.total) == ("succeeded", 4, 4)
    pictures = setting.archive(job)
    for name in ODD_NAMES:
        stem = name.removesuffix(".jpg")
        path = f"{MODEL}/improved_gradcam_{stem}.png"
        assert setting.jobs.results.thumbnail(job, path, 64)
        assert path in pictures
    items = setting.jobs.results.items(job, None, 0, 10).items
    assert [item.outdated for item in items] == [None] * 4
    with pytest.raises(PathOutsideRoot):
        setting.jobs.results.file(job, f"{MODEL}\\improved_gradcam_plain.png")


def test_a_long_name_stops_nothing(setting: Setting) -> None:
    long = "клетка" * 20 + ".jpg"
    first, *_ = crops(setting)
    first.rename(first.with_name(long))
    job = done(setting, "focal")
    assert (job.status, job.progress.succeeded) == ("succeeded", IMAGES)
    items = setting.jobs.results.items(job, None, 0, 10).items
    assert [item.image.path.endswith(long) for item in items if item.image].count(True) == 1


def test_a_foreign_summary_is_left_alone(setting: Setting) -> None:
    crops(setting)
    foreign = {
        setting.output / "others/summary.json": "",
        setting.output / MODEL / "summary.json": "{}",
    }
    for file, text in foreign.items():
        file.parent.mkdir(parents=True)
        file.write_text(text)
    job = done(setting, "focal")
    assert job.status == "succeeded"
    assert all(file.read_text() == text for file, text in foreign.items())
    (merged,) = json.loads((setting.output / "summary.json").read_text())["models"]
    assert len(merged["images"]) == IMAGES


def test_names_that_are_not_utf8_do_not_stop_a_job(setting: Setting) -> None:
    images = crops(setting)
    images[0].rename(images[0].parent / os.fsdecode(b"cellul\xe9.jpg"))
    folder = setting.experiment / MODEL
    shutil.copytree(folder, setting.experiment / os.fsdecode(b"cls_mod\xe8le_focal"))
    job = done(setting, "focal")
    assert (job.status, job.progress.total, len(job.record.models)) == ("succeeded", IMAGES - 1, 1)
    with pytest.raises(NoModelsFound) as refused:
        done(setting, "vgg")
    assert json.dumps(str(refused.value), ensure_ascii=False).encode()

"""A job's own files: told from what others put in their place, one by one."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cam_engine.errors import PathOutsideRoot
from cam_engine.images.png import read_png_text
from service.http.problems import ServiceError
from tests.worker.working import MODEL, Setting, crops
from worker.jobs.contract import JobRequest, JobState

OTHER_MODEL = "cls_mobilenet_v3_small_cb"
SUMMARIES = [
    *(f"{MODEL}/{name}" for name in ("manifest.json", "summary.csv", "summary.json")),
    *("manifest.json", "summary.csv", "summary.json"),
]


def job(setting: Setting, *, work: bool = True, **options: Any) -> JobState:
    """One over the few images of the experiment."""
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    request = JobRequest(experiment=name, **{"models": ("focal",), "max_images": None, **options})
    state = setting.jobs.accept(request, None).state
    while work and (given := setting.jobs.store.out(state.record.id)):
        for chunk in given:
            setting.runner.run(chunk.chunk)
    return setting.jobs.get(state.record.id)


@pytest.fixture
def images(setting: Setting) -> list[Path]:
    """Four images, the first of which cannot be read."""
    images = crops(setting)
    images[0].write_bytes(b"no image")
    return images


def items(setting: Setting, state: JobState, status: Any = None) -> list[Any]:
    return list(setting.jobs.results.items(state, status, 0, 100).items)


def content(setting: Setting, state: JobState, path: str) -> bytes:
    return b"".join(setting.jobs.results.file(state, path).content())


def refusal(setting: Setting, state: JobState, path: str) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        setting.jobs.results.file(state, path)
    return refused.value


def figure(image: Path) -> str:
    return f"{MODEL}/improved_gradcam_{image.stem}.png"


def test_items_have_what_became_of_each_image(setting: Setting, images: list[Path]) -> None:
    state = job(setting)
    failed, *made = items(setting, state)
    assert failed.image.path == images[0].relative_to(setting.experiment).as_posix()
    assert (failed.state, failed.failure.code) == ("failed", "invalid-image")
    assert (failed.figure, failed.replaced, failed.outdated) == (None, None, None)
    assert [item.figure for item in made] == [figure(image) for image in images[1:]]
    assert [item.true_class for item in made] == [image.parent.name for image in images[1:]]
    assert {(item.state, item.failure, item.outdated) for item in made} == {
        ("succeeded", None, None)
    }
    assert {item.model for item in made} == {state.record.models[0].id}


def test_items_of_a_state_come_in_pages(setting: Setting, images: list[Path]) -> None:
    state = job(setting)
    read = setting.jobs.results.items
    assert [item.state for item in read(state, "failed", 0, 10).items] == ["failed"]
    page = read(state, "succeeded", 1, 1)
    assert page.total == 3
    assert [item.figure for item in page.items] == [figure(images[2])]
    assert read(state, "pending", 0, 10).items == ()
    assert read(state, None, 4, 10).total == 4


def test_before_a_worker_came_nothing_is_there(setting: Setting, images: list[Path]) -> None:
    state = job(setting, work=False, pick="errors", max_images=2)
    waiting = items(setting, state)
    assert [(item.state, item.image, item.true_class) for item in waiting] == [
        ("pending", None, None)
    ] * 2
    assert refusal(setting, state, figure(images[1])).code == "file-not-found"
    assert list(zipfile.ZipFile(io.BytesIO(archive(setting, state))).namelist()) == []


def archive(setting: Setting, state: JobState) -> bytes:
    return b"".join(setting.jobs.results.archive(state))


def test_files_are_the_jobs_pictures_and_summaries(setting: Setting, images: list[Path]) -> None:
    state = job(setting)
    path = figure(images[1])
    assert content(setting, state, path) == (setting.output / path).read_bytes()
    for name in SUMMARIES:
        assert content(setting, state, name)
    for missing in (
        figure(images[0]),
        f"{OTHER_MODEL}/improved_gradcam_x.png",
        f"{MODEL}/.gradcam.lock",
        f"{MODEL}/best.pt",
        "summary.json/summary.json",
        "x",
    ):
        assert refusal(setting, state, missing).code == "file-not-found", missing
    for outside in ("../x", f"{MODEL}/../../x", "/etc/hostname", ""):
        with pytest.raises((PathOutsideRoot, ServiceError)):
            setting.jobs.results.file(state, outside)


def test_what_another_job_made_there_of_another_image_is_not_the_jobs(
    setting: Setting, images: list[Path]
) -> None:
    few = job(setting, max_images=1, pick="first")
    rest = job(setting)
    assert few.record.folder == rest.record.folder
    assert content(setting, rest, figure(images[1]))
    assert refusal(setting, few, figure(images[1])).code == "file-not-found"


def test_pictures_have_thumbnails_and_other_files_none(
    setting: Setting, images: list[Path]
) -> None:
    state = job(setting)
    thumbnail = setting.jobs.results.thumbnail(state, figure(images[1]), 64)
    with Image.open(io.BytesIO(thumbnail)) as opened:
        assert (opened.format, max(opened.size)) == ("JPEG", 64)
    with pytest.raises(ServiceError) as refused:
        setting.jobs.results.thumbnail(state, "summary.json", 64)
    assert refused.value.code == "file-not-found"


def test_the_archive_has_all_of_it(setting: Setting, images: list[Path]) -> None:
    state = job(setting)
    files = setting.archive(state)
    pictures = [name for name in files if name.endswith(".png")]
    own = [path.relative_to(setting.output).as_posix() for path in setting.output.rglob("*.png")]
    assert sorted(pictures) == sorted(own)
    assert sorted(set(files) - set(pictures)) == SUMMARIES
    assert files[figure(images[1])] == (setting.output / figure(images[1])).read_bytes()


def test_what_another_job_replaced_is_said_and_left_out(
    setting: Setting, images: list[Path]
) -> None:
    first = job(setting)
    second = job(setting, method="layercam", replace=True, max_images=2, pick="first")
    assert first.record.folder == second.record.folder
    replaced = items(setting, first, "succeeded")
    by, why = second.record.id, f"replaced by job {second.record.id}"
    removed = f"removed by job {by}, which replaced the others"
    assert [(item.replaced, item.replaced_by, item.figure) for item in replaced] == [
        (why, by, None),
        (removed, by, None),
        (removed, by, None),
    ]
    refused = refusal(setting, first, figure(images[1]))
    assert (refused.code, refused.detail) == ("result-replaced", why)
    files = setting.archive(first)
    assert not [name for name in files if name.endswith(".png")]
    left_out = files["REPLACED.txt"].decode().splitlines()
    assert f"{figure(images[1])}: {why}" in left_out
    assert f"{figure(images[2])}: {removed}" in left_out
    method = read_png_text(b"".join(setting.jobs.results.file(second, figure(images[1])).content()))
    assert '"layercam"' in method["Recipe"]


def test_who_replaced_them_is_not_known_once_that_job_is_forgotten(
    setting: Setting, images: list[Path]
) -> None:
    first = job(setting)
    second = job(setting, method="layercam", replace=True)
    setting.jobs.forget(second.record.id)
    (item, *_) = items(setting, first, "succeeded")
    assert item.replaced == (
        "replaced by a command, or by a job that is forgotten (method layercam)"
    )
    assert item.replaced_by is None


def test_an_earlier_job_has_removed_nothing(setting: Setting, images: list[Path]) -> None:
    job(setting, method="layercam", replace=True)
    state = job(setting, replace=True)
    (setting.output / figure(images[1])).unlink()
    (item, *_) = items(setting, state, "succeeded")
    assert (item.replaced, item.replaced_by) == ("the picture is not there any more", None)


def test_a_figure_of_an_image_that_changed_since_says_so(
    setting: Setting, images: list[Path]
) -> None:
    state = job(setting)
    images[1].write_bytes(images[2].read_bytes())
    images[2].unlink()
    changed, gone, same = items(setting, state, "succeeded")
    assert changed.outdated == "the image file has changed since"
    assert gone.outdated == "the image file is not there any more"
    assert same.outdated is None
    assert {item.figure for item in (changed, gone, same)} == {
        figure(image) for image in images[1:]
    }

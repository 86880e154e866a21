"""Images and checkpoints that are, or become, links out of the data root: no job reads them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cam_engine.errors import CamError, NoModelsFound
from cam_engine.experiments.data_root import DataRoot
from cam_engine.images.decoding import ImageLimits
from tests.worker.working import IMAGES, MODEL, Setting, crops
from worker.jobs.contract import JobRequest, JobState


@pytest.fixture
def outside(tmp_path: Path) -> Callable[[Path], None]:
    """Moves a file out of the root, and puts a link to it in its place."""

    def move(file: Path) -> None:
        target = tmp_path / "outside" / file.name
        target.parent.mkdir(exist_ok=True)
        shutil.move(file, target)
        file.symlink_to(target)

    return move


def request(setting: Setting) -> JobRequest:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    return JobRequest(experiment=name, models=("focal",), max_images=None)


def work_off(setting: Setting, job: str) -> JobState:
    for given in setting.jobs.store.out(job):
        setting.runner.run(given.chunk)
    return setting.jobs.get(job)


def test_an_image_that_leads_out_is_none_of_the_job(
    setting: Setting, outside: Callable[[Path], None]
) -> None:
    outside(crops(setting)[1])
    job = setting.jobs.accept(request(setting), None).state.record.id
    done = work_off(setting, job)
    assert (done.status, done.progress.succeeded, done.progress.total) == ("succeeded", 3, 3)


@pytest.mark.parametrize("pick", ["balanced", "errors"])
def test_an_image_that_comes_to_lead_out_fails_alone(
    setting: Setting, outside: Callable[[Path], None], pick: str
) -> None:
    images = crops(setting)
    wanted = request(setting).model_copy(update={"pick": pick, "max_images": IMAGES})
    job = setting.jobs.accept(wanted, None).state.record.id
    outside(images[1])
    done = work_off(setting, job)
    assert (done.status, done.progress.succeeded, done.progress.failed) == ("partial", 3, 1)
    (why,) = setting.jobs.store.failures(job).values()
    assert why.code == "path-outside-root"


def test_a_model_that_leads_out_is_none_of_the_experiment(
    setting: Setting, outside: Callable[[Path], None]
) -> None:
    outside(setting.experiment / MODEL / "best.pt")
    with pytest.raises(NoModelsFound):
        setting.jobs.accept(request(setting), None)


def test_a_model_that_comes_to_lead_out_is_not_read(
    setting: Setting, outside: Callable[[Path], None]
) -> None:
    crops(setting)
    job = setting.jobs.accept(request(setting), None).state.record.id
    outside(setting.experiment / MODEL / "best.pt")
    done = work_off(setting, job)
    assert (done.status, done.progress.failed) == ("failed", IMAGES)
    assert done.error is not None
    assert done.error.code == "no-models-found"


def test_an_image_exchanged_for_a_link_as_it_is_opened_is_not_read(
    tmp_path: Path, outside: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "root" / "image.jpg"
    image.parent.mkdir()
    image.write_bytes(b"of the root")
    root = DataRoot(image.parent)
    assert root.read_image(image) == b"of the root"
    resolve = Path.resolve

    def exchanged(path: Path, strict: bool = False) -> Path:
        resolved = resolve(path, strict)
        if path == image and not image.is_symlink():
            outside(image)
        return resolved

    monkeypatch.setattr(Path, "resolve", exchanged)
    with pytest.raises(CamError):
        root.read_image(image)


def test_links_within_the_root_are_followed(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(b"of the root")
    (tmp_path / "link.jpg").symlink_to("image.jpg")
    assert DataRoot(tmp_path).read_image(tmp_path / "link.jpg") == b"of the root"


@pytest.mark.parametrize(("size", "code"), [(None, "image-not-found"), (101, "image-too-large")])
def test_what_cannot_be_read_is_said(tmp_path: Path, size: int | None, code: str) -> None:
    if size is not None:
        (tmp_path / "image.jpg").write_bytes(b"x" * size)
    with pytest.raises(CamError) as caught:
        DataRoot(tmp_path).read_image(tmp_path / "image.jpg", ImageLimits(max_bytes=100))
    assert caught.value.code == code

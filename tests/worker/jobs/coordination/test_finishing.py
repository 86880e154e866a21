"""What a job leaves behind at its end: once, also where the end is done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.working import IMAGES, MODEL, Setting, crops
from worker.jobs.contract import JobImage, JobRequest, JobState
from worker.jobs.coordination.finishing import Finisher
from worker.jobs.redis.job_store import JobStore

SUMMARIES = ("manifest.json", "summary.csv", "summary.json")


class Killed(BaseException):
    """The process ends here."""


def accept(setting: Setting, **options: object) -> str:
    """A job of one model over a few images, its chunk given out."""
    crops(setting)
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    body = {"experiment": name, "models": ["focal"], "max_images": None, **options}
    return setting.jobs.accept(JobRequest.model_validate(body), None).state.record.id


def work(setting: Setting, job: str) -> None:
    """Do its chunks; the last one ends it."""
    for given in setting.jobs.store.out(job):
        setting.runner.run(given.chunk)


def left(setting: Setting) -> dict[str, bytes]:
    """All files of the output but pictures."""
    files = sorted(path for path in setting.output.rglob("*") if path.is_file())
    return {
        path.relative_to(setting.output).as_posix(): path.read_bytes()
        for path in files
        if path.suffix != ".png"
    }


def rows(summary: bytes) -> list[dict[str, object]]:
    images: list[dict[str, object]] = json.loads(summary)["images"]
    return images


def test_summaries_are_the_models_the_jobs_and_all_models(setting: Setting) -> None:
    job = accept(setting)
    work(setting, job)
    state = setting.jobs.get(job)
    assert (state.status, state.progress.succeeded) == ("succeeded", IMAGES)
    files = left(setting)
    assert set(files) == {
        *SUMMARIES,
        *(f"{MODEL}/{name}" for name in SUMMARIES),
        f"runs/{job}/job.json",
        *(f"runs/{job}/results/{name}" for name in SUMMARIES),
        *(f"runs/{job}/results/{MODEL}/{name}" for name in SUMMARIES),
    }
    images = [image.path for image in setting.jobs.store.images(job)]
    assert [row["image"] for row in rows(files[f"{MODEL}/summary.json"])] == images
    assert files[f"{MODEL}/summary.csv"] == files[f"runs/{job}/results/{MODEL}/summary.csv"]
    file = json.loads(files[f"runs/{job}/job.json"])
    assert (file["status"], file["progress"]["succeeded"]) == ("succeeded", IMAGES)


def test_a_failed_image_is_a_row_with_its_reason_in_the_models_class(setting: Setting) -> None:
    first, *_ = crops(setting)
    first.write_bytes(b"no image")
    job = accept(setting)
    work(setting, job)
    [failed] = [
        row for row in rows(left(setting)[f"{MODEL}/summary.json"]) if row["status"] == "failed"
    ]
    assert failed["image"] == first.relative_to(setting.experiment).as_posix()
    assert (failed["code"], failed["true_class"]) == ("invalid-image", first.parent.name)


def test_a_job_of_which_nothing_was_made_writes_no_summary(setting: Setting) -> None:
    job = accept(setting)
    setting.jobs.store.cancel(job)
    setting.jobs.coordinator.round()
    assert setting.jobs.get(job).status == "canceled"
    assert set(left(setting)) == {f"runs/{job}/job.json"}


def test_a_model_that_was_loaded_and_made_nothing_has_no_summary(setting: Setting) -> None:
    earlier = accept(setting)
    work(setting, earlier)
    facts = setting.jobs.store.facts(earlier, 0)
    assert facts is not None
    before = left(setting)
    job = accept(setting)
    setting.jobs.store.remember_facts(job, 0, facts, "r")
    setting.jobs.store.cancel(job)
    setting.jobs.coordinator.round()
    after = left(setting)
    assert set(after) - set(before) == {f"runs/{job}/job.json"}
    assert after[f"{MODEL}/summary.json"] == before[f"{MODEL}/summary.json"]


def raise_killed(*_arguments: object, **_more: object) -> None:
    raise Killed


STEPS: list[tuple[type, str]] = [
    (Finisher, "remove_half_written"),
    (Finisher, "write_summaries"),
    (Finisher, "write_job_file"),
    (JobStore, "end"),
    (Finisher, "let_go"),
]


@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_an_end_that_was_cut_off_is_done_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, owner: type, step: str, before: bool
) -> None:
    """The process is killed before or after a step; the round of another ends the job."""
    job = accept(setting)
    real: Callable[..., object] = getattr(owner, step)

    def and_killed(*arguments: object, **more: object) -> None:
        real(*arguments, **more)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, raise_killed if before else and_killed)
        with pytest.raises(Killed):
            work(setting, job)
    for lock in setting.jobs.store.client.keys("*:lock:*"):
        setting.jobs.store.client.delete(lock)  # a killed process's turn has run out
    setting.jobs.coordinator.round()
    state = setting.jobs.get(job)
    assert (state.status, state.progress.succeeded) == ("succeeded", IMAGES)
    files = left(setting)
    assert len(rows(files[f"{MODEL}/summary.json"])) == IMAGES
    assert len(rows(files[f"runs/{job}/results/{MODEL}/summary.json"])) == IMAGES
    assert len(json.loads(files["summary.json"])["models"]) == 1
    assert json.loads(files[f"runs/{job}/job.json"])["status"] == "succeeded"
    accept(setting)  # the folder is free, or held by a job that has ended


def test_an_end_that_is_done_again_changes_nothing(setting: Setting) -> None:
    job = accept(setting)
    work(setting, job)
    state, files = setting.jobs.get(job), left(setting)
    events = setting.jobs.store.events(job, "0")
    setting.jobs.coordinator.advance(job)
    setting.jobs.coordinator.round()
    assert (setting.jobs.get(job), left(setting)) == (state, files)
    assert setting.jobs.store.events(job, "0") == events
    finisher = Finisher(setting.jobs.store, setting.jobs.places)
    finisher.remove_half_written(state)
    finisher.write_summaries(state)
    finisher.write_job_file(state, state.status)
    finisher.let_go(state)
    assert without_times(left(setting)) == without_times(files)


def without_times(files: dict[str, bytes]) -> dict[str, object]:
    """Files as they are read, but for when they were written."""
    read: dict[str, object] = {}
    for name, content in files.items():
        read[name] = content
        if name.endswith(".json"):
            body = json.loads(content)
            read[name] = {key: value for key, value in body.items() if key != "created"}
    return read


def test_pictures_of_another_recipe_are_removed_where_the_job_replaces_them(
    setting: Setting,
) -> None:
    first = accept(setting)
    work(setting, first)
    before = {path.name for path in (setting.output / MODEL).rglob("*.png")}
    kept = crops(setting)[0]
    for crop in crops(setting)[1:]:
        crop.unlink()
    second = accept(setting, replace=True, method="gradcam", layers=["late"])
    work(setting, second)
    left_now = {path.name for path in (setting.output / MODEL).rglob("*.png")}
    assert len(left_now) == 3  # the figure, its heatmap and its overlay
    assert all(kept.stem in name for name in left_now)
    assert left_now < before


def half_written(setting: Setting) -> Path:
    file = setting.output / MODEL / "components" / ".late_heatmap.png.0123456789.part"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"half")
    return file


def test_what_a_killed_worker_left_half_written_is_removed(setting: Setting) -> None:
    job = accept(setting)
    file = half_written(setting)
    work(setting, job)
    assert not file.exists()


def test_a_folder_that_cannot_be_written_does_not_keep_a_job_from_ending(setting: Setting) -> None:
    job = accept(setting)
    (setting.output / "summary.json").mkdir()
    (setting.output / MODEL).mkdir(exist_ok=True)
    (setting.output / MODEL / "summary.json").mkdir()
    work(setting, job)
    state = setting.jobs.get(job)
    assert (state.status, state.progress.succeeded) == ("succeeded", IMAGES)


def test_only_the_jobs_own_folders_are_let_go(setting: Setting) -> None:
    job = accept(setting)
    state: JobState = setting.jobs.get(job)
    output = setting.jobs.places.output(state.record)
    finisher = Finisher(setting.jobs.store, setting.jobs.places)
    finisher.write_job_file(state, "failed")  # so that the folder may be taken over
    output.acquire(MODEL, "f" * 32)
    finisher.let_go(state)
    assert (setting.output / MODEL / ".gradcam.lock").exists()
    output.release(MODEL, "f" * 32)
    assert not (setting.output / MODEL / ".gradcam.lock").exists()


def test_a_figure_with_another_row_costs_the_summary_and_not_the_job(setting: Setting) -> None:
    job = accept(setting)
    work(setting, job)
    state = setting.jobs.get(job)
    images: list[JobImage] = setting.jobs.store.images(job)
    figure = setting.output / MODEL / f"improved_gradcam_{images[0].name}.png"
    figure.write_bytes(b"another picture")
    before = left(setting)
    Finisher(setting.jobs.store, setting.jobs.places).write_summaries(state)
    assert left(setting) == before

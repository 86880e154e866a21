"""Jobs as the service sees them, by themselves: what is accepted, and where its pictures go."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cam_engine.errors import NoImagesFound, OutputBusy
from service.http.problems import ServiceError
from service.jobs.accepting import Jobs
from tests.worker.working import MODEL, Setting, crops
from worker.jobs.contract import JobRequest, JobState
from worker.jobs.outputs.placing import recipe_of

OTHER_MODEL = "cls_mobilenet_v3_small_cb"


def request(setting: Setting, **options: Any) -> JobRequest:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    return JobRequest(experiment=name, **{"models": ("focal",), "max_images": 2, **options})


def accepted(setting: Setting, **options: Any) -> JobState:
    return setting.jobs.accept(request(setting, **options), None).state


def work_off(setting: Setting, state: JobState) -> JobState:
    while given := setting.jobs.store.out(state.record.id):
        for chunk in given:
            setting.runner.run(chunk.chunk)
    return setting.jobs.get(state.record.id)


def refusal(jobs: Jobs, wanted: JobRequest, key: str | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        jobs.accept(wanted, key)
    return refused.value


def written(setting: Setting) -> list[str]:
    """Files of jobs in the experiment's own output folder."""
    return sorted(path.parent.name for path in setting.output.glob("**/runs/*/job.json"))


def status_of(setting: Setting, job: str) -> str:
    body = json.loads((setting.output / "runs" / job / "job.json").read_text())
    return str(body["status"])


def test_a_job_is_written_down_before_it_is_accepted(setting: Setting) -> None:
    state = accepted(setting)
    record = state.record
    assert (state.status, state.progress.total) == ("queued", 2)
    assert (record.owner, record.image_count) == (None, 2)
    (model,) = record.models
    checkpoint = setting.experiment / MODEL / "best.pt"
    assert (model.name, model.id) == (MODEL, f"{record.request.experiment}/{MODEL}")
    assert model.checkpoint_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert status_of(setting, record.id) == "queued"
    images = setting.jobs.store.images(record.id)
    assert all((setting.experiment / image.path).is_file() for image in images)
    assert len({image.true_class for image in images}) == 2  # balanced over classes
    assert setting.jobs.counts() == (0, 1)
    assert setting.jobs.store.out(record.id) != []  # given out at once


def test_what_is_planned_is_what_becomes_of_it_and_leaves_nothing(setting: Setting) -> None:
    wanted = request(setting, models=(), max_images=3)
    plan = setting.jobs.plan(wanted)
    assert [model.name for model in plan.models] == sorted(
        folder.name for folder in setting.experiment.glob("cls_*")
    )
    test = list((setting.experiment / "crops_gt_crops/crops/test").glob("*/*.jpg"))
    assert (plan.image_count, plan.available) == (3, len(test))
    assert plan.chosen == plan.usual
    assert (plan.chosen.contents.standing, plan.chosen.contents.figures) == ("empty", 0)
    assert not setting.output.exists()
    record = setting.jobs.accept(wanted, None).state.record
    assert (record.models, record.folder) == (plan.models, plan.chosen.folder)
    assert record.image_count == plan.image_count


@pytest.mark.parametrize("most", [None, 10_000])
def test_no_more_images_are_promised_than_there_are(setting: Setting, most: int | None) -> None:
    images = crops(setting)
    plan = setting.jobs.plan(request(setting, max_images=most))
    assert (plan.image_count, plan.available) == (len(images), len(images))


def test_each_model_chooses_its_errors_from_all_images(setting: Setting) -> None:
    images = crops(setting)
    record = accepted(setting, pick="errors", max_images=2).record
    assert record.image_count == 2
    assert len(setting.jobs.store.images(record.id)) == len(images)


def test_an_experiment_without_test_images_is_refused(setting: Setting) -> None:
    for crop in setting.experiment.rglob("crops/test/*/*.jpg"):
        crop.unlink()
    with pytest.raises(NoImagesFound):
        accepted(setting)
    assert written(setting) == []


def test_a_model_that_cannot_be_read_is_refused(setting: Setting) -> None:
    sidecar = setting.experiment / MODEL / "best.json"
    sidecar.write_bytes(b" " * (4 * 2**20 + 1))
    with pytest.raises(ServiceError) as refused:
        accepted(setting)
    assert refused.value.code == "model-not-found"
    assert MODEL in refused.value.detail


def test_the_same_key_and_body_are_the_same_job(setting: Setting) -> None:
    first = setting.jobs.accept(request(setting), "k")
    again = setting.jobs.accept(request(setting), "k")
    assert (first.new, again.new) == (True, False)
    assert again.state.record.id == first.state.record.id
    assert setting.jobs.page(0, 10)[1] == 1
    refused = refusal(setting.jobs, request(setting, max_images=3), "k")
    assert refused.code == "idempotency-conflict"
    other = setting.jobs.accept(request(setting, models=("cb",)), "another")
    assert other.new


def test_the_same_key_of_another_caller_is_another_key(setting: Setting) -> None:
    ann, bob = setting.jobs.of("ann"), setting.jobs.of("bob")
    first = ann.accept(request(setting), "k").state.record
    other = bob.accept(request(setting, models=("cb",)), "k").state.record
    assert (first.owner, other.owner) == ("ann", "bob")
    assert other.id != first.id
    assert not ann.accept(request(setting), "k").new


def test_a_key_whose_job_was_removed_says_so(setting: Setting) -> None:
    job = setting.jobs.accept(request(setting), "k").state.record.id
    setting.jobs.cancel(job)
    setting.jobs.forget(job)
    refused = refusal(setting.jobs, request(setting), "k")
    assert refused.code == "idempotency-conflict"
    assert refused.headers == {"Retry-After": "1"}


def test_a_key_of_what_was_refused_is_free_again(setting: Setting) -> None:
    first = accepted(setting).record.id
    with pytest.raises(OutputBusy):
        setting.jobs.accept(request(setting), "k")
    setting.jobs.cancel(first)
    assert setting.jobs.accept(request(setting), "k").new


def test_a_folder_in_use_by_the_same_recipe_is_busy_and_nothing_is_left(setting: Setting) -> None:
    job = accepted(setting).record.id
    with pytest.raises(OutputBusy) as busy:
        accepted(setting)
    assert busy.value.job == job
    assert written(setting) == [job]
    assert setting.jobs.page(0, 10)[1] == 1


def test_where_another_recipe_is_at_work_pictures_go_into_a_set(setting: Setting) -> None:
    first = accepted(setting).record
    wanted = request(setting, method="layercam")
    second = setting.jobs.accept(wanted, None).state.record
    assert first.folder is not None
    assert second.folder == first.folder.set_named(recipe_of(wanted).name)
    with pytest.raises(OutputBusy):
        accepted(setting, method="layercam", replace=True)


def test_where_another_recipes_pictures_are_they_are_not_touched(setting: Setting) -> None:
    folder = work_off(setting, accepted(setting)).record.folder
    assert folder is not None
    wanted = request(setting, method="layercam")
    plan = setting.jobs.plan(wanted)
    assert plan.usual.folder == folder
    assert (plan.usual.contents.standing, plan.usual.contents.figures) == ("other", 2)
    assert plan.chosen.folder == folder.set_named(recipe_of(wanted).name)
    assert plan.chosen.contents.standing == "empty"
    assert setting.jobs.accept(wanted, None).state.record.folder == plan.chosen.folder
    again = request(setting)
    assert setting.jobs.plan(again).chosen.contents.standing == "same"
    assert setting.jobs.accept(again, None).state.record.folder == folder


def test_they_are_replaced_only_where_that_is_said(setting: Setting) -> None:
    state = work_off(setting, accepted(setting, name="talk"))
    refused = refusal(setting.jobs, request(setting, name="talk", method="layercam"))
    assert refused.code == "output-holds-others"
    assert state.record.output in refused.detail
    with pytest.raises(ServiceError) as not_planned:
        setting.jobs.plan(request(setting, name="talk", method="layercam"))
    assert not_planned.value.code == "output-holds-others"
    replacing = accepted(setting, name="talk", method="layercam", replace=True)
    assert replacing.record.folder == state.record.folder


def test_a_webhook_of_no_allowed_host_is_refused(setting: Setting) -> None:
    refused = refusal(setting.jobs, request(setting, webhook="http://169.254.169.254/"))
    assert refused.code == "webhook-not-allowed"
    assert written(setting) == []


def test_where_each_sees_their_own_others_jobs_are_not_there(setting: Setting) -> None:
    jobs = setting.jobs
    hiding = Jobs(
        jobs.store,
        jobs.coordinator,
        jobs.places,
        jobs.webhooks,
        setting.runner._decoding,
        jobs.threads,
        own_only=True,
    )
    ann, bob = hiding.of("ann"), hiding.of("bob")
    of_ann = ann.accept(request(setting), None).state.record.id
    of_nobody = hiding.of(None).accept(request(setting, models=("cb",)), None).state.record.id
    assert [state.record.id for state in ann.page(0, 10)[0]] == [of_nobody, of_ann]
    assert ([state.record.id for state in bob.page(0, 10)[0]], bob.page(0, 10)[1]) == (
        [of_nobody],
        1,
    )
    assert bob.get(of_nobody)
    for act in (bob.get, bob.cancel, bob.retry, bob.forget):
        with pytest.raises(ServiceError) as refused:
            act(of_ann)
        assert refused.value.code == "job-not-found"
    assert hiding.of(None).get(of_ann)
    assert jobs.of("bob").get(of_ann)  # where all may see all
    assert ann.get(of_ann).status == "queued"


def test_jobs_come_in_pages_the_newest_first(setting: Setting) -> None:
    ids = [accepted(setting, name=f"set{number}").record.id for number in range(3)]
    page, total = setting.jobs.page(1, 1)
    assert ([state.record.id for state in page], total) == ([ids[1]], 3)


def test_an_unfinished_job_is_neither_retried_nor_forgotten(setting: Setting) -> None:
    job = accepted(setting).record.id
    for act in (setting.jobs.retry, setting.jobs.forget):
        with pytest.raises(ServiceError) as refused:
            act(job)
        assert refused.value.code == "job-unfinished"
    assert setting.jobs.cancel(job).status == "canceled"
    setting.jobs.forget(job)
    assert written(setting) == []
    with pytest.raises(ServiceError):
        setting.jobs.get(job)


def test_what_was_skipped_is_done_by_a_retry(setting: Setting) -> None:
    job = accepted(setting).record.id
    setting.jobs.cancel(job)
    assert status_of(setting, job) == "canceled"
    state = setting.jobs.retry(job)
    assert (state.status, state.progress.skipped) == ("queued", 0)
    assert status_of(setting, job) == "queued"
    with pytest.raises(OutputBusy):
        accepted(setting)
    assert work_off(setting, state).progress.succeeded == 2
    with pytest.raises(ServiceError) as refused:
        setting.jobs.retry(job)
    assert refused.value.code == "nothing-to-retry"


def test_a_retry_that_finds_its_folder_taken_leaves_the_job_as_it_was(setting: Setting) -> None:
    job = accepted(setting).record.id
    setting.jobs.cancel(job)
    accepted(setting)
    with pytest.raises(OutputBusy):
        setting.jobs.retry(job)
    assert status_of(setting, job) == "canceled"
    assert setting.jobs.get(job).status == "canceled"


def test_a_retry_puts_no_pictures_among_anothers(setting: Setting) -> None:
    job = accepted(setting).record.id
    setting.jobs.cancel(job)
    work_off(setting, accepted(setting, method="layercam"))
    with pytest.raises(ServiceError) as refused:
        setting.jobs.retry(job)
    assert refused.value.code == "output-holds-others"


def test_images_are_named_by_where_they_are_in_the_experiment(setting: Setting) -> None:
    (only, *others) = crops(setting)
    for other in others:
        other.unlink()
    (image,) = setting.jobs.store.images(accepted(setting).record.id)
    assert image.path == only.relative_to(setting.experiment).as_posix()
    assert (image.name, image.true_class) == (only.stem, Path(only).parent.name)

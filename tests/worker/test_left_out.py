"""Jobs say which images they leave out, and know a model's classes by folders of any spelling."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.commands.jobs import _show
from service.jobs.responses import item_page, job, job_plan
from tests.worker.working import MODEL, Setting, crops
from worker.jobs.contract import JobRequest, JobState


def request(setting: Setting, **options: Any) -> JobRequest:
    name = setting.experiment.relative_to(setting.jobs.places.root.root).as_posix()
    return JobRequest(experiment=name, models=("focal",), max_images=None, **options)


def work_off(setting: Setting, wanted: JobRequest) -> JobState:
    accepted = setting.jobs.accept(wanted, None).state.record.id
    for given in setting.jobs.store.out(accepted):
        setting.runner.run(given.chunk)
    return setting.jobs.get(accepted)


def spell(setting: Setting) -> list[Path]:
    """Few images, in folders of other names; beside them what is left out."""
    test = crops(setting)[0].parents[1]
    image = crops(setting)[0].read_bytes()
    shutil.rmtree(test)
    for name in ("Game tocyte", "GAMETOCYTE", "Uninfected"):
        (test / name).mkdir(parents=True)
        (test / name / f"{name}.jpg").write_bytes(image)
    (test / "linked").symlink_to(setting.output.parents[1])
    (test / "out.jpg").symlink_to("/etc/hostname")
    (test / os.fsdecode(b"Ring\xe9")).mkdir()
    (test / os.fsdecode(b"Ring\xe9") / "r.jpg").write_bytes(image)
    (test / "GAMETOCYTE/damaged.jpg").write_bytes(b"no image")
    (test / "slide.svs").write_bytes(b"x")
    (setting.experiment / "cls_empty").mkdir()
    return sorted(test.rglob("*.jpg"))


LEFT_OUT = {
    "format-not-read": 1,
    "leads-out": 1,
    "name-not-utf8": 1,
    "link-loop": 1,
    "no-checkpoint": 1,
}


def test_what_a_job_leaves_out_is_in_its_plan_record_manifest_and_summary(
    setting: Setting,
) -> None:
    spell(setting)
    wanted = request(setting)
    plan = job_plan(setting.jobs.plan(wanted))
    assert {kind.reason: kind.count for kind in plan.left_out.kinds} == LEFT_OUT
    done = work_off(setting, wanted)
    answer = job(done, "", workers=True)
    assert answer.left_out == plan.left_out
    assert "1 under a name that is not UTF-8, to be renamed: Ring%E9/r.jpg" in plan.left_out.words
    manifest = json.loads((setting.output / "runs" / done.record.id / "job.json").read_text())
    assert len(manifest["job"]["left_out"]["kinds"]) == len(LEFT_OUT)
    summary = json.loads((setting.output / MODEL / "summary.json").read_text())
    assert summary["skipped"]["total"] == len(LEFT_OUT)
    assert summary["folders_of_no_class"] == {"Game tocyte": 1, "Uninfected": 1}
    assert summary["accuracy"] == {"correct": 1, "of_known_class": 1, "images": 3}


def test_a_models_manifest_says_how_long_workers_were_busy_with_it(setting: Setting) -> None:
    done = work_off(setting, request(setting))
    taken = setting.jobs.store.seconds(done.record.id, 0)
    manifest = json.loads((setting.output / MODEL / "manifest.json").read_text())
    assert manifest["seconds"] == pytest.approx(taken, abs=0.001)
    assert manifest["seconds"] > 0
    setting.jobs.forget(done.record.id)
    assert setting.jobs.store.seconds(done.record.id, 0) == 0


def test_rows_and_items_have_the_models_own_class(setting: Setting) -> None:
    spell(setting)
    done = work_off(setting, request(setting))
    rows = json.loads((setting.output / MODEL / "summary.json").read_text())["images"]
    expected = [
        ("GAMETOCYTE", "gametocyte"),
        ("GAMETOCYTE", "gametocyte"),  # the damaged one
        ("Game tocyte", None),
        ("Uninfected", None),
    ]
    assert [(row["image"].split("/")[-2], row["true_class"]) for row in rows] == expected
    page = setting.jobs.results.items(done, None, 0, 10)
    items = item_page(page, done.record.id, "", 0, 10).items
    assert [(item.folder, item.true_class) for item in items] == expected


def test_the_command_line_says_what_a_job_leaves_out(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    (setting.experiment / "cls_empty").mkdir()
    answer = job(work_off(setting, request(setting)), "", workers=True).model_dump(mode="json")
    words = "1 (1 cls_ folder without best.pt: cls_empty)"
    assert answer["left_out"]["words"] == words
    assert _show(answer, argparse.Namespace(json=False)) == 0
    assert f"skipped: {words}" in capsys.readouterr().err
    del answer["left_out"]  # a service of before
    assert _show(answer, argparse.Namespace(json=False)) == 0
    assert "skipped" not in capsys.readouterr().err


def test_a_record_of_before_is_read(setting: Setting) -> None:
    """Without what was left out, as the version before wrote it."""
    accepted = setting.jobs.accept(request(setting), None).state.record
    body = json.loads(setting.jobs.places.output(accepted).read_job_file(accepted.id))
    assert body["job"].pop("left_out") is not None
    record = type(accepted).model_validate(body["job"])
    assert record.left_out is None
    state = setting.jobs.get(accepted.id).model_copy(update={"record": record})
    assert job(state, "", workers=True).left_out.total == 0

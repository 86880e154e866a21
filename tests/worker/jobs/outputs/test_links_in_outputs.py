"""A job's files where somebody has put links: nothing of the machine gets out through them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from service.http.problems import ServiceError
from tests.worker.working import MODEL, Setting

SECRET = b"root:x:0:0:"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    return path


def test_links_in_the_place_of_files_are_in_no_archive(setting: Setting, secret: Path) -> None:
    job = setting.done()
    assert job.status == "succeeded"
    whole = setting.archive(job)
    assert len(whole) == 2 * 7 + 6
    results = setting.output / "runs" / job.record.id / "results"
    figure = next((setting.output / MODEL).glob("*.png"))
    for path in (results / "summary.csv", results / MODEL / "summary.csv", figure):
        path.unlink()
        path.symlink_to(secret)
    (results / "more").symlink_to(secret.parent)
    files = setting.archive(job)
    assert not any(SECRET in content for content in files.values())
    left_out = {figure.relative_to(setting.output).as_posix(), "summary.csv"}
    assert set(files) - {"REPLACED.txt"} == set(whole) - left_out - {f"{MODEL}/summary.csv"}
    assert figure.name in files["REPLACED.txt"].decode()
    for path_ in left_out:
        with pytest.raises(ServiceError, match="file-not-found"):
            setting.jobs.results.file(job, path_)


def test_a_link_in_the_place_of_a_models_folder_fails_the_job(
    setting: Setting, secret: Path
) -> None:
    setting.output.mkdir()
    (secret.parent / "elsewhere").mkdir()
    (setting.output / MODEL).symlink_to(secret.parent / "elsewhere")
    with pytest.raises(Exception, match="is a link, and links are not followed"):
        setting.done()
    assert list((secret.parent / "elsewhere").iterdir()) == []


def test_a_link_that_appears_meanwhile_is_not_written_through(
    setting: Setting, secret: Path
) -> None:
    job = setting.done()
    (secret.parent / "elsewhere").mkdir()
    components = setting.output / MODEL / "components"
    shutil.rmtree(components)
    components.symlink_to(secret.parent / "elsewhere")
    state = setting.done(images=3)
    assert state.status == "failed"
    assert state.error is not None
    assert "components is a link" in state.error.detail
    assert list((secret.parent / "elsewhere").iterdir()) == []
    assert job.status == "succeeded"


def test_errors_of_jobs_say_paths_below_the_data_root(setting: Setting) -> None:
    crops = sorted(setting.experiment.glob("crops_gt_crops/crops/test/*/*.jpg"))
    for crop in crops:
        crop.write_bytes(b"no image")
    state = setting.done()
    failures = setting.jobs.store.failures(state.record.id)
    assert len(failures) == 2
    summary = (setting.output / "summary.csv").read_text()
    (setting.experiment / MODEL / "best.pt").write_bytes(b"no checkpoint")
    broken = setting.done()
    failures |= setting.jobs.store.failures(broken.record.id)
    texts = [failure.detail for failure in failures.values()] + [summary, broken.model_dump_json()]
    root = str(setting.jobs.places.root.root)
    assert [text for text in texts if root in text] == []
    assert any(f"experiments/{setting.experiment.name}/" in text for text in texts)


def test_a_damaged_summary_beside_a_job_does_not_keep_it_from_ending(setting: Setting) -> None:
    other = setting.output / "cls_other"
    other.mkdir(parents=True)
    for name in ("summary.json", "manifest.json"):
        (other / name).write_text(json.dumps({"images": "x" * 10}))
    job = setting.done()
    assert job.status == "succeeded"
    assert len(setting.archive(job)) == 2 * 7 + 6


def test_a_pipe_in_the_place_of_a_lock_is_said(setting: Setting) -> None:
    (setting.output / MODEL).mkdir(parents=True)
    os.mkfifo(setting.output / MODEL / ".gradcam.lock")
    with pytest.raises(Exception, match="no regular file"):
        setting.done()

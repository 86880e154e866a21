"""Outputs of jobs in a folder and in a real (local) S3 store: both keep the same promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cam_engine.errors import OutputBusy, PathOutsideRoot
from cam_engine.outputs.summaries import ModelSummary
from cam_engine.pictures.recipes import Failed
from tests.run_facts import run_facts
from tests.s3_server import BUCKET
from tests.worker.jobs.outputs.storing import (
    ENDED,
    FOUR,
    GONE,
    ONE,
    RUNNING,
    THREE,
    TWO,
    content,
    made_by,
    named,
    output_of,
    publish,
)
from worker.jobs.outputs.objects import Objects
from worker.jobs.outputs.s3 import ObjectStorage
from worker.jobs.outputs.storage import OutputFolder, OutputStorage

Put = Callable[[str, bytes], None]


def test_a_folder_has_one_writer_until_its_job_has_ended(output: OutputFolder) -> None:
    output.write_job_file(ONE, RUNNING, finished=False)
    output.acquire("cls_a", ONE)
    output.acquire("cls_a", ONE)
    with pytest.raises(OutputBusy, match=f"cls_a is being written by job {ONE}"):
        output.acquire("cls_a", TWO)
    output.acquire("cls_b", TWO)
    output.release("cls_a", TWO)
    with pytest.raises(OutputBusy):
        output.acquire("cls_a", TWO)
    output.write_job_file(ONE, ENDED, finished=True)
    output.write_job_file(TWO, RUNNING, finished=False)
    output.acquire("cls_a", TWO)
    output.release("cls_a", ONE)
    with pytest.raises(OutputBusy, match=f"job {TWO}"):
        output.acquire("cls_a", ONE)
    output.release("cls_a", TWO)
    output.acquire("cls_a", ONE)


def test_of_many_who_want_a_folder_one_has_it(output: OutputFolder) -> None:
    jobs = [f"{number:032x}" for number in range(12)]
    for job in jobs:
        output.write_job_file(job, RUNNING, finished=False)
    output.write_job_file(GONE, ENDED, finished=True)
    output.acquire("cls_a", GONE)  # void from the start: all may take it over

    def wins(job: str) -> bool:
        try:
            output.acquire("cls_a", job)
        except OutputBusy:
            return False
        return True

    with ThreadPoolExecutor(len(jobs)) as pool:
        assert sum(pool.map(wins, jobs)) == 1


def test_unfinished_runs_are_found_again(storage: OutputStorage, output: OutputFolder) -> None:
    other = output_of(storage, "elsewhere/deep")
    place = storage.place(named("here"))
    in_a_set = storage.open(place.set_named("gradcam++-0123"))
    output.write_job_file(ONE, RUNNING, finished=False)
    other.write_job_file(TWO, RUNNING, finished=False)
    in_a_set.write_job_file(FOUR, RUNNING, finished=False)
    output.write_job_file(THREE, RUNNING, finished=False)
    output.write_job_file(THREE, ENDED, finished=True)
    unfinished = {
        run.job: run.folder
        for run in storage.unfinished_jobs()
        if json.loads(run.content)["status"] == "running"
    }
    assert unfinished == {
        ONE: place,
        TWO: storage.place(named("elsewhere/deep")),
        FOUR: place.set_named("gradcam++-0123"),
    }
    assert output.read_job_file(THREE) == ENDED
    output.remove_job(ONE)
    output.remove_job(ONE)
    with pytest.raises(FileNotFoundError):
        output.read_job_file(ONE)
    assert RUNNING in [run.content for run in storage.unfinished_jobs()]


def test_published_pictures_are_files_of_the_output(output: OutputFolder) -> None:
    output.write_job_file(ONE, RUNNING, finished=False)
    output.acquire("cls_a", ONE)
    publish(output, "cls_a", "cell #1 [ä] 50%", {"Row": "r"})
    assert output.figures("cls_a") == ["cell #1 [ä] 50%"]
    assert output.figures("cls_b") == []
    component = output.file("cls_a/components/cell #1 [ä] 50%_late_heatmap.png")
    assert content(component) == b"component"
    figure = output.file("cls_a/improved_gradcam_cell #1 [ä] 50%.png")
    assert figure is not None
    assert (figure.size, figure.media_type) == (len(content(figure)), "image/png")
    (text,) = output.figure_texts("cls_a", ["cell #1 [ä] 50%"])
    assert text["Row"] == "r"
    assert output.file("cls_a/.gradcam.lock") is None
    assert output.file("cls_a/nothing.png") is None
    assert output.file("cls_a") is None
    with pytest.raises(PathOutsideRoot):
        output.file("../elsewhere/x.png")


def test_a_long_text_of_a_figure_is_read_whole(output: OutputFolder) -> None:
    long = json.dumps(["x" * 100] * 1000)
    publish(output, "cls_a", "one", {"Row": long})
    (text,) = output.figure_texts("cls_a", ["one"])
    assert text["Row"] == long


def test_pictures_are_known_by_their_recipes(output: OutputFolder) -> None:
    for name, text in (("one", made_by("r1")), ("two", made_by("r2")), ("foreign", {"Row": "r"})):
        publish(output, "cls_a", name, text)
    publish(output, "cls_b", "one", made_by("r1"))
    figure = "cls_a/improved_gradcam_{}.png".format
    paths = [figure(name) for name in ("two", "foreign", "missing", "one")]
    recipes = list(output.provenance(paths))
    assert [line and line.run_digest for line in recipes] == ["r2", None, None, "r1"]
    assert output.remove_made_otherwise("cls_a", {"r2"}) == 1
    assert output.figures("cls_a") == ["foreign", "two"]
    assert output.figures("cls_b") == ["one"]


def test_a_jobs_own_summaries_stay_when_another_job_writes_its_own(output: OutputFolder) -> None:
    row = Failed("x.jpg", "x", "ring", "invalid-image", "not an image")
    other = Failed("y.jpg", "y", "ring", "image-too-large", "too large")
    for job, outcome in ((ONE, row), (TWO, other)):
        output.write_job_file(job, RUNNING, finished=False)
        output.acquire("cls_a", job)
        summaries = [ModelSummary(run_facts(), (outcome,), 0.0)]
        output.write_summaries(summaries)
        output.write_results(job, summaries)
        output.write_job_file(job, ENDED, finished=True)
    kept = {file.path: content(file) for file in output.results(ONE)}
    assert sorted(kept) == [
        *("cls_a/manifest.json", "cls_a/summary.csv", "cls_a/summary.json"),
        *("manifest.json", "summary.csv", "summary.json"),
    ]
    assert b"invalid-image" in kept["summary.csv"]
    assert b"image-too-large" not in kept["summary.csv"]
    assert b"image-too-large" in content(output.file("cls_a/summary.csv"))
    output.remove_job(ONE)
    assert list(output.results(ONE)) == []
    assert len(list(output.results(TWO))) == 6


def test_summaries_of_jobs_come_together(output: OutputFolder) -> None:
    for model in ("cls_a", "cls_b"):
        output.acquire(model, ONE)
        row = Failed("x.jpg", "x", "ring", "invalid-image", "not an image")
        output.write_summaries([ModelSummary(run_facts(model=model), (row,), 0.0)])
    merged = json.loads(content(output.file("summary.json")))
    assert [summary["model"] for summary in merged["models"]] == ["cls_a", "cls_b"]
    assert content(output.file("summary.csv")).count(b"invalid-image") == 2
    assert json.loads(content(output.file("manifest.json")))["counts"]["failed"] == 2
    assert b"invalid-image" in content(output.file("cls_a/summary.csv"))


@pytest.fixture
def put(request: pytest.FixtureRequest, storage: OutputStorage, tmp_path: Path) -> Put:
    """Puts a file into the storage, as somebody else would."""

    def put_object(path: str, data: bytes) -> None:
        Objects(f"s3://{BUCKET}/{tmp_path.name}").write(path, data)

    def put_file(path: str, data: bytes) -> None:
        file = tmp_path / "outputs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    return put_object if isinstance(storage, ObjectStorage) else put_file


@pytest.mark.parametrize("file", ["summary.json", "summary.csv", "manifest.json"])
@pytest.mark.parametrize("foreign", [b'{"accuracy": 0.93}', b"[1, 2]", b"no JSON \xff"])
def test_summaries_that_are_not_ours_are_left_alone(
    output: OutputFolder, put: Put, file: str, foreign: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As a training script puts them beside its checkpoints."""
    names = ("summary.json", "summary.csv", "manifest.json")
    for folder in ("here", "here/cls_a"):
        put(f"{folder}/{file}", foreign)
    for model in ("cls_a", "cls_b"):
        output.acquire(model, ONE)
    row = Failed("x.jpg", "x", None, "invalid-image", "")
    summaries = [ModelSummary(run_facts(model=model), (row,), 0.0) for model in ("cls_a", "cls_b")]
    output.write_summaries(summaries)
    for folder in ("", "cls_a/"):
        assert content(output.file(f"{folder}{file}")) == foreign
        others = [output.file(f"{folder}{name}") for name in names if name != file]
        assert others == [None, None]  # no summary is half ours
    assert json.loads(content(output.file("cls_b/summary.json")))["model"] == "cls_b"
    assert caplog.text.count("is not of this software") == 2
    put(f"here/{file}", b"")
    output.write_summaries(summaries)
    merged = json.loads(content(output.file("summary.json")))
    assert {summary["model"] for summary in merged["models"]} == {"cls_a", "cls_b"}
    output.write_summaries(summaries)
    assert json.loads(content(output.file("summary.json"))) == merged

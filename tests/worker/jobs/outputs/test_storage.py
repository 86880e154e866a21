"""Outputs of jobs in a folder and in a real (local) S3 store: both keep the same promises."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cam_engine.errors import InvalidOption, OutputBusy, OutputNotWritable, PathOutsideRoot
from cam_engine.experiments.data_root import DataRoot
from cam_engine.experiments.finding import ImageItem
from cam_engine.images.png import encode_png
from cam_engine.options import CamOptions, FigureStyle
from cam_engine.outputs.files import PicturePaths
from cam_engine.outputs.summaries import ModelSummary
from cam_engine.pictures.recipes import Failed, RunFacts
from processes.redis_server import free_port
from tests.s3_server import BUCKET, S3Server, running_s3, serving
from worker.jobs.contract import JobRequest
from worker.jobs.outputs.objects import Objects
from worker.jobs.outputs.places import Places
from worker.jobs.outputs.s3 import ObjectStorage
from worker.jobs.outputs.storage import (
    OutputFolder,
    OutputStorage,
    PosixStorage,
    StoredFile,
    Workspace,
)
from worker.jobs.settings import JobSettings

RUNNING = b'{"status": "running"}'
ENDED = b'{"status": "succeeded"}'
ONE, TWO, THREE, FOUR, GONE = (digit * 32 for digit in "1234f")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> OutputStorage:
    """An empty one, with experiments below tmp_path/data."""
    root = DataRoot(tmp_path / "data")
    if request.param == "s3":
        return ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", root)
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    return PosixStorage(root, outputs)


@pytest.fixture
def output(storage: OutputStorage) -> OutputFolder:
    return output_of(storage, "here")


@pytest.fixture
def in_s3(s3: S3Server, tmp_path: Path) -> OutputFolder:
    storage = ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", DataRoot(tmp_path))
    return output_of(storage, "here")


Put = Callable[[str, bytes], None]


def named(name: str) -> JobRequest:
    return JobRequest(experiment="experiment_x", output=name)


def output_of(storage: OutputStorage, name: str) -> OutputFolder:
    return storage.open(storage.place(named(name)))


def made_by(run: str, image_sha256: str = "0" * 64) -> dict[str, str]:
    """The recipe of a picture, as far as it is looked at."""
    recipe = {"run": run, "image": "x.jpg", "image_sha256": image_sha256, "facts": {}}
    return {"Recipe": json.dumps(recipe)}


def content(file: StoredFile | None) -> bytes:
    assert file is not None
    return b"".join(file.content())


def publish(output: OutputFolder, model: str, name: str, text: dict[str, str]) -> None:
    """One image's pictures, as a worker writes them."""
    told = []
    with output.workspace(model) as workspace:
        paths = PicturePaths(Path(), name)
        component = paths.component("late", "heatmap")
        workspace.folder.write(component, b"component")
        picture = encode_png(np.zeros((4, 4, 3), np.uint8), text=text)
        workspace.folder.write(paths.main(), picture)
        workspace.publish([component, paths.main()], lambda: told.append(name))
        workspace.wait()
    assert told == [name]


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
    found = {
        run.job: run.folder
        for run in storage.unfinished_jobs()
        if json.loads(run.content)["status"] == "running"
    }
    assert found == {
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


def facts(model: str) -> RunFacts:
    return RunFacts(
        model=model,
        model_sha256="0" * 64,
        architecture="resnet18",
        naming="torchvision",
        class_names=("a", "b"),
        input_size=(224, 224),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        precision="float32",
        device="cpu",
        options=CamOptions(),
        figures=FigureStyle(),
        versions={"gradcam-service": "1"},
    )


def test_pictures_are_known_by_their_recipes(output: OutputFolder) -> None:
    for name, text in (("one", made_by("r1")), ("two", made_by("r2")), ("foreign", {"Row": "r"})):
        publish(output, "cls_a", name, text)
    publish(output, "cls_b", "one", made_by("r1"))
    figure = "cls_a/improved_gradcam_{}.png".format
    paths = [figure(name) for name in ("two", "foreign", "missing", "one")]
    found = list(output.provenance(paths))
    assert [one and one.run_digest for one in found] == ["r2", None, None, "r1"]
    assert output.remove_made_otherwise("cls_a", {"r2"}) == 1
    assert output.figures("cls_a") == ["foreign", "two"]
    assert output.figures("cls_b") == ["one"]


def test_a_jobs_own_summaries_stay_when_another_job_writes_its_own(output: OutputFolder) -> None:
    row = Failed("x.jpg", "x", "ring", "invalid-image", "not an image")
    other = Failed("y.jpg", "y", "ring", "image-too-large", "too large")
    for job, one in ((ONE, row), (TWO, other)):
        output.write_job_file(job, RUNNING, finished=False)
        output.acquire("cls_a", job)
        summaries = [ModelSummary(facts("cls_a"), (one,), 0.0)]
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
        output.write_summaries([ModelSummary(facts(model), (row,), 0.0)])
    merged = json.loads(content(output.file("summary.json")))
    assert [one["model"] for one in merged["models"]] == ["cls_a", "cls_b"]
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
    summaries = [ModelSummary(facts(model), (row,), 0.0) for model in ("cls_a", "cls_b")]
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
    assert {one["model"] for one in merged["models"]} == {"cls_a", "cls_b"}
    output.write_summaries(summaries)
    assert json.loads(content(output.file("summary.json"))) == merged


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
        assert workspace.made_before("r1", items) == {1}


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


@pytest.mark.parametrize(
    "key", ["../x", "/x", "a/../x", "a//x", ".", "", "a/./x", "a/", "x" * 256, "a\0"]
)
def test_keys_are_held_to_the_rules_of_paths(s3: S3Server, tmp_path: Path, key: str) -> None:
    objects = Objects(f"s3://{BUCKET}/{tmp_path.name}")
    for act in (
        lambda: objects.write(key, b""),
        lambda: objects.replace(key, b"", None),
        lambda: objects.remove(key),
        lambda: objects.read(key),
        lambda: objects.size(key),
        lambda: list(objects.stream(key)),
    ):
        with pytest.raises(PathOutsideRoot):
            act()


def test_planted_marks_of_unfinished_runs_lead_nowhere(s3: S3Server, tmp_path: Path) -> None:
    address = f"s3://{BUCKET}/{tmp_path.name}"
    objects, storage = Objects(address), ObjectStorage(address, DataRoot(tmp_path))
    for name, output in (("x", "here"), (ONE, "../here"), (TWO, "/here"), (THREE, "h" * 2000)):
        objects.write(f".unfinished/{name}", output.encode())
    objects.write(f".unfinished/{FOUR}", b"\xff")
    objects.write(f"here/runs/{ONE}/job.json", RUNNING)
    objects.write("here/runs/x/job.json", RUNNING)
    assert list(storage.unfinished_jobs()) == []


def test_without_a_store_outputs_are_folders(tmp_path: Path) -> None:
    assert isinstance(Places(JobSettings(data=tmp_path)).storage, PosixStorage)
    with pytest.raises(InvalidOption, match="s3://bucket/prefix"):
        Places(JobSettings(data=tmp_path, output_store="http://elsewhere"))


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from pathlib import Path\n"
        "from worker.jobs.outputs.places import Places\n"
        "from worker.jobs.settings import JobSettings\n"
        "Places(JobSettings(data=Path('.'), output_store='s3://b/p'))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "InvalidOption" in ended.stderr
    assert "pip install 'gradcam-service[s3]'" in ended.stderr


def test_a_store_that_comes_back_is_waited_for(
    in_s3: OutputFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    storage = ObjectStorage(f"s3://{BUCKET}/{tmp_path.name}", DataRoot(tmp_path))
    late = output_of(storage, "here")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(late.write_job_file, ONE, RUNNING, finished=False)
        time.sleep(2)  # refused meanwhile, which nobody can count
        assert not writing.done()
        with serving(port):  # of one process, all servers have the same buckets
            writing.result(timeout=30)
    assert in_s3.read_job_file(ONE) == RUNNING


def test_the_output_root_is_where_all_jobs_pictures_go(lifecycle: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(lifecycle, data / lifecycle.name, copy_function=os.symlink)
    request = JobRequest(experiment=lifecycle.name)
    beside = PosixStorage(DataRoot(data), None).place(request)
    assert (beside.below, beside.path) == ("data", f"{lifecycle.name}/gradcam_visualizations")
    outputs = tmp_path / "outputs"
    storage = PosixStorage(DataRoot(data), outputs)
    place = storage.place(request)
    assert (place.below, place.path) == ("output", f"{lifecycle.name}/gradcam_visualizations")
    storage.open(place).write_job_file(ONE, RUNNING, finished=False)
    assert (outputs / place.path / "runs" / ONE / "job.json").is_file()
    assert not (data / lifecycle.name / "gradcam_visualizations").exists()
    with pytest.raises(InvalidOption, match="GRADCAM_OUTPUT_ROOT"):
        PosixStorage(DataRoot(data), None).open(place)


def test_what_cannot_be_written_is_known_beforehand(tmp_path: Path) -> None:
    output = output_of(PosixStorage(DataRoot(tmp_path), tmp_path / "outputs"), "new/deep")
    output.check_writable()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs").chmod(0o555)  # which root would pass
    with pytest.raises(OutputNotWritable, match="outputs is marked read-only"):
        output.check_writable()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_read_only_mount_is_known_also_as_root(tmp_path: Path) -> None:
    """In a mount namespace of its own, where the process that looks is the only one."""
    (tmp_path / "outputs").mkdir()
    code = (
        "from pathlib import Path\n"
        "from cam_engine.experiments.data_root import DataRoot\n"
        "from worker.jobs.contract import JobFolder\n"
        "from worker.jobs.outputs.storage import PosixStorage\n"
        f"storage = PosixStorage(DataRoot(Path('{tmp_path}')), Path('{tmp_path}/outputs'))\n"
        "storage.open(JobFolder(below='output', path='new')).check_writable()\n"
    )
    mount = f'mount -t tmpfs -o ro none {tmp_path}/outputs && exec {sys.executable} -c "$CODE"'
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CODE": code},
    )
    if "mount" in ended.stderr and "OutputNotWritable" not in ended.stderr:
        pytest.skip(f"nothing may be mounted here: {ended.stderr}")
    assert "its file system is mounted read-only" in ended.stderr

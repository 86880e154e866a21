"""Command lines on experiments in a bucket: the same pictures as from a folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from cam_engine.commands.arguments import experiment_main, images_main
from cam_engine.commands.console import Console
from cam_engine.commands.data_paths import data_path, output_beside, own_path
from service.commands.arguments import main as gradcam
from tests.buckets import Bucket, new_bucket
from tests.s3_server import running_s3

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSIFIER = "cls_mobilenet_v3_small_focal"


@pytest.fixture(scope="module")
def bucket(sample_run: Path) -> Iterator[Bucket]:
    """With the bundled run below lab/."""
    with running_s3() as server:
        made = new_bucket(server)
        made.put_tree(sample_run, f"lab/{sample_run.name}/")
        yield made


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))


def files_below(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*.png")}


def test_an_experiment_gives_the_same_pictures(
    bucket: Bucket, lifecycle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--models", "focal", "--max-images", "3"]
    address = f"s3://{bucket.name}/lab/{lifecycle.parent.parent.name}"
    assert (
        experiment_main(["--exp-folder", f"{address}/experiments/{lifecycle.name}", *options]) == 0
    )
    said = capsys.readouterr()
    expected = tmp_path / "expected"
    words = ["--exp-folder", str(lifecycle), "--output-base", str(expected), *options]
    assert experiment_main(words) == 0
    made = files_below(Path("gradcam_visualizations") / lifecycle.name)
    assert made == files_below(expected)
    assert len(made) == 3 * 7
    assert "cache" not in said.out + said.err
    summary = (Path("gradcam_visualizations") / lifecycle.name / "summary.json").read_text()
    assert "cache" not in summary


def test_a_run_means_all_its_experiments(bucket: Bucket, lifecycle: Path) -> None:
    address = f"s3://{bucket.name}/lab"
    assert experiment_main(["--exp-folder", address, "--models", "focal", "--max-images", "1"]) == 0
    made = {path.parts[1] for path in Path().rglob("improved_gradcam_*.png")}
    assert made == {"experiment_synthetic_lifecycle", "experiment_synthetic_species"}


def test_images_and_a_checkpoint_may_both_lie_there(
    bucket: Bucket, lifecycle: Path, tmp_path: Path
) -> None:
    below = f"{lifecycle.parent.parent.name}/experiments/{lifecycle.name}"
    image = "crops_gt_crops/crops/test/ring/cell_001.jpg"
    theirs = [f"s3://{bucket.name}/lab/{below}/{name}" for name in (f"{CLASSIFIER}/best.pt", image)]
    ours = [str(lifecycle / name) for name in (f"{CLASSIFIER}/best.pt", image)]
    for (model, images), output in ((theirs, "a"), (ours, "b")):
        words = ["--model", model, "--images", images, "--output", str(tmp_path / output)]
        assert images_main(words) == 0
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b") != {}


def test_what_a_checkpoint_says_is_shown_by_its_address(
    bucket: Bucket, lifecycle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below = f"{lifecycle.parent.parent.name}/experiments/{lifecycle.name}/{CLASSIFIER}/best.pt"
    assert gradcam(["inspect", f"s3://{bucket.name}/lab/{below}"]) == 0
    said = capsys.readouterr().out
    assert f"s3://{bucket.name}/lab/{below}" in said
    assert "mobilenet_v3_small" in said
    assert gradcam(["inspect", "--write-sidecar", f"s3://{bucket.name}/lab/{below}"]) == 2
    assert "nothing is written into a bucket" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "code"), [("lab/nothing", "experiment-not-found"), ("", "data-unavailable")]
)
def test_what_is_not_there_is_one_line(
    bucket: Bucket, folder: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"s3://{bucket.name}/{folder}" if folder else "s3://no-such-bucket/x"
    assert experiment_main(["--exp-folder", address]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error [{code}]:")
    assert address in said


def test_whatever_is_said_of_a_bucket_has_its_address(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data_path(f"s3://{bucket.name}/lab/a.svs")
    console = Console(quiet=False, json_output=False)
    console.skipped("", f"1 in a format that is not read: {path}")
    console.problem("a", "invalid-image", f"{path} is damaged")
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert f"s3://{bucket.name}/lab/a.svs" in text
        assert str(path) not in text


@pytest.mark.parametrize("address", ["s3://", "s3://b/../x"])
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        data_path(address)


def test_outputs_are_folders_of_this_machine(
    bucket: Bucket, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        experiment_main(["--exp-folder", ".", "--output-base", f"s3://{bucket.name}/out"])
    assert "name a folder or file of this machine" in capsys.readouterr().err
    assert own_path(str(tmp_path)) == tmp_path
    assert output_beside(tmp_path, "made") == tmp_path / "made"

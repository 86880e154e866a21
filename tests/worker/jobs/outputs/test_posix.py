"""Outputs in a folder: which one, whether it can be written, and jobs that are found there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cam_engine.errors import InvalidOption, OutputNotWritable
from cam_engine.experiments.data_root import DataRoot
from tests.worker.jobs.outputs.storing import (
    ONE,
    RUNNING,
    TWO,
    named,
    output_of,
)
from worker.jobs.contract import JobRequest
from worker.jobs.outputs.posix import _DEEPEST_OUTPUT, PosixStorage


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


def test_a_file_in_the_place_of_a_folder_is_none_to_write_into(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/here").write_bytes(b"")
    output = output_of(PosixStorage(DataRoot(tmp_path), tmp_path / "outputs"), "here")
    with pytest.raises(OutputNotWritable):
        output.check_writable()


def test_without_an_output_root_none_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="GRADCAM_OUTPUT_ROOT is not set, so none may be named"):
        PosixStorage(DataRoot(tmp_path), None).place(named("here"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_read_only_mount_is_known_also_as_root(tmp_path: Path) -> None:
    """In a mount namespace of its own, where the process that looks is the only one."""
    (tmp_path / "outputs").mkdir()
    code = (
        "from pathlib import Path\n"
        "from cam_engine.experiments.data_root import DataRoot\n"
        "from worker.jobs.contract import JobFolder\n"
        "from worker.jobs.outputs.posix import PosixStorage\n"
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


def test_jobs_are_looked_for_so_deep_and_not_among_pictures(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    deep = "/".join("a" * _DEEPEST_OUTPUT)
    for place in ("", deep, f"{deep}/deeper", "components", f"x/runs/{ONE}"):
        file = outputs / place / "runs" / TWO / "job.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(RUNNING)
    storage = PosixStorage(DataRoot(tmp_path), outputs)
    assert sorted(job.folder.path for job in storage.unfinished_jobs() if job.job == TWO) == [
        ".",
        deep,
    ]

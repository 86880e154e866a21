"""Scratch folders of workers, and those that killed ones left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cam_engine.errors import OutputNotWritable
from worker.jobs.outputs.scratch import scratch_folder


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = (
        "from worker.jobs.outputs.scratch import scratch_folder\n"
        "import sys, time\n"
        "with scratch_folder() as folder:\n"
        "    folder.write('half.png', b'x')\n"
        "    print(folder.path, flush=True)\n"
        "    time.sleep(100)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        long_ago = time.time() - 1000
        os.utime(folder, (long_ago, long_ago))
        look = "from worker.jobs.outputs.scratch import scratch_folder\nwith scratch_folder(): pass"
        subprocess.run([sys.executable, "-c", look], env=environment, check=True)
        assert folder.is_dir()  # in use
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", look], env=environment, check=True)
    assert not folder.exists()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scratch folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_empty_at_first_and_gone_in_the_end(scratch: Path) -> None:
    with scratch_folder() as folder:
        assert folder.path.parent == scratch
        assert list(folder.path.iterdir()) == []
        folder.write("half.png", b"x")
    assert list(scratch.iterdir()) == []


def test_old_ones_that_nobody_holds_are_removed_and_nothing_else(scratch: Path) -> None:
    old, new, foreign = (
        scratch / name for name in ("gradcam-outputs-old", "gradcam-outputs-new", "elsewhere")
    )
    for folder in (old, new, foreign):
        folder.mkdir()
        (folder / "half.png").write_bytes(b"x")
    linked = scratch / "gradcam-outputs-linked"
    linked.symlink_to(foreign)
    long_ago = time.time() - 1000
    for path in (old, foreign):
        os.utime(path, (long_ago, long_ago))
    with scratch_folder() as held:
        os.utime(held.path, (long_ago, long_ago))
        with scratch_folder():
            assert held.path.is_dir()
    assert not old.exists()
    assert [path.name for path in sorted(scratch.iterdir())] == [
        foreign.name,
        linked.name,
        new.name,
    ]
    assert (foreign / "half.png").is_file()


def test_a_tmpdir_that_is_not_there_is_said(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(scratch / "missing"))
    with (
        pytest.raises(OutputNotWritable, match="no scratch folder below TMPDIR: No such file"),
        scratch_folder(),
    ):
        pass

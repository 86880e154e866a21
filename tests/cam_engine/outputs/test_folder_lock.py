"""One writer a folder, over processes, machines and jobs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from cam_engine.errors import OutputBusy, OutputNotWritable
from cam_engine.outputs import folder_lock as output_lock
from cam_engine.outputs.folder_lock import (
    LOCK_FILE,
    HeldFolder,
    Holder,
    acquire,
    for_job,
    release,
    this_process,
)

JOB, OTHER = "1" * 32, "2" * 32
ELSEWHERE = Holder(None, "another-machine", 1, "token")


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns after nearly every step."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def write_job_file(output: Path, job: str, status: str) -> None:
    folder = output / "runs" / job
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"status": status}))


def test_a_second_writer_is_refused_by_name_and_may_come_after(tmp_path: Path) -> None:
    folder = tmp_path / "cls_a"
    with HeldFolder(folder), pytest.raises(OutputBusy, match=f"process {os.getpid()}"):
        acquire(folder, ELSEWHERE)
    assert list(folder.iterdir()) == []
    acquire(folder, ELSEWHERE)


def test_other_folders_are_free(tmp_path: Path) -> None:
    with HeldFolder(tmp_path / "cls_a"), HeldFolder(tmp_path / "cls_b"):
        assert (tmp_path / "cls_b" / LOCK_FILE).is_file()


def test_a_job_holds_its_folder_until_its_manifest_says_that_it_ended(tmp_path: Path) -> None:
    folder = tmp_path / "cls_a"
    write_job_file(tmp_path, JOB, "queued")
    acquire(folder, for_job(JOB))
    acquire(folder, for_job(JOB))  # any of its workers
    with pytest.raises(OutputBusy, match=f"job {JOB}"):
        acquire(folder, this_process())
    write_job_file(tmp_path, JOB, "succeeded")
    acquire(folder, this_process())


def test_a_job_without_manifest_holds_nothing(tmp_path: Path) -> None:
    acquire(tmp_path / "cls_a", for_job(JOB))
    acquire(tmp_path / "cls_a", for_job(OTHER))
    assert json.loads((tmp_path / "cls_a" / LOCK_FILE).read_text())["job"] == OTHER


def test_the_lock_of_a_killed_process_is_void(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from cam_engine.outputs.folder_lock import *; "
        "acquire(Path(sys.argv[1]), this_process()); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / LOCK_FILE).is_file()
    acquire(tmp_path, this_process())


def test_the_lock_of_another_machine_is_void_once_nobody_refreshes_it(tmp_path: Path) -> None:
    acquire(tmp_path, ELSEWHERE)
    with pytest.raises(OutputBusy, match="another-machine"):
        acquire(tmp_path, this_process())
    long_ago = time.time() - 3600
    os.utime(tmp_path / LOCK_FILE, (long_ago, long_ago))
    acquire(tmp_path, this_process())


@pytest.mark.parametrize("seconds", [90, -90, 7200, -7200])
def test_locks_are_compared_by_the_clock_of_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + seconds)  # this machine's clock differs
    acquire(tmp_path, ELSEWHERE)
    with pytest.raises(OutputBusy, match="another-machine"):
        acquire(tmp_path, this_process())
    long_ago = real() - 61
    os.utime(tmp_path / LOCK_FILE, (long_ago, long_ago))
    acquire(tmp_path, this_process())
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_guard_that_was_left_behind_is_judged_by_the_clock_of_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + 90)
    acquire(tmp_path, ELSEWHERE)
    guard = tmp_path / f"{LOCK_FILE}.guard"
    guard.mkdir()
    release(tmp_path, ELSEWHERE)
    assert guard.is_dir()  # another process is at it
    long_ago = real() - 61
    os.utime(guard, (long_ago, long_ago))
    release(tmp_path, ELSEWHERE)
    assert list(tmp_path.iterdir()) == []


def test_letting_go_leaves_the_lock_of_another(tmp_path: Path) -> None:
    acquire(tmp_path, ELSEWHERE)
    release(tmp_path, this_process())
    assert (tmp_path / LOCK_FILE).is_file()


def test_letting_go_on_a_full_disk_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    acquire(tmp_path, for_job(JOB))
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", full)
        release(tmp_path, for_job(JOB))
    acquire(tmp_path, this_process())  # void, as no manifest says that the job goes on


def test_of_many_at_once_one_gets_it(tmp_path: Path, hasty_threads: None) -> None:
    barrier = threading.Barrier(8)

    def wins(folder: Path, number: int) -> bool:
        barrier.wait()
        try:
            acquire(folder, Holder(None, "another-machine", number, str(number)))
        except OutputBusy:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for round_ in range(200):
            folder = tmp_path / str(round_)
            folder.mkdir()
            (folder / LOCK_FILE).write_text("damaged")
            assert sum(pool.map(wins, [folder] * 8, range(8))) == 1
            assert [path.name for path in folder.iterdir()] == [LOCK_FILE]


def test_there_is_one_holder_at_any_time_however_often_it_changes(
    tmp_path: Path, hasty_threads: None
) -> None:
    inside: list[int] = []
    together: list[list[int]] = []

    def come_and_go(number: int) -> None:
        holder = Holder(None, "another-machine", number, str(number))
        for _ in range(200):
            with suppress(OutputBusy):
                acquire(tmp_path, holder)
                inside.append(number)
                together.append(inside.copy())
                inside.remove(number)
                release(tmp_path, holder)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(8)))
    assert len(together) > 8
    assert all(len(holders) == 1 for holders in together)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputNotWritable, match="cannot lock"):
        acquire(tmp_path / "file" / "cls_a", this_process())


def test_a_lock_is_refreshed_well_before_it_would_be_void() -> None:
    """Two refreshes may come late or fail."""
    assert 3 * output_lock._REFRESH_SECONDS <= output_lock._FRESH_SECONDS

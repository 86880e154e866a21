"""The experiment command as a real process: interrupted, killed, out of space, for long."""

from __future__ import annotations

import json
import os
import pty
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cam_engine.commands.checks import verify
from cam_engine.images.png import is_whole_png
from processes.eventually import eventually

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SCRIPT = (
    Path(__file__).resolve().parents[2]
    / "scripts/visualization/run_improved_gradcam_on_experiments.py"
)


@pytest.fixture
def experiment(lifecycle: Path, tmp_path: Path) -> Path:
    """One model and 400 images: the bundled crops, many times over."""
    folder = tmp_path / "experiment_large"
    (model,) = lifecycle.glob("cls_*_focal")
    shutil.copytree(model, folder / model.name)
    for crop in sorted((lifecycle / "crops_gt_crops/crops/test").rglob("*.jpg")):
        target = folder / "crops_gt_crops/crops/test" / crop.parent.name
        target.mkdir(parents=True, exist_ok=True)
        for copy in range(9):
            shutil.copy(crop, target / f"{crop.stem}_{copy}.jpg")
    return folder


def command(experiment: Path, count: int, *more: str) -> list[str]:
    base = [sys.executable, str(SCRIPT), "--exp-folder", str(experiment)]
    return [*base, "--max-images", str(count), *more]


def pictures(experiment: Path) -> list[Path]:
    """Those there are while the command goes on: folders of its locks come and go."""
    walked = os.walk(experiment / "gradcam_visualizations")
    files = (Path(at) / name for at, _, names in walked for name in names)
    return sorted(path for path in files if path.suffix == ".png")


def wait_for_pictures(experiment: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    def look() -> bool:
        assert process.poll() is None, "ended before it was to be stopped"
        return len(pictures(experiment)) >= count

    eventually(f"{count} pictures are there", look, seconds=120, pause=0.02)


def _heed_interrupts() -> None:
    """Shells have what they start in the background ignore them, and all that starts from there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_at_any_moment_it_leaves_whole_pictures_and_resumes(
    experiment: Path, number: signal.Signals, status: int
) -> None:
    process = subprocess.Popen(
        command(experiment, 400),
        stderr=subprocess.PIPE,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509 (no threads here)
    )
    wait_for_pictures(experiment, 60, process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert b"Traceback" not in error
    assert all(is_whole_png(path) for path in pictures(experiment))
    if number == signal.SIGINT:
        assert b"--resume" in error
        assert not list(experiment.rglob("*.part"))
    done = len(list(experiment.rglob("improved_gradcam_*.png")))
    again = subprocess.run(
        command(experiment, 120, "--pick", "first", "--resume", "--json"),
        capture_output=True,
        check=True,
    )
    images = json.loads(again.stdout)["models"][0]["images"]
    assert len(images) == 120
    assert done > 0
    assert not list(experiment.rglob("*.part"))
    assert all(check.passed for check in verify(experiment / "gradcam_visualizations"))


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_file(experiment: Path) -> None:
    """A limit on the size of files stands for the disk: the main figure does not fit."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        command(experiment, 8), capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert done.returncode == 2
    assert "error [output-not-writable]" in done.stderr
    assert "Traceback" not in done.stderr
    assert all(is_whole_png(path) for path in pictures(experiment))
    assert not list(experiment.rglob("*.part"))
    assert not list(experiment.rglob("improved_gradcam_*.png"))


def test_time_grows_linearly_and_memory_does_not_grow(experiment: Path) -> None:
    seconds, usual, peaks = {}, {}, {}
    for count in (50, 200, 400):
        shutil.rmtree(experiment / "gradcam_visualizations", ignore_errors=True)
        process = psutil.Popen(command(experiment, count, "--json"), stdout=subprocess.PIPE)
        used, processor = [], process.cpu_times()
        with open(process.stdout.fileno(), "rb", closefd=False) as output:
            os.set_blocking(output.fileno(), False)
            answer = b""
            while process.poll() is None:
                try:
                    used.append(process.memory_info().rss)
                    processor = process.cpu_times()
                except psutil.Error:
                    break
                answer += output.read() or b""
                time.sleep(0.02)
            os.set_blocking(output.fileno(), True)
            answer += output.read()
        process.stdout.close()
        assert process.wait() == 0
        assert len(json.loads(answer)["models"][0]["images"]) == count
        seconds[count] = processor.user + processor.system  # of a processor: others may be busy
        usual[count], peaks[count] = statistics.median(used[len(used) // 2 :]), max(used)
    first, second = (seconds[200] - seconds[50]) / 150, (seconds[400] - seconds[200]) / 200
    print(f"seconds {seconds}, marginal {first:.4f} and {second:.4f}")
    print(f"bytes in the second half {usual}, at most {peaks}")
    assert second < 2.0 * first
    # A third of a megabyte an image would show; the last, smaller batch makes peaks differ by
    # some 100 MB from run to run, whatever the number of images.
    assert usual[400] < usual[200] + 60 * 2**20
    assert peaks[400] < max(peaks[50], peaks[200]) + 150 * 2**20


def test_a_live_bar_on_a_terminal_and_plain_lines_in_a_log(experiment: Path) -> None:
    log = subprocess.run(command(experiment, 30), capture_output=True, check=True).stdout
    assert b"\x1b[" not in log
    assert b": 30/30" in log
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(experiment, 30), stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    assert b"\x1b[" in shown
    assert "━".encode() in shown
    assert b"classifier" in shown

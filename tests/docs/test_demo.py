"""The service's part of `make demo`, as a process."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

pytestmark = pytest.mark.system

_ROOT = Path(__file__).resolve().parents[2]


def _demo(data: Path, output: Path, seconds: float = 200) -> subprocess.CompletedProcess[str]:
    script = _ROOT / "scripts" / "demo_service.py"
    command = [sys.executable, str(script), "--data", str(data), "--output", str(output)]
    process = psutil.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        _end(process)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: psutil.Popen) -> None:
    """It and all that it started, which is in sessions of its own."""
    if process.poll() is None:
        everybody = [process, *process.children(recursive=True)]
        for child in everybody:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.communicate()
        _, alive = psutil.wait_procs(everybody, timeout=20)
        assert alive == []


def test_it_leaves_the_overlay_and_the_figures_where_it_says(tmp_path: Path) -> None:
    done = _demo(_ROOT / "sample/results", tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line.strip() for line in done.stdout.splitlines()]
    assert str(tmp_path / "overlay.png") in said
    assert any("http://localhost:8000/ in a browser" in line for line in said)
    with Image.open(tmp_path / "overlay.png") as overlay, Image.open(tmp_path / "cell.jpg") as cell:
        assert overlay.size == cell.size
        difference = np.abs(np.asarray(overlay, float) - np.asarray(cell.convert("RGB"), float))
    assert difference.max() > 60  # colour where the map is high
    assert np.median(difference) < 8  # the cell elsewhere
    log = (tmp_path / "service.log").read_text()
    assert "Application shutdown complete" in log
    assert str(tmp_path / "job") in said
    figures = list((tmp_path / "job").glob("cls_*/improved_gradcam_*.png"))
    assert len(figures) == 16  # eight images, two models
    assert len((tmp_path / "job" / "summary.csv").read_text().splitlines()) == 17


def test_it_fails_loudly_where_there_is_nothing_to_show(tmp_path: Path) -> None:
    done = _demo(tmp_path, tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("make demo: the service's part failed: there is no ")


def test_nothing_of_it_is_left_when_its_time_is_over(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        _demo(_ROOT / "sample/results", tmp_path, seconds=8)
    left = [
        process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in _words(process)
    ]
    assert left == []


def _words(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])


def test_an_overlay_of_an_earlier_run_does_not_pass_for_a_new_one(tmp_path: Path) -> None:
    cells = "run/experiments/experiment_synthetic_species/crops_gt_crops/crops/test/vivax"
    [source] = (_ROOT / "sample/results").glob(cells.replace("run", "*", 1) + "/cell_001.jpg")
    (tmp_path / cells).mkdir(parents=True)
    (tmp_path / cells / "cell_001.jpg").write_bytes(source.read_bytes())
    overlay = tmp_path / "out" / "overlay.png"
    overlay.parent.mkdir()
    overlay.write_bytes(b"old")
    done = _demo(tmp_path, overlay.parent)  # a data root without models
    assert done.returncode == 1
    assert "no-models-found" in done.stderr
    assert not overlay.exists()

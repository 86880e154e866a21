"""Drawing, as it is measured: few pictures, by real threads and processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pictures import Rates, tables


@pytest.mark.system
def test_threads_processes_and_the_pipeline_are_measured(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("<!-- pictures -->\nnothing yet\n<!-- /pictures -->\n")
    words = ("--images", "12", "--rounds", "1", "--processes", "1", "2")
    command = [sys.executable, "-m", "benchmarks.pictures", *words, "--output", str(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = document.read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert [count for count, _, _ in rows] == ["1", "2"]
    assert all(int(rate) > 0 for row in rows for rate in row)
    assert re.search(r"network that costs nothing: \d+ images a second", text)


def test_shares_are_of_what_one_process_does() -> None:
    rates = Rates({1: [10.0], 2: [12.0]}, {1: [10.0, 10.0], 2: [17.0, 19.0]}, [9.0], 2048)
    lines = tables(rates)
    assert "| 2 | 12 | 18 | 0.90 (>= 0.9) |" in lines
    assert any("2 KiB" in line for line in lines)
    assert any("9 images a second, 0.50 (>= 0.85, NOT REACHED)" in line for line in lines)

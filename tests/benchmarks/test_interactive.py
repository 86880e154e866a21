"""A person beside a job, as it is measured: short, with everything real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.interactive import Found, table


@pytest.mark.system
def test_both_are_measured_at_the_same_time(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("<!-- interactive -->\nnothing yet\n<!-- /interactive -->\n")
    words = ("--clicks", "4", "--rounds", "2", "--every", "1", "--warm-seconds", "1")
    command = [sys.executable, "-m", "benchmarks.interactive", *words, "--images", "1500"]
    done = subprocess.run(
        [*command, "--output", str(document)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (row,) = (line for line in document.read_text().splitlines() if line.startswith("| mobilenet"))
    idle, slow, beside, slow_beside = map(float, re.findall(r"\| (\d+) ", row))
    assert 0 < idle <= slow
    assert 0 < beside <= slow_beside


def test_what_a_job_keeps_is_the_median_of_the_rounds() -> None:
    found = Found("net", [0.1] * 4, [0.3] * 4, alone=[10, 10, 20], clicked=[9, 2, 19])
    assert found.job_keeps == pytest.approx(0.9)
    assert "| net | 100 | 100 | 300 | 300 | 3.00 (<= 2.0, NOT REACHED) | 0.90 (>= 0.85) |" in table(
        [found]
    )

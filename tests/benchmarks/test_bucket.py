"""Data in a bucket, as they are measured: few, with a real local server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bucket import Looked, Ran, table


@pytest.mark.system
def test_looks_and_a_command_are_measured(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("<!-- bucket -->\nnothing yet\n<!-- /bucket -->\n")
    words = ("--experiments", "3", "--models", "2", "--images", "4", "--rounds", "1")
    command = [sys.executable, "-m", "benchmarks.bucket", *words, "--output", str(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Looking at 6 models" in document.read_text()
    assert "over 4 images" in document.read_text()


def test_medians_stand_against_what_is_asked_for() -> None:
    looked = Looked(6, first=[1.0, 3.0, 9.0], holds=[0.1] * 3, again=[2.0] * 3)
    ran = Ran("net", 8, folder=[10.0, 20.0], bucket=[12.0, 24.0], cached=[10.0, 20.0])
    text = " ".join(table(looked, ran))
    assert "3.00 (<= 2.0, NOT REACHED) the first time" in text
    assert "15.0 s from a folder; from the bucket 1.20 times" in text
    assert "1.00 times with all of it in the cache" in text

"""The simulated cluster: small, with a worker killed and Redis started again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cluster import Options, Outcome, command_of, report
from benchmarks.cluster_workers import Ledger

JOB, OTHER = f"{1:032x}", f"{2:032x}"
SMALL = {
    "items": 5000,
    "jobs": 10,
    "workers": 20,
    "processes": 4,
    "seconds_per_item": 0.05,
    "chunk_seconds": 2.0,
    "lease_seconds": 4,
    "kill": 0.25,
    "redis_away_seconds": 1.0,
}


def options(**given: Any) -> Options:
    return Options(**{**SMALL, "seed": 0, **given})


def measured(tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Its status, and what it measured, in a process of its own: it makes more by forking."""
    file = tmp_path / "measured.json"
    for name, value in SMALL.items():
        words = (f"--{name.replace('_', '-')}", str(value), *words)
    command = [sys.executable, "-m", "benchmarks.cluster", *words, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert file.is_file(), done.stderr
    told: dict[str, Any] = json.loads(file.read_text())
    assert ("each item ended once" in done.stdout) == (done.returncode == 0)
    return done.returncode, told


@pytest.mark.system
def test_each_item_ends_once_whatever_is_killed(tmp_path: Path) -> None:
    status, told = measured(tmp_path)
    assert status == 0, told
    assert told["statuses"] == {"succeeded": 10}
    assert told["succeeded"] == told["made"] == told["made_once"] == 5000
    assert (told["killed"], told["not_killed"]) == (5, 0)
    assert told["redis_away_seconds"] > 1
    assert told["chunks"] > 10
    assert 0 < told["busy"] <= told["in_chunks"] <= 1
    assert told["redis_bytes"] > 0
    assert told["looks"] > 10


def test_a_ledger_knows_what_any_process_made(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path, 1), Ledger(tmp_path, 2)
    first.write(JOB, [0, 1, 2])
    second.write(JOB, [7])
    second.write(OTHER, [3])
    assert first.made(JOB, 1, 7) == {0, 1, 6}
    assert len(Ledger.entries(tmp_path)) == 5


@pytest.mark.parametrize(
    "told",
    [
        {"succeeded": 4999},
        {"made": 5001},
        {"made_once": 4999},
        {"statuses": {"succeeded": 9, "partial": 1}},
        {"not_killed": 1},
    ],
    ids=str,
)
def test_anything_else_than_once_is_said(told: dict[str, Any]) -> None:
    whole: dict[str, Any] = {
        "succeeded": 5000,
        "made": 5000,
        "made_once": 5000,
        "statuses": {"succeeded": 10},
    }
    good = Outcome(options(), seconds=1.0, **whole)
    assert good.exactly_once
    assert "each item ended once" in "\n".join(report(good))
    other = Outcome(options(), seconds=1.0, **{**whole, **told})
    assert not other.exactly_once
    assert "NOT EACH ITEM ENDED ONCE" in "\n".join(report(other))


def test_the_command_that_does_it_again_says_what_is_unusual() -> None:
    usual = Options(1_000_000, 300, 200, 40, 0.2, 40.0, 30, 0.05, 5.0, 0)
    assert command_of(usual) == "make bench-cluster"
    assert command_of(options(seed=3)).startswith("python -m benchmarks.cluster --items 5000")
    assert "--seed 3" in command_of(options(seed=3))

#!/usr/bin/env python
"""Changes the code a little at a time, and says which changes the tests do not notice (mutmut).

    python scripts/mutants.py [--tenth] [AREA ...]

Each area is run by itself, in a copy of the project, with those tests alone that are about it.
Tests in processes of their own do not count: mutmut learns from calls in one process which tests
belong to which code.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cam_engine", "service", "worker")
BESIDE = ("benchmarks", "docs", "examples", "processes", "sample", "scripts", "README.md")
GOAL = 0.85
# Of mutmut's words; what runs into a limit of time or memory is noticed as well. "suspicious" is a
# process of tests that broke down by itself, which says nothing of the change.
_UNNOTICED = ("survived", "no tests", "suspicious")
_LEFT_OUT = ("skipped", "not checked", "check was interrupted by user")


@dataclass(frozen=True, slots=True)
class Area:
    """Files by patterns of mutmut, and the tests that are about them."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = {
    "maps": Area(
        ("cam_engine/maps/*",),
        ("tests/cam_engine/maps", "tests/cam_engine/test_method_facts.py"),
    ),
    "rendering": Area(
        ("cam_engine/pictures/rendering.py",),
        ("tests/cam_engine/pictures/test_rendering.py",),
    ),
    "jobs": Area(
        ("worker/jobs/coordination/*", "worker/jobs/redis/*"),
        (
            "tests/worker/jobs/coordination/test_coordinator.py",
            "tests/worker/jobs/coordination/test_finishing.py",
            "tests/worker/jobs/coordination/test_queue.py",
            "tests/worker/jobs/coordination/test_webhooks.py",
            "tests/worker/jobs/redis",
        ),
    ),
    "outputs": Area(("worker/jobs/outputs/*",), ("tests/worker/jobs/outputs",)),
    "http": Area(
        ("service/http/*",),
        tuple(
            f"tests/service/http/test_{name}.py"
            for name in (
                "admission",
                "bodies",
                "documented",
                "heads",
                "middleware",
                "origins",
                "problems",
                "protocol",
                "requested",
                "security",
                "work",
            )
        ),
    ),
}


def main() -> int:
    """Run the areas that are named, all by default; 1 where one stays below the goal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--tenth", action="store_true", help="only every tenth change")
    arguments = parser.parse_args()
    names = arguments.areas or list(AREAS)
    if unknown := sorted(set(names) - set(AREAS)):
        parser.error(f"no such area: {', '.join(unknown)}; there are {', '.join(AREAS)}")
    wanted = ["*7"] if arguments.tenth else []  # changes of a function are numbered
    reached = [run_area(name, AREAS[name], wanted) for name in names]
    return 0 if all(reached) else 1


def run_area(name: str, area: Area, wanted: Sequence[str]) -> bool:
    """Print the share that is noticed, and each change that is not; whether the goal is reached."""
    with tempfile.TemporaryDirectory(prefix="gradcam-mutants-") as scratch:
        copy = Path(scratch)
        copy_project(copy, area)
        mutmut(copy, "run", "--max-children", "1", *wanted)
        outcomes = read_outcomes(copy)
        counted = {key: word for key, word in outcomes.items() if word not in _LEFT_OUT}
        unnoticed = [key for key, word in counted.items() if word in _UNNOTICED]
        share = 1 - len(unnoticed) / len(counted) if counted else 0.0
        for key in unnoticed:
            print(mutmut(copy, "show", key, quiet=True))
        print(
            f"{name}: {len(counted) - len(unnoticed)} of {len(counted)} changes noticed, "
            f"{100 * share:.0f} percent (goal: {100 * GOAL:.0f})",
            flush=True,
        )
    return share >= GOAL


def copy_project(copy: Path, area: Area) -> None:
    """What the tests need, with mutmut told of the area."""
    for name in (*PACKAGES, "tests", *BESIDE):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    configuration = {
        "source_paths": list(PACKAGES),
        "only_mutate": list(area.files),
        "also_copy": list(BESIDE),
        "do_not_mutate_patterns": [r"\b_log\."],  # lines of logs are for readers
        "pytest_add_cli_args_test_selection": list(area.tests),
        "use_setproctitle": False,
        # Clients of stores have threads, which are not there in what a process forks later on.
        "process_isolation": "forkserver",
        "pytest_add_cli_args": ["-m", "not system", "-p", "no:cacheprovider"],
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in configuration.items()]
    project = (ROOT / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]))


def mutmut(copy: Path, *words: str, quiet: bool = False) -> str:
    """Its output. Raises CalledProcessError."""
    command = [sys.executable, "-m", "mutmut", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 (ours)
        command, cwd=copy, env=environment, stdout=subprocess.PIPE if quiet else None, check=True
    )
    return (done.stdout or b"").decode()


def read_outcomes(copy: Path) -> dict[str, str]:
    """Mutmut's word for each change, by its name."""
    lines = mutmut(copy, "results", "--all", "true", quiet=True).splitlines()
    pairs = (line.strip().rsplit(": ", 1) for line in lines if ": " in line)
    return dict(pairs)


if __name__ == "__main__":
    sys.exit(main())

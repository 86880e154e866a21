"""Schemathesis as a process: all checks against a running service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEY = "key-of-the-schema-test"
PHASES = ("examples", "coverage", "fuzzing", "stateful")


def check(url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One run; what is sent stands in schemathesis.toml and schemathesis_hooks.py."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    phases = ",".join(PHASES)
    given = {"GRADCAM_TEST_KEY": KEY, "GRADCAM_TEST_URL": url, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, "--checks", "all", "--phases", phases, "--no-color", *arguments],
        cwd=ROOT,
        env={**os.environ, **given, **variables},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )

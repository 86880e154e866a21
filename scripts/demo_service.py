#!/usr/bin/env python
"""Starts everything on the sample run, has a cell explained and a job done, and stops it again."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_START_SECONDS = 180.0
_STOP_SECONDS = 120.0
_LISTENING = re.compile(r"Uvicorn running on (http://[^\s\"]+)")
_EXPERIMENT = "experiment_synthetic_species"
_CELL = "crops_gt_crops/crops/test/vivax/cell_001.jpg"
_JOB = "job"


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


@contextmanager
def everything(data: Path, output: Path, log_file: Path) -> Iterator[str]:
    """`gradcam up`, by its address; it is stopped at the end. Raises DemoFailed."""
    environment = {**_environment(), "GRADCAM_OUTPUT_ROOT": str(output.absolute())}
    with tempfile.TemporaryDirectory(prefix="gradcam-demo-") as state:
        command = [sys.executable, "-m", "service", "up", "--data", str(data), "--port", "0"]
        with log_file.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 (ours)
                [*command, "--state", state], stdout=log, stderr=log, env=environment
            )
        try:
            yield _ready_address(process, log_file)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def explain(url: str, cell: Path, overlay: Path) -> None:
    """Run `gradcam explain`. Raises DemoFailed."""
    overlay.unlink(missing_ok=True)  # an old one must not pass for a new one
    command = [sys.executable, "-m", "service", "explain", str(cell), "--url", url]
    done = subprocess.run([*command, "-o", str(overlay)], env=_environment(), check=False)  # noqa: S603 (ours)
    if done.returncode or not overlay.is_file():
        raise DemoFailed(f"gradcam explain ended with status {done.returncode}")


def do_job(url: str, words: list[str]) -> None:
    """Run `gradcam jobs submit`, with its progress bar. Raises DemoFailed."""
    command = [sys.executable, "-m", "service", "jobs", "submit", *words, "--url", url]
    done = subprocess.run(command, env=_environment(), check=False)  # noqa: S603 (ours)
    if done.returncode:
        raise DemoFailed(f"gradcam jobs submit ended with status {done.returncode}")


def demo(data: Path, output: Path) -> None:
    """Leave a cell, its overlay and a job's figures in the output folder and say where.

    Raises DemoFailed.
    """
    cells = sorted(data.glob(f"*/experiments/{_EXPERIMENT}/{_CELL}"))
    if not cells:
        raise DemoFailed(f"there is no */experiments/{_EXPERIMENT}/{_CELL} in {data}")
    experiment = cells[0].parents[_CELL.count("/")].relative_to(data).as_posix()
    output.mkdir(parents=True, exist_ok=True)
    cell, overlay, log_file = (output / name for name in ("cell.jpg", "overlay.png", "service.log"))
    shutil.copyfile(cells[0], cell)
    shutil.rmtree(output / _JOB, ignore_errors=True)  # an old one must not pass for a new one
    gradcam = _shown(Path(sys.executable).parent / "gradcam")
    _say(f"\nStarting Redis, a worker and the service; their log is {_shown(log_file)} ...")
    with everything(data, output, log_file) as url:
        _say(f"It answers at {url}. Posting a cell:")
        _say(f"  {gradcam} explain {_shown(cell)} --url {url} -o {_shown(overlay)}")
        explain(url, cell, overlay)
        words = [experiment, "--max-images", "8", "--fused", "--output", _JOB, "--watch"]
        _say("Submitting a job, all models of an experiment:")
        _say(f"  {gradcam} jobs submit {' '.join(words)} --url {url}")
        do_job(url, words)
    _say("All of it is stopped again.\n")
    _say(f"Open the cell and its overlay:\n  {cell.resolve()}\n  {overlay.resolve()}")
    _say(f"and the job's figures and tables:\n  {(output / _JOB).resolve()}\n")
    _say(f"To go on, start everything:\n  {gradcam} up --data {_shown(data)}")
    _say("Then open http://localhost:8000/ in a browser and click a sample under Look.")
    _say("Experiments, Compare and Jobs are next to it. Or post a cell from another shell:")
    _say(f"  curl -F image=@{_shown(cell)} http://localhost:8000/v1/explanations -o overlay.png")


def main() -> int:
    """Run the demo. Answers the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("sample/results"))
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    arguments = parser.parse_args()
    try:
        demo(arguments.data, arguments.output)
    except DemoFailed as error:
        print(f"make demo: the service's part failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _environment() -> dict[str, str]:
    """Without settings of another service, such as its keys, and without a proxy to loopback."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GRADCAM_")}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def _ready_address(process: subprocess.Popen[bytes], log_file: Path) -> str:
    until = time.monotonic() + _START_SECONDS
    address = None
    while time.monotonic() < until:
        if process.poll() is not None:
            said = _last_lines(log_file)
            raise DemoFailed(f"it ended with status {process.returncode} at its start:\n{said}")
        address = address or _address_in(log_file)
        if address and _is_ready(address):
            return address
        time.sleep(0.1)
    raise DemoFailed(f"it was not ready after {_START_SECONDS:g} seconds:\n{_last_lines(log_file)}")


def _address_in(log_file: Path) -> str | None:
    match = _LISTENING.search(log_file.read_text(errors="replace"))
    return match[1] if match else None


def _is_ready(address: str) -> bool:
    try:
        answer = httpx.get(f"{address}/readyz", timeout=10, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def _last_lines(log_file: Path, count: int = 15) -> str:
    lines = log_file.read_text(errors="replace").splitlines()[-count:]
    return "\n".join([*lines, f"(all of it: {log_file})"])


def _say(text: str) -> None:
    print(text, flush=True)  # in order with what the commands in between print


def _shown(path: Path) -> Path:
    """As short as it can be said from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    sys.exit(main())

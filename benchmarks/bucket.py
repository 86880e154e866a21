"""What it costs that data lie in a bucket: looking at what there is, and a command over it.

    python -m benchmarks.bucket [--experiment DIR] [--output docs/performance.md]

A local S3 server (moto's, in Python, in a process of its own) has a data root of many experiments,
and the experiment. Its answers take longer than a store's own, and its network no time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store

from benchmarks.documents import replace_block
from benchmarks.jobs import SAMPLE, copy_experiment, measured_by
from benchmarks.speed import held
from cam_engine.stores.access import MirrorOptions, local
from processes.eventually import eventually_answers
from processes.redis_server import free_port
from service.models.catalog import Catalog

MOST_SECONDS = 2.0
_BUCKET = "data"
_PUT_AT_ONCE = 8


@dataclass(slots=True)
class Looked:
    """Seconds of looking at all models, of each round."""

    models: int
    first: list[float] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Ran:
    """Seconds of the command in each round: of a folder, of the bucket, of the bucket again."""

    network: str
    images: int
    folder: list[float] = field(default_factory=list)
    bucket: list[float] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)


def main() -> None:
    arguments = parse_arguments()
    if arguments.look:
        time_looks(arguments.look, arguments.models)
        return
    with tempfile.TemporaryDirectory() as scratch, s3_server():
        looked = look(arguments, Path(scratch))
        ran = run(arguments, Path(scratch))
    lines = [*head_lines(arguments), *table(looked, ran)]
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "bucket", lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", type=Path, help="folder with cls_*/best.pt and crops")
    parser.add_argument("--experiments", type=int, default=100)
    parser.add_argument("--models", type=int, default=20, help="of each experiment")
    parser.add_argument("--images", type=int, default=200, help="of the command")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    arguments = parser.parse_args()
    if arguments.experiment is None:
        arguments.experiment = sorted(SAMPLE.glob("*/experiments/experiment_*"))[0]
    return arguments


@contextmanager
def s3_server() -> Iterator[None]:
    """One with an empty bucket, which the AWS_ variables of this process name."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually_answers(f"{url}/moto-api/", process)
        os.environ |= {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": "us-east-1",
        }
        httpx.put(f"{url}/{_BUCKET}").raise_for_status()
        yield
    finally:
        process.terminate()
        process.wait()


def put(files: dict[str, bytes]) -> None:
    """All of them, several at once."""
    store = S3Store(_BUCKET, client_options={"allow_http": True})
    with ThreadPoolExecutor(_PUT_AT_ONCE) as pool:
        list(pool.map(lambda key: obstore.put(store, key, files[key]), files))


def look(arguments: argparse.Namespace, scratch: Path) -> Looked:
    """In a new process, once more in it, and in another one that finds what the first one kept."""
    folder = "many/run_20260101_000000/experiments"
    put(
        {
            f"{folder}/experiment_{e:03}/cls_net{m:02}_focal/best.pt": b"weights"
            for e in range(arguments.experiments)
            for m in range(arguments.models)
        }
    )
    looked = Looked(arguments.experiments * arguments.models)
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=scratch) as cache:
            first, holds = in_a_process(Path(cache), looked.models)
            again, _ = in_a_process(Path(cache), looked.models)
        looked.first.append(first)
        looked.holds.append(holds)
        looked.again.append(again)
    return looked


def in_a_process(cache: Path, models: int) -> tuple[float, float]:
    """Seconds of the first look and of the second one."""
    words = ["--look", str(cache), "--models", str(models)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bucket", *words],
        check=True,
        capture_output=True,
        text=True,
    )
    first, second = map(float, done.stdout.split())
    return first, second


def time_looks(cache: Path, models: int) -> None:
    """What `in_a_process` runs."""
    root = local(Path(f"s3://{_BUCKET}/many"), MirrorOptions(cache))
    catalog = Catalog(root, 0)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        there = len(catalog.models())
        seconds.append(time.perf_counter() - start)
        if there != models:
            raise RuntimeError(f"{there} models were found, not {models}")
    print(*seconds)


def run(arguments: argparse.Namespace, scratch: Path) -> Ran:
    """The command over one classifier, in turns."""
    folder = copy_experiment(arguments.experiment, scratch / "run", ["cls_"], arguments.images)
    put(
        {
            f"one/{folder.name}/{file.relative_to(folder).as_posix()}": file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file()
        }
    )
    model = min(path.name for path in folder.glob("cls_*"))
    address = f"s3://{_BUCKET}/one/{folder.name}"
    ran = Ran(model.removeprefix("cls_"), arguments.images)
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=scratch) as cache:
            ran.folder.append(command_seconds(str(folder), model, cache))
            ran.bucket.append(command_seconds(address, model, cache))
            ran.cached.append(command_seconds(address, model, cache))
    return ran


def command_seconds(experiment: str, model: str, scratch: str) -> float:
    """Of the whole command."""
    words = ["--exp-folder", experiment, "--models", model, "--max-images", "1000000", "--quiet"]
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "service", "experiment", *words, "--output-base", output],
            check=True,
            env={**os.environ, "XDG_CACHE_HOME": scratch},
        )
        return time.perf_counter() - start


def head_lines(arguments: argparse.Namespace) -> list[str]:
    experiment = arguments.experiment
    named = "" if SAMPLE in experiment.parents else f" --experiment {experiment.name}"
    return measured_by(f"python -m benchmarks.bucket{named}")


def table(looked: Looked, ran: Ran) -> list[str]:
    first, holds, again = map(statistics.median, (looked.first, looked.holds, looked.again))
    ratios = [
        statistics.median(a / b for a, b in zip(seconds, ran.folder, strict=True))
        for seconds in (ran.bucket, ran.cached)
    ]
    seconds = held(first, MOST_SECONDS, at_most=True)
    whole = statistics.median(ran.folder)
    return [
        f"Looking at {looked.models} models of a bucket, seconds: {seconds} the first time, "
        f"{again:.2f} by a process that finds their names in the cache, {holds:.2f} while a look "
        "holds.",
        "",
        f"The experiment command, {ran.network} over {ran.images} images: {whole:.1f} s from a "
        f"folder; from the bucket {ratios[0]:.2f} times as long, and {ratios[1]:.2f} times with "
        "all of it in the cache.",
        "",
    ]


if __name__ == "__main__":
    main()

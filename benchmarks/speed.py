"""Speed of the engine and of whole commands, against peers, in one run.

    python -m benchmarks.speed [--experiment DIR] [--device cuda] [--output docs/performance.md]

Contenders have a process each and take turns, so that what else the machine does falls on all of
them; figures are medians over the rounds, ratios the medians of each round's ratio.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.documents import replace_block
from benchmarks.peers import CONTENDERS
from benchmarks.turns import Turns, contenders
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import load_classifier
from cam_engine.models.networks import build

MODELS = ("densenet121", "resnet50", "efficientnet_b1")
CLASSES = ("gametocyte", "ring", "schizont", "trophozoite")
SCRIPT = Path(__file__).parents[1] / "scripts/visualization/generate_improved_gradcam.py"
# By the kind of device: batches, and how many images a whole command's marginal time is taken of.
BATCHES = {"cpu": (16, 1), "cuda": (64, 16, 1)}
FEW = {"cpu": 10, "cuda": 200}
MANY = {"cpu": 90, "cuda": 1800}

# What is to be reached on a CPU: of torchcam, of pytorch-grad-cam, of the floor; and a whole
# command's marginal time an image in units of torchcam's maps alone.
AT_LEAST = {"densenet121": 2.4, "resnet50": 3.6, "efficientnet_b1": 1.6}
AT_LEAST_PYTORCH_GRAD_CAM = 12.0
AT_LEAST_FLOOR = 0.85
COMMAND_AT_MOST = {"densenet121": 1.1, "resnet50": 0.63, "efficientnet_b1": 1.7}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--experiment", type=Path, help="folder with cls_<arch>_*/best.pt and crops"
    )
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-commands", action="store_true")
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = report(arguments, Path(scratch))
    print("\n".join(lines))
    if arguments.output:
        block = "speed" if arguments.device.type == "cpu" else "speed-gpu"
        replace_block(arguments.output, block, lines)


def report(arguments: argparse.Namespace, scratch: Path) -> list[str]:
    device: torch.device = arguments.device
    rounds: int = arguments.rounds
    lines = [*machine_lines(arguments.experiment, device), ""]
    engine_rows: list[str] = []
    command_rows: list[str] = []
    for name in arguments.models:
        checkpoint = checkpoint_of(name, arguments.experiment, scratch)
        explainer = Explainer(load_classifier(checkpoint), device=device)
        rule = explainer.precision.describe()
        with contenders(checkpoint, device) as turns:
            for batch_size in BATCHES[device.type]:
                engine_rows.append(engine_row(name, rule, turns, batch_size, rounds, device))
                print(engine_rows[-1], file=sys.stderr, flush=True)
            if not arguments.skip_commands:
                images = crops(arguments.experiment, scratch, MANY[device.type])
                command_rows.append(
                    command_row(name, checkpoint, images, turns, scratch, rounds, device)
                )
                print(command_rows[-1], file=sys.stderr, flush=True)
    lines += [*ENGINE_HEAD, *engine_rows, ""]
    if command_rows:
        lines += [*command_head(device), *command_rows, ""]
    return lines


ENGINE_HEAD = (
    "Images a second, 224 px, three layers, Grad-CAM++, maps at native size:",
    "",
    "| network | batch | engine (rule) | engine, float32 | torchcam | torchcam, memory kept | "
    "pytorch-grad-cam | x torchcam | x pytorch-grad-cam | of the floor |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def command_head(device: torch.device) -> tuple[str, ...]:
    few, many = FEW[device.type], MANY[device.type]
    return (
        f"Whole commands, all seven pictures written: time an image, {many} images less {few}:",
        "",
        "| network | ms an image | torchcam's maps alone, ms | ratio |",
        "|---|---|---|---|",
    )


def engine_row(
    name: str, rule: str, turns: Turns, batch_size: int, rounds: int, device: torch.device
) -> str:
    timings = turns.take(tuple(CONTENDERS), batch_size, rounds)
    engine, floor = timings["engine"], timings["floor"]
    torchcam, peer = timings["torchcam"], timings["pytorch-grad-cam"]
    # What is to be reached is said of batches on a CPU.
    bars = batch_size > 1 and device.type == "cpu"
    cells = (
        name,
        str(batch_size),
        f"{engine.images_per_second:.1f} ({rule})",
        f"{timings['engine, float32'].images_per_second:.1f}",
        f"{torchcam.images_per_second:.1f}",
        f"{timings['torchcam, memory kept'].images_per_second:.1f}",
        f"{peer.images_per_second:.1f}",
        held(engine.ratio_to(torchcam), AT_LEAST[name] if bars else None),
        held(engine.ratio_to(peer), AT_LEAST_PYTORCH_GRAD_CAM if bars else None),
        held(engine.ratio_to(floor), AT_LEAST_FLOOR if bars else None),
    )
    return f"| {' | '.join(cells)} |"


def command_row(
    name: str,
    checkpoint: Path,
    images: Path,
    turns: Turns,
    scratch: Path,
    rounds: int,
    device: torch.device,
) -> str:
    """Few, many, torchcam; once a round, medians of each."""
    few, many, at_once = FEW[device.type], MANY[device.type], BATCHES[device.type][0]
    ours, theirs = [], []
    for _ in range(rounds):
        seconds = []
        for count in (few, many):
            with tempfile.TemporaryDirectory(dir=scratch) as output:
                seconds.append(command_seconds(checkpoint, images, count, Path(output), device))
        ours.append((seconds[1] - seconds[0]) / (many - few))
        theirs += [s / at_once for s in turns.take(("torchcam",), at_once, 3)["torchcam"].seconds]
    one, other = statistics.median(ours), statistics.median(theirs)
    bar = COMMAND_AT_MOST[name] if device.type == "cpu" else None
    ratio = held(one / other, bar, at_most=True)
    return f"| {name} | {one * 1000:.1f} | {other * 1000:.1f} | {ratio} |"


def held(value: float, bar: float | None, *, at_most: bool = False) -> str:
    """A figure with what it is held to, and a word where it falls short."""
    if bar is None:
        return f"{value:.2f}"
    short = value > bar if at_most else value < bar
    sign = "<=" if at_most else ">="
    return f"{value:.2f} ({sign} {bar}{', NOT REACHED' if short else ''})"


def command_seconds(
    checkpoint: Path, images: Path, count: int, output: Path, device: torch.device
) -> float:
    command = [sys.executable, str(SCRIPT), "--model", str(checkpoint), "--images", str(images)]
    command += ["--max-images", str(count), "--output", str(output), "--quiet"]
    command += ["--device", str(device)]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def checkpoint_of(name: str, experiment: Path | None, scratch: Path) -> Path:
    """The experiment's first checkpoint of that architecture, else random weights."""
    checkpoints = sorted(experiment.glob(f"cls_{name}_*/best.pt")) if experiment else []
    if checkpoints:
        return checkpoints[0]
    torch.manual_seed(0)
    network = build(name, "torchvision", len(CLASSES))
    path = scratch / f"cls_{name}_random" / "best.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "model_state_dict": network.state_dict(),
            "model_name": name,
            "class_names": list(CLASSES),
        },
        path,
    )
    return path


def crops(experiment: Path | None, scratch: Path, count: int) -> Path:
    """A folder of `count` images: the experiment's, in turns, else noise with blobs at 224 px."""
    folder = scratch / "crops"
    if folder.exists():
        return folder
    folder.mkdir()
    source = experiment / "crops_gt_crops" / "crops" if experiment else None
    originals = sorted([*source.rglob("*.jpg"), *source.rglob("*.png")]) if source else []
    generator = np.random.default_rng(0)
    for number in range(count):
        if originals:
            original = originals[number % len(originals)]
            shutil.copyfile(original, folder / f"{number:04d}{original.suffix}")
        else:
            image = cv2.GaussianBlur(generator.normal(180, 60, (224, 224, 3)), (0, 0), 3)
            image = image + generator.normal(0, 4, image.shape)
            name = str(folder / f"{number:04d}.jpg")
            cv2.imwrite(name, np.clip(image, 0, 255).astype(np.uint8))
    return folder


def machine_lines(experiment: Path | None, device: torch.device) -> list[str]:
    processor = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    machine = f"{processor}, {torch.get_num_threads()} threads"
    command = f"make bench{' EXPERIMENT=' + experiment.name if experiment else ''}"
    if device.type == "cuda":
        machine = f"{torch.cuda.get_device_name(device)}, {os.cpu_count()} cores of {processor}"
        command += f" DEVICE={device}"
    return [f"Measured on {machine}, torch {torch.__version__}:", "", f"    {command}"]


if __name__ == "__main__":
    main()

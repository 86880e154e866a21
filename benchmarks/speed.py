"""Speed of the engine and of whole commands, against peers, in one run.

    python -m benchmarks.speed [--experiment DIR] [--output docs/performance.md]

Contenders take turns, so that what else the machine does falls on all of them; figures are
medians over the rounds, ratios the medians of each round's ratio.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.documents import replace_block
from benchmarks.peers import Contender, contenders, torchcam_alone
from cam_engine.checkpoints import Classifier, load_classifier
from cam_engine.engine import Explainer
from cam_engine.networks import build

MODELS = ("densenet121", "resnet50", "efficientnet_b1")
CLASSES = ("gametocyte", "ring", "schizont", "trophozoite")
SCRIPT = Path(__file__).parents[1] / "scripts/visualization/generate_improved_gradcam.py"
FEW, MANY = 10, 90

# What is to be reached: of torchcam, of pytorch-grad-cam, of the floor; and a whole command's
# marginal time an image in units of torchcam's maps alone.
AT_LEAST = {"densenet121": 2.4, "resnet50": 3.6, "efficientnet_b1": 1.6}
AT_LEAST_PYTORCH_GRAD_CAM = 12.0
AT_LEAST_FLOOR = 0.85
COMMAND_AT_MOST = {"densenet121": 1.1, "resnet50": 0.63, "efficientnet_b1": 1.7}


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a round of one contender."""

    name: str
    seconds: tuple[float, ...]

    def images_per_second(self, batch_size: int) -> float:
        return batch_size / statistics.median(self.seconds)

    def ratio_to(self, other: Timing) -> float:
        """How many times as fast as the other, round by round."""
        return statistics.median(o / s for s, o in zip(self.seconds, other.seconds, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--experiment", type=Path, help="folder with cls_<arch>_*/best.pt and crops"
    )
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-commands", action="store_true")
    parser.add_argument("--output", type=Path, help="Markdown file whose block is replaced")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = report(arguments, Path(scratch))
    print("\n".join(lines))
    if arguments.output:
        replace_block(arguments.output, "speed", lines)


def report(arguments: argparse.Namespace, scratch: Path) -> list[str]:
    lines = [*machine_lines(arguments.experiment), ""]
    engine_rows: list[str] = []
    command_rows: list[str] = []
    for name in arguments.models:
        checkpoint = checkpoint_of(name, arguments.experiment, scratch)
        classifier = load_classifier(checkpoint)
        for batch_size in (16, 1):
            rounds = arguments.rounds
            engine_rows.append(engine_row(name, classifier, batch_size, rounds))
            print(engine_rows[-1], file=sys.stderr, flush=True)
        if not arguments.skip_commands:
            images = crops(arguments.experiment, scratch)
            command_rows.append(command_row(name, classifier, checkpoint, images, scratch))
            print(command_rows[-1], file=sys.stderr, flush=True)
    lines += [*ENGINE_HEAD, *engine_rows, ""]
    if command_rows:
        lines += [*COMMAND_HEAD, *command_rows, ""]
    return lines


ENGINE_HEAD = (
    "Images a second, 224 px, three layers, Grad-CAM++, maps at native size:",
    "",
    "| network | batch | engine (rule) | engine, float32 | torchcam | pytorch-grad-cam | "
    "x torchcam | x pytorch-grad-cam | of the floor |",
    "|---|---|---|---|---|---|---|---|---|",
)
COMMAND_HEAD = (
    f"Whole commands, all seven pictures written: time an image, {MANY} images less {FEW}:",
    "",
    "| network | ms an image | torchcam's maps alone, ms | ratio |",
    "|---|---|---|---|",
)


def engine_row(name: str, classifier: Classifier, batch_size: int, rounds: int) -> str:
    torch.manual_seed(0)
    batch = torch.randn(batch_size, 3, 224, 224)
    timings = take_turns(contenders(classifier, as_users_hold_it(classifier)), batch, rounds)
    engine, floor = timings["engine"], timings["floor"]
    torchcam, peer = timings["torchcam"], timings["pytorch-grad-cam"]
    rule = Explainer(classifier).precision.describe()
    bars = batch_size > 1  # what is to be reached is said of batches
    cells = (
        name,
        str(batch_size),
        f"{engine.images_per_second(batch_size):.1f} ({rule})",
        f"{timings['engine, float32'].images_per_second(batch_size):.1f}",
        f"{torchcam.images_per_second(batch_size):.1f}",
        f"{peer.images_per_second(batch_size):.1f}",
        held(engine.ratio_to(torchcam), AT_LEAST[name] if bars else None),
        held(engine.ratio_to(peer), AT_LEAST_PYTORCH_GRAD_CAM if bars else None),
        held(engine.ratio_to(floor), AT_LEAST_FLOOR if bars else None),
    )
    return f"| {' | '.join(cells)} |"


def command_row(
    name: str, classifier: Classifier, checkpoint: Path, images: Path, scratch: Path
) -> str:
    """Few, many, torchcam; three times over, medians of each."""
    torch.manual_seed(0)
    batch = torch.randn(16, 3, 224, 224)
    extractor = torchcam_alone(as_users_hold_it(classifier), classifier)
    ours, theirs = [], []
    for turn in range(3):
        seconds = [
            command_seconds(checkpoint, images, count, scratch / f"{name}_{turn}_{count}")
            for count in (FEW, MANY)
        ]
        ours.append((seconds[1] - seconds[0]) / (MANY - FEW))
        theirs += [s / 16 for s in take_turns([extractor], batch, 3)["torchcam"].seconds]
    one, other = statistics.median(ours), statistics.median(theirs)
    return (
        f"| {name} | {one * 1000:.1f} | {other * 1000:.1f} | "
        f"{held(one / other, COMMAND_AT_MOST[name], at_most=True)} |"
    )


def held(value: float, bar: float | None, *, at_most: bool = False) -> str:
    """A figure with what it is held to, and a word where it falls short."""
    if bar is None:
        return f"{value:.2f}"
    short = value > bar if at_most else value < bar
    sign = "<=" if at_most else ">="
    return f"{value:.2f} ({sign} {bar}{', NOT REACHED' if short else ''})"


def take_turns(all_of: Sequence[Contender], batch: torch.Tensor, rounds: int) -> dict[str, Timing]:
    for contender in all_of:
        contender.work(batch)
    seconds: dict[str, list[float]] = {contender.name: [] for contender in all_of}
    for _ in range(rounds):
        for contender in all_of:
            start = time.perf_counter()
            contender.work(batch)
            seconds[contender.name].append(time.perf_counter() - start)
    return {name: Timing(name, tuple(values)) for name, values in seconds.items()}


def command_seconds(checkpoint: Path, images: Path, count: int, output: Path) -> float:
    command = [sys.executable, str(SCRIPT), "--model", str(checkpoint), "--images", str(images)]
    command += ["--max-images", str(count), "--output", str(output), "--quiet"]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def as_users_hold_it(classifier: Classifier) -> nn.Module:
    network = copy.deepcopy(classifier.network)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def checkpoint_of(name: str, experiment: Path | None, scratch: Path) -> Path:
    """The experiment's first checkpoint of that architecture, else random weights."""
    found = sorted(experiment.glob(f"cls_{name}_*/best.pt")) if experiment else []
    if found:
        return found[0]
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


def crops(experiment: Path | None, scratch: Path) -> Path:
    """A folder of at least MANY images of 224 px: the experiment's, else noise with blobs."""
    found = experiment / "crops_gt_crops" / "crops" if experiment else None
    if found and len([*found.rglob("*.jpg"), *found.rglob("*.png")]) >= MANY:
        return found
    folder = scratch / "crops"
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(MANY):
        image = cv2.GaussianBlur(generator.normal(180, 60, (224, 224, 3)), (0, 0), 3)
        image += generator.normal(0, 4, image.shape)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), np.clip(image, 0, 255).astype(np.uint8))
    return folder


def machine_lines(experiment: Path | None) -> list[str]:
    processor = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    return [
        f"Measured on {processor}, {torch.get_num_threads()} threads, torch {torch.__version__}:",
        "",
        f"    make bench{' EXPERIMENT=' + experiment.name if experiment else ''}",
    ]


if __name__ == "__main__":
    main()

"""Make the bundled sample run: draw its crops, train its classifiers and write the results tree.

python scripts/sample/make_sample_run.py --output sample/results --seed 7
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing import Pool
from multiprocessing.pool import Pool as PoolType
from pathlib import Path

import cv2
import numpy as np
import torch
import training
from PIL import Image
from smear import LIFECYCLE, SPECIES, Crop, Kind, decode_rgb, draw_crop
from training import LOSSES, LabelledCrops, Recipe

RUN_NAME = "optA_20260115_090000"
TEST_PER_CLASS, VAL_PER_CLASS, VAL_STORED_PER_CLASS, FRESH_PER_CLASS = 12, 60, 4, 100
CSV_COLUMNS = (
    *("original_image", "crop_filename", "split", "class_id", "class_name"),
    *("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"),
)


@dataclass(frozen=True)
class Experiment:
    """One folder of the run: its classes (alphabetical), training crops of each, its recipe."""

    name: str
    kinds: tuple[Kind, ...]
    training_counts: tuple[int, ...]
    recipe: Recipe


EXPERIMENTS = (
    Experiment(
        "experiment_synthetic_lifecycle",
        LIFECYCLE,
        (330, 560, 260, 450),
        Recipe("mobilenet_v3_small", window_epochs=16),
    ),
    Experiment(
        "experiment_synthetic_species",
        SPECIES,
        (560, 260, 330, 450),
        Recipe("mobilenetv3_small_050", window_epochs=32),
    ),
)


@dataclass(frozen=True)
class Order:
    """A request for one crop; equal orders give equal crops, whichever process draws them."""

    experiment: str
    split: str
    kind: Kind
    label: int
    index: int
    seed: int

    def draw(self) -> Crop:
        """Draw this crop from a generator of its own."""
        key = zlib.crc32(f"{self.experiment}/{self.split}/{self.kind.name}".encode())
        return draw_crop(self.kind, np.random.default_rng([self.seed, key, self.index]))


@dataclass(frozen=True)
class DrawnCrop:
    """A crop and the order it answers."""

    order: Order
    crop: Crop


def main() -> None:
    """Remake the experiments that are asked for, by default all."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.workers)
    with Pool(arguments.workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        for experiment in EXPERIMENTS:
            if experiment.name in arguments.experiments:
                folder = arguments.output / RUN_NAME / "experiments" / experiment.name
                make_experiment(experiment, folder, arguments.seed, pool)


def make_experiment(experiment: Experiment, folder: Path, seed: int, pool: PoolType) -> None:
    """Draw, store, train and save one experiment, and print how well each classifier does."""
    started = time.monotonic()
    drawn = {
        split: draw_split(experiment, split, seed, pool)
        for split in ("train", "val", "test", "fresh")
    }
    print(f"{experiment.name}: drawn in {time.monotonic() - started:.0f} s", flush=True)
    store_crops(
        drawn["test"], [d for d in drawn["val"] if d.order.index < VAL_STORED_PER_CLASS], folder
    )
    crops = {split: stack(found) for split, found in drawn.items()}
    for loss_name in LOSSES:
        started = time.monotonic()
        path = folder / f"cls_{experiment.recipe.model_name}_{loss_name}" / "best.pt"
        trained = training.train(experiment.recipe, loss_name, crops["train"], crops["val"], seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [kind.name for kind in experiment.kinds]
        torch.save(training.checkpoint(trained, experiment.recipe.model_name, names), path)
        _report(path, crops, time.monotonic() - started)


def draw_split(experiment: Experiment, split: str, seed: int, pool: PoolType) -> list[DrawnCrop]:
    """Draw a split: train, val, test, or `fresh`, which is measured with and not stored."""
    fixed = {"val": VAL_PER_CLASS, "test": TEST_PER_CLASS, "fresh": FRESH_PER_CLASS}
    orders = [
        Order(experiment.name, split, kind, label, index, seed)
        for label, kind in enumerate(experiment.kinds)
        for index in range(fixed.get(split, experiment.training_counts[label]))
    ]
    return [
        DrawnCrop(order, crop)
        for order, crop in zip(orders, pool.map(Order.draw, orders), strict=True)
    ]


def stack(drawn: list[DrawnCrop]) -> LabelledCrops:
    """Make tensors of the crops, as decoded from their JPEGs."""
    images = np.stack([decode_rgb(d.crop.jpeg) for d in drawn])
    boxes = np.array([bounding_box(d.crop.mask) for d in drawn], np.float32)
    return LabelledCrops(
        images=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        labels=torch.tensor([d.order.label for d in drawn]),
        centres=torch.from_numpy((boxes[:, :2] + boxes[:, 2:]) / 2),
    )


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 in pixels of what is set in a mask; x2 and y2 lie just outside."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def store_crops(test: list[DrawnCrop], val: list[DrawnCrop], folder: Path) -> None:
    """Write crops, masks and the CSV; each class counts from cell_001, val after test."""
    root, rows = folder / "crops_gt_crops", []
    for number, drawn in enumerate([*test, *val], start=1):
        split, name = drawn.order.split, drawn.order.kind.name
        stem = f"cell_{drawn.order.index + 1 + (TEST_PER_CLASS if split == 'val' else 0):03d}"
        crop_path = root / "crops" / split / name / f"{stem}.jpg"
        mask_path = root / "masks" / split / name / f"{stem}.png"
        for path in (crop_path, mask_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        crop_path.write_bytes(drawn.crop.jpeg)
        Image.fromarray(drawn.crop.mask).convert("1").save(mask_path, optimize=True)
        box = bounding_box(drawn.crop.mask)
        rows.append(
            (
                f"synthetic_smear_{number:03d}.jpg",
                crop_path.name,
                split,
                drawn.order.kind.class_id,
                name,
                *box,
            )
        )
    _write_csv(root / "ground_truth_crop_metadata.csv", rows)


def _write_csv(path: Path, rows: Iterable[tuple[str | int, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows(rows)


def _report(path: Path, crops: dict[str, LabelledCrops], seconds: float) -> None:
    """Measure the checkpoint as a reader will load it, on plain and on CLAHE-equalised crops."""
    saved = torch.load(path, weights_only=True)
    network = training.restore(saved)
    print(f"  {path.parent.name}: {path.stat().st_size / 1e6:.2f} MB, {seconds:.0f} s")
    print(f"    epoch {saved['epoch']}, val_acc {saved['val_acc']:.3f}")
    for split in ("test", "fresh"):
        plain = training.accuracy(network, crops[split])
        equalised = training.accuracy(network, training.equalised(crops[split]))
        print(f"    {split}: plain {plain:.3f}, with CLAHE {equalised:.3f}", flush=True)


def _parse_arguments() -> argparse.Namespace:
    names = [experiment.name for experiment in EXPERIMENTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=Path("sample/results"), help="folder to write the run into"
    )
    parser.add_argument("--seed", type=int, default=7, help="equal seeds draw equal crops")
    parser.add_argument(
        "--experiments",
        nargs="+",
        choices=names,
        default=names,
        help="which to make (default: all)",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes and threads"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Train one small network of each family on drawn crops, to measure where their maps look.

python scripts/sample/families.py --output families --seed 7

Writes OUTPUT/cls_<name>/best.pt and, to measure with, OUTPUT/crops/fresh/<class>/<name>.jpg and
OUTPUT/masks/fresh/<class>/<name>.png. Networks that are there already are left as they are.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path

import cv2
import make_sample_run
import torch
import training
from make_sample_run import DrawnCrop, draw_split
from PIL import Image
from smear import LIFECYCLE
from training import LabelledCrops, Recipe

SIDE_PX = 160  # five windows of 32 px: what Swin and MaxViT need
MEASURED_PER_CLASS = 50
LOSS = "focal"

# Names of timm's. Each is about the smallest of its family.
RECIPES = (
    Recipe("regnety_002", 0, 6, SIDE_PX, 3e-3, bfloat16=True),
    Recipe("tf_efficientnetv2_b0", 0, 6, SIDE_PX, 3e-3, bfloat16=True),
    Recipe("vit_tiny_patch16_224", 0, 12, SIDE_PX, 1e-3, {"img_size": SIDE_PX}, bfloat16=True),
    Recipe(
        "swin_tiny_patch4_window7_224", 0, 6, SIDE_PX, 5e-4, {"img_size": SIDE_PX}, bfloat16=True
    ),
    Recipe("maxvit_rmlp_pico_rw_256", 0, 5, SIDE_PX, 1e-3, {"img_size": SIDE_PX}, bfloat16=True),
    Recipe("convnextv2_atto", 0, 11, SIDE_PX, 1e-3, bfloat16=True, drawn_wide=True),
)


def main() -> None:
    """Draw the crops, then train what is not there yet, and print how good each is."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.workers)
    folders = {r.model_name: arguments.output / f"cls_{r.model_name}" for r in RECIPES}
    missing = [
        recipe
        for recipe in RECIPES
        if recipe.model_name in arguments.networks
        and not (folders[recipe.model_name] / "best.pt").exists()
    ]
    started = time.monotonic()
    splits = ("train", "val", "fresh") if missing else ("fresh",)
    drawn = draw(splits, arguments.seed, arguments.workers)
    print(f"drawn in {time.monotonic() - started:.0f} s", flush=True)
    store(drawn["fresh"], arguments.output)
    crops = {split: make_sample_run.stack(of_split) for split, of_split in drawn.items()}
    for recipe in missing:
        make_network(recipe, crops, folders[recipe.model_name], arguments.seed)


def draw(splits: tuple[str, ...], seed: int, workers: int) -> dict[str, list[DrawnCrop]]:
    """Draw splits of the lifecycle experiment's kinds, with as many training crops of each."""
    lifecycle = make_sample_run.EXPERIMENTS[0]
    experiment = replace(lifecycle, training_counts=(800,) * len(lifecycle.kinds))
    with Pool(workers, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        return {split: draw_split(experiment, split, seed, pool) for split in splits}


def store(drawn: list[DrawnCrop], folder: Path) -> None:
    """Write the first crops of each class and their masks."""
    for crop in drawn:
        order = crop.order
        if order.index >= MEASURED_PER_CLASS:
            continue
        name = f"{order.split}/{order.kind.name}/cell_{order.index + 1:03d}"
        crop_path, mask_path = folder / f"crops/{name}.jpg", folder / f"masks/{name}.png"
        for path in (crop_path, mask_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        crop_path.write_bytes(crop.crop.jpeg)
        Image.fromarray(crop.crop.mask).convert("1").save(mask_path, optimize=True)


def make_network(recipe: Recipe, crops: dict[str, LabelledCrops], folder: Path, seed: int) -> None:
    """Train and save one network, and print its accuracy on crops that it has not seen."""
    started = time.monotonic()
    print(recipe.model_name, flush=True)
    trained = training.train(recipe, LOSS, crops["train"], crops["val"], seed)
    names = [kind.name for kind in LIFECYCLE]
    saved = training.checkpoint(trained, recipe.model_name, names)
    folder.mkdir(parents=True, exist_ok=True)
    # Said in the file: timm's own of some of these networks differ.
    seen = {
        "input_size": recipe.whole_px,
        "mean": training.MEAN.flatten().tolist(),
        "std": training.STD.flatten().tolist(),
    }
    torch.save({**saved, **seen}, folder / "best.pt")
    fresh = training.resized(crops["fresh"], recipe.whole_px)
    print(
        f"  {time.monotonic() - started:.0f} s, epoch {trained.epoch}; fresh: plain "
        f"{training.accuracy(trained.network, fresh):.3f}, with CLAHE "
        f"{training.accuracy(trained.network, training.equalised(fresh)):.3f}",
        flush=True,
    )


def _parse_arguments() -> argparse.Namespace:
    names = [recipe.model_name for recipe in RECIPES]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write into")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds draw equal crops")
    parser.add_argument(
        "--networks", nargs="+", choices=names, default=names, help="which (default: all)"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes and threads"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

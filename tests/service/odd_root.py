"""A data root in which much is wrong: damaged models, links that lead out, strange names."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CLASSES = ("gametozyt ä", "Ring/环", "schizont, late", 'troph"50%"')
MODEL = "cls_mobilenet_v3_small_cb"
FOCAL = "cls_mobilenet_v3_small_focal"
CROPS = "crops_gt_crops/crops"


@dataclass(frozen=True)
class OddRoot:
    """Where it is, its experiments' ids, and what must not be reached or made."""

    root: Path
    outside: Path
    booby_trap: Path
    sound: str = "optA_20260101_000000/experiments/experiment_sound"
    odd: str = "optA_20260201_000000/experiments/experiment_odd"
    bare: str = "optA_20250101_000000/experiments/experiment_bare"
    pictureless: str = "optA_20250101_000000/experiments/experiment_pictureless"

    unspeakable: str = "optA_20250101_000000/experiments/experiment_unspeakable"

    @property
    def best(self) -> str:
        """The model of highest val_acc in the sound experiment; not the first by name."""
        return f"{self.sound}/{FOCAL}"

    @property
    def named_oddly(self) -> str:
        """The model with non-ASCII class names."""
        return f"{self.odd}/{MODEL}"


class _Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self._place),)


def build_odd_root(lifecycle: Path, folder: Path) -> OddRoot:
    """Make it below the folder, from the bundled experiment."""
    made = OddRoot(folder / "root", folder / "outside", folder / "trapped")
    sound, odd = made.root / made.sound, made.root / made.odd
    shutil.copytree(lifecycle, sound, ignore=shutil.ignore_patterns("masks"))
    rewrite(sound / FOCAL / "best.pt", val_acc=0.9999)
    _put_models(odd, sound / MODEL / "best.pt", made.booby_trap)
    _put_images(odd, lifecycle)
    (made.root / made.bare).mkdir(parents=True)
    shutil.copytree(sound / MODEL, made.root / made.pictureless / "cls_mobilenet_v3_small_alone")
    _put_unspeakable(made.root / made.unspeakable, sound)
    _put_links(made, lifecycle)
    return made


def rewrite(checkpoint: Path, **entries: object) -> None:
    """Change a checkpoint's entries; the new file takes the place of the old one at once."""
    contents = torch.load(checkpoint, weights_only=True)
    fresh = checkpoint.with_suffix(".new")
    torch.save({**contents, **entries}, fresh)
    fresh.replace(checkpoint)


def _put_models(experiment: Path, source: Path, trap: Path) -> None:
    contents = torch.load(source, weights_only=True)
    weights = contents["model_state_dict"]
    nan = {**weights, "classifier.3.bias": torch.full_like(weights["classifier.3.bias"], torch.nan)}
    changed: dict[str, dict[str, Any]] = {
        MODEL: {"class_names": list(CLASSES)},
        "cls_names": {"class_names": ["one", "two"]},
        "cls_mismatch": {"model_name": "resnet18"},
        "cls_nan": {"model_state_dict": nan},
        "cls_unsafe": {"extra": _Trap(trap)},
    }
    for name, entries in changed.items():
        (experiment / name).mkdir(parents=True)
        torch.save({**contents, "val_acc": 0.5, **entries}, experiment / name / "best.pt")
    (experiment / "cls_unknown").mkdir()
    strange = {"stem.weight": torch.zeros(2, 2), "tail.bias": torch.zeros(2)}
    torch.save({"model_state_dict": strange}, experiment / "cls_unknown/best.pt")
    (experiment / "cls_damaged").mkdir()
    (experiment / "cls_damaged/best.pt").write_bytes(b"no checkpoint at all")


def _put_images(experiment: Path, lifecycle: Path) -> None:
    for split in ("test", "val"):
        folder = experiment / CROPS / split / "ring"
        folder.mkdir(parents=True)
        shutil.copy(lifecycle / CROPS / "test/ring/cell_001.jpg", folder / "cell 001+ü#.jpg")
    (experiment / CROPS / "val/ring/broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")


def _put_unspeakable(experiment: Path, sound: Path) -> None:
    """File names that are not UTF-8 or no paths on the web, class names with control characters."""
    ring = experiment / CROPS / "test/ring"
    ring.mkdir(parents=True)
    image = sound / CROPS / "test/ring/cell_001.jpg"
    shutil.copy(image, ring / "b.jpg")
    shutil.copy(image, ring / os.fsdecode(b"a\xff.jpg"))
    for name in ("c\\d.jpg", "e%5Cf.jpg", "g\nh.jpg"):
        shutil.copy(image, ring / name)
    shutil.copytree(sound / MODEL, experiment / "cls_plain")
    shutil.copytree(sound / MODEL, experiment / os.fsdecode(b"cls_mod\xe8le"))
    shutil.copytree(sound / MODEL, experiment / "cls_control")
    names = ["a\0b", "c\nd", "e\x1b[31m", "f"]
    rewrite(experiment / "cls_control/best.pt", class_names=names, val_acc=0.1)


def _put_links(made: OddRoot, lifecycle: Path) -> None:
    """Links out of the root: to an experiment, a model, a folder of images and an image."""
    experiment = made.outside / "experiment_secret"
    shutil.copytree(lifecycle / CROPS / "test/ring", experiment / CROPS / "test/hidden")
    shutil.copytree(lifecycle / MODEL, experiment / "cls_secret")
    secret_image = experiment / CROPS / "test/hidden/cell_002.jpg"
    odd = made.root / made.odd
    (odd.parent / "experiment_linked").symlink_to(experiment)
    (odd / "cls_linked").mkdir()
    (odd / "cls_linked/best.pt").symlink_to(experiment / "cls_secret/best.pt")
    (odd / CROPS / "val/linked.jpg").symlink_to(secret_image)
    (odd / CROPS / "val/linked_folder").symlink_to(experiment / CROPS / "test/hidden")
    (odd / CROPS / "train").symlink_to(experiment / CROPS / "test")
    (odd / "passwd").symlink_to("/etc/passwd")
    (odd / "loop").symlink_to("loop")

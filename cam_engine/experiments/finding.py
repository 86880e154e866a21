"""Finds classifiers and test images in the documented results tree.

results/optA_<date>_<time>/experiments/experiment_<dataset>/
  cls_<arch>_<loss>/best.pt
  crops_gt_crops/crops/test/<class>/*.jpg     (older: crops_gt_crops/test/[<class>/]*)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cam_engine.errors import (
    DataUnavailable,
    ExperimentNotFound,
    ImageNotFound,
    NoImagesFound,
    NoModelsFound,
)
from cam_engine.experiments.naming import LONGEST_NAME, unique_names
from cam_engine.experiments.skipped import NOTHING, Skipped, Tally
from cam_engine.experiments.walking import DEFAULT_OUTPUT, walk
from cam_engine.links import stays_within
from cam_engine.short_names import short_name, speakable
from cam_engine.stores import access

__all__ = [
    "CHECKPOINT_NAMES",
    "CROP_FOLDERS",
    "DEFAULT_OUTPUT",
    "SPLITS",
    "Experiment",
    "FoundImages",
    "FoundModels",
    "ImageItem",
    "ModelFolder",
    "all_experiments",
    "find_experiments",
    "find_images",
    "look_for_images",
]

# The first of these that a folder has is its classifier.
CHECKPOINT_NAMES = (
    *("best.pt", "best_model.pt", "best.pth", "best_model.pth", "best.safetensors"),
    *("model.safetensors", "pytorch_model.bin", "best.ckpt"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
    *("model_best.pth.tar", "model_best.pth", "model.pt", "model.pth", "checkpoint.pth"),
    *("best_val_acc.pt", "best_val_loss.pt", "last.pt", "last.pth", "last.ckpt", "best.pt2"),
)
SPLITS = ("test", "train", "val")
CROP_FOLDERS = ("crops_gt_crops/crops", "crops_gt_crops")

_BELOW_A_ROOT = (
    "experiment_*",
    "experiments/experiment_*",
    "*/experiments/experiment_*",
    "*/*/experiments/experiment_*",
)
_LONGEST_EXAMPLE = 120  # bytes
_RUN_DATE = re.compile(r"(\d{8}_\d{6})")


@dataclass(frozen=True, slots=True)
class ImageItem:
    """One image to explain: its file, a name that is unique in its folder tree, its true class."""

    path: Path
    name: str
    true_class: str | None


@dataclass(frozen=True, slots=True)
class FoundImages:
    """The images of a folder, by path; what was left out; folders: as `Walk` has them."""

    items: tuple[ImageItem, ...]
    skipped: Skipped = NOTHING
    folders: tuple[tuple[Path, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One `cls_*` folder, by its name as UTF-8 can say it, and the checkpoint in it."""

    name: str
    checkpoint: Path


@dataclass(frozen=True, slots=True)
class FoundModels:
    """The classifiers of an experiment, by name, and which `cls_*` are none, and why."""

    models: tuple[ModelFolder, ...]
    skipped: Skipped = NOTHING


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment folder."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's own name, as UTF-8 can say it."""
        return speakable(self.folder.absolute().name)

    @property
    def holds_models(self) -> bool:
        """Whether any classifier is in it."""
        return bool(self.look_for_models().models)

    @property
    def splits(self) -> list[str]:
        """The splits that have a folder for crops: "test", "train", "val" and the like."""
        _look_at(self)
        for crops in CROP_FOLDERS:
            root = self.folder / crops
            names = [p.name for p in sorted(root.glob("*")) if _is_dir(p) and p.name in SPLITS]
            if names:
                return names
        return []

    def models(self, wanted: Sequence[str] = ()) -> list[ModelFolder]:
        """Classifiers by name; `wanted` keeps those that contain one of these, whatever the case.

        Raises NoModelsFound, which lists what there is instead.
        """
        folders = self.look_for_models().models
        if not folders:
            raise NoModelsFound(self._no_models())
        kept = [m for m in folders if not wanted or _contains_any(m.name, wanted)]
        if not kept:
            names = ", ".join(model.name for model in folders)
            raise NoModelsFound(
                f"no classification models found in {self.name} that match "
                f"{' or '.join(wanted)}; there are {names}"
            )
        return kept

    def look_for_models(self, *, within: Path | None = None) -> FoundModels:
        """All classifiers by name; links are followed.

        within: checkpoints that lie elsewhere, or to which links lead by way of there, are none.
        """
        models, tally = [], _look_at(self, "/cls_")
        for folder in sorted(self.folder.glob("cls_*")):
            try:
                checkpoint = _checkpoint_in(folder)
                if checkpoint is None and not folder.is_dir():
                    tally.add("link-broken", folder.name, count=int(folder.is_symlink()))
                elif checkpoint is None:
                    tally.add("no-checkpoint", folder.name)
                elif within is not None and not stays_within(checkpoint, within):
                    tally.add("leads-out")
                else:
                    models.append(ModelFolder(speakable(folder.name), checkpoint))
            except (OSError, RuntimeError) as error:  # no rights; a loop of links
                why = getattr(error, "strerror", None) or "a loop of links"
                tally.add("not-readable", f"{folder.name} ({why})")
        return FoundModels(tuple(models), tally.skipped())

    def split_folders(self, split: str) -> list[Path]:
        """The folders that may hold a split's crops, of those layouts that are there."""
        _look_at(self)
        roots = [self.folder / crops / split for crops in CROP_FOLDERS]
        return [root for root in roots if _is_dir(root)]

    def images(self, split: str = "test") -> list[ImageItem]:
        """As `look_for_images`, without what was left out. Raises NoImagesFound."""
        listed = self.look_for_images(split)
        if not listed.items:
            raise self.no_images(split, listed.skipped)
        return list(listed.items)

    def look_for_images(
        self, split: str = "test", *, within: Path | None = None, outputs: Iterable[Path] = ()
    ) -> FoundImages:
        """The split's crops by path, with their true class where a class folder names it.

        Of the first layout that has any. within, outputs: as in `walk`.
        """
        listed = FoundImages((), _look_at(self, f"/{split}/").skipped())
        for root in self.split_folders(split):
            here = _images_below(root, within, outputs)
            folders = (*listed.folders, *here.folders)
            listed = FoundImages(here.items, listed.skipped + here.skipped, folders)
            if listed.items:
                break
        return listed

    def no_images(self, split: str, skipped: Skipped) -> NoImagesFound:
        """The error for a split without images; it names the folders that were looked into."""
        looked = " or ".join(access.shown(self.folder / crops / split) for crops in CROP_FOLDERS)
        left_out = f"; skipped: {skipped.words}" if skipped else ""
        return NoImagesFound(
            f"no test images found in {self.name}: expected images in {looked}{left_out}; "
            "to explain images from elsewhere: gradcam images --model CHECKPOINT --images FOLDER"
        )

    def _no_models(self) -> str:
        try:
            there = sorted(p.name + "/" * _is_dir(p) for p in self.folder.iterdir())
        except OSError as error:
            return f"{self.name} cannot be read ({error.strerror})"
        return (
            f"no classification models found in {self.name}: expected cls_*/best.pt; "
            f"found {', '.join(there[:12]) or 'an empty folder'}"
        )


def find_experiments(folder: Path) -> list[Experiment]:
    """The experiment at the folder; or all of a run; or, of a results folder, of the newest run.

    The newest run is the one with the latest date in its name. Raises ExperimentNotFound or
    DataUnavailable.
    """
    _look_for_runs(folder)
    if not folder.is_dir():
        raise ExperimentNotFound(
            f"there is no folder {access.shown(folder)}; "
            "--exp-folder takes an experiment, a run or a results folder"
        )
    if (experiments := _experiments_of_run(folder)) or (
        experiments := _experiments_of_run(_newest_run(folder))
    ):
        return experiments
    return [Experiment(folder)]


def all_experiments(root: Path) -> list[Experiment]:
    """Every experiment below a data root, the oldest run first.

    The root may be an experiment itself, a run, a results folder, or hold results folders. Raises
    DataUnavailable.
    """
    _look_for_runs(root)
    if Experiment(root).holds_models:
        return [Experiment(root)]
    folders = {
        folder for pattern in _BELOW_A_ROOT for folder in root.glob(pattern) if _is_dir(folder)
    }
    access.each(access.look_at_experiment, folders)
    return [Experiment(folder) for folder in sorted(folders, key=_age)]


def find_images(path: Path) -> list[ImageItem]:
    """As `look_for_images`, without what was left out. Raises ImageNotFound."""
    return list(look_for_images(path).items)


def look_for_images(
    path: Path, *, within: Path | None = None, outputs: Iterable[Path] = ()
) -> FoundImages:
    """The image file at the path, or all under the folder (recursively), each with a unique name.

    The true class is the folder directly around an image, unless that is the folder given. within,
    outputs: as in `walk`. Raises ImageNotFound where there is nothing at the path, or
    DataUnavailable.
    """
    odd = access.look_below(path)
    found = _images_below(path, within, outputs)
    return replace(found, skipped=_named_oddly(odd).skipped() + found.skipped)


def _images_below(path: Path, within: Path | None, outputs: Iterable[Path]) -> FoundImages:
    if path.is_file():
        name = short_name(speakable(path.stem), LONGEST_NAME)
        return FoundImages((ImageItem(path, name, None),))
    if not path.is_dir():
        raise ImageNotFound(f"there is no image or folder {access.shown(path)}")
    walked = walk(path, within=within, outputs=outputs)
    names = unique_names([file.relative_to(path) for file in walked.files])
    items = (
        ImageItem(file, name, None if file.parent == path else file.parent.name)
        for file, name in zip(walked.files, names, strict=True)
    )
    return FoundImages(tuple(items), walked.skipped, walked.folders)


def _look_at(experiment: Experiment, where: str = "") -> Tally:
    """See what is in it, where that is in a bucket.

    Answers what cannot be had of it; where: a part of the keys that are meant.
    """
    try:
        odd = access.look_at_experiment(experiment.folder)
        return _named_oddly(key for key in odd if where in key)
    except (DataUnavailable, OSError) as error:
        tally = Tally()
        tally.add("not-readable", f"{experiment.name} ({error})")
        return tally


def _look_for_runs(root: Path) -> None:
    """See experiments below a root, where that is in a bucket. Raises DataUnavailable."""
    if not access.is_mirrored(root):
        return
    access.look_into(root)
    for pattern in ("*", "*/*"):  # what is between a root and its "experiments"
        folders = (path for path in root.glob(pattern) if _may_hold_runs(path))
        access.each(access.look_into, folders)
    access.each(access.look_into, root.glob("*/*/experiments"))


def _may_hold_runs(folder: Path) -> bool:
    is_part = folder.name.startswith(("cls_", "experiment_")) or folder.name in CROP_FOLDERS
    return not is_part and _is_dir(folder)


def _named_oddly(keys: Iterable[str]) -> Tally:
    tally = Tally()
    for key in keys:
        tally.add("no-path", short_name(key, _LONGEST_EXAMPLE))
    return tally


def _checkpoint_in(folder: Path) -> Path | None:
    candidates = (folder / name for name in CHECKPOINT_NAMES)
    return next((file for file in candidates if file.is_file()), None)


def _is_dir(path: Path) -> bool:
    """Whether it is a folder, or a link to one, as far as one may look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _contains_any(name: str, wanted: Iterable[str]) -> bool:
    return any(part.casefold() in name.casefold() for part in wanted)


def _experiments_of_run(run: Path | None) -> list[Experiment]:
    if run is None:
        return []
    root = run if run.name == "experiments" else run / "experiments"
    return [Experiment(p) for p in sorted(root.glob("experiment_*")) if _is_dir(p)]


def _newest_run(results: Path) -> Path | None:
    runs = [p for p in results.iterdir() if _RUN_DATE.search(p.name) and _experiments_of_run(p)]
    return max(runs, key=lambda p: (_RUN_DATE.findall(p.name)[-1], p.name), default=None)


def _age(folder: Path) -> tuple[str, str]:
    """Sorts by the run's date in the path, then by the path."""
    dates = _RUN_DATE.findall(folder.as_posix())
    return (dates[-1] if dates else ""), folder.as_posix()

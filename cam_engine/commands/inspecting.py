"""`gradcam inspect`: what is read of checkpoints, and where each fact is from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cam_engine.class_names import no_classes
from cam_engine.commands import exit_status
from cam_engine.commands.assumed_statistics import (
    Compared,
    are_assumed,
    compare_statistics,
    labelled_crops,
    warning,
)
from cam_engine.commands.console import wide_console
from cam_engine.commands.data_paths import see
from cam_engine.confined import ConfinedFolder
from cam_engine.errors import (
    CamError,
    CheckpointInvalid,
    CheckpointNotFound,
    InvalidOption,
    error_of_item,
)
from cam_engine.experiments.finding import (
    CHECKPOINT_NAMES,
    Experiment,
    ImageItem,
    find_experiments,
)
from cam_engine.maps.grids import LayerGrid, grids_of
from cam_engine.models.choosing import FOLDER_PREFIX
from cam_engine.models.files.companions import sidecar_of
from cam_engine.models.files.foreign import foreign_folder
from cam_engine.models.fitting.heads import head_words
from cam_engine.models.loading import Classifier, load_classifier
from cam_engine.outputs.files import write_into
from cam_engine.short_names import speakable
from cam_engine.stores import access


@dataclass(frozen=True, slots=True)
class Inspected:
    """A classifier as it was read, or the error that says why it could not be.

    compared: how statistics that were assumed fit, if labelled crops could tell.
    """

    path: Path
    classifier: Classifier | None
    grids: tuple[LayerGrid, ...] = ()
    folders_of_no_class: tuple[str, ...] = ()
    compared: Compared | None = None
    not_compared: str = ""
    error: CamError | None = None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        if self.classifier is None:
            error = self.error
            problem = None if error is None else {"code": error.code, "detail": str(error)}
            return {"path": str(self.path), "error": problem}
        read, seen = self.classifier, self.classifier.preprocessing
        return {
            "path": str(self.path),
            "sha256": read.sha256,
            "architecture": read.architecture,
            "naming": read.naming,
            "class_names": list(read.class_names),
            "head": {"module": read.head, "layers": head_words(read.network, read.head)},
            "input_size": list(seen.input_size),
            "mean": list(seen.mean),
            "std": list(seen.std),
            "layers": [
                {"name": grid.name, "module": grid.label, "grid": list(grid.grid)}
                for grid in self.grids
            ],
            "val_accuracy": read.val_accuracy,
            "epoch": read.epoch,
            "sources": dict(read.sources),
            "statistics": self._statistics(),
            "notices": [*read.notices, *self._no_classes(), *self._other_statistics()],
            "remarks": [*read.remarks, *([self.not_compared] if self.not_compared else [])],
        }

    def _statistics(self) -> dict[str, Any] | None:
        if self.compared is None:
            return None
        better = self.compared.better
        return {
            "crops": self.compared.crops,
            "right": dict(self.compared.right),
            "better": better and {"mean": list(better.mean), "std": list(better.std)},
        }

    def _no_classes(self) -> list[str]:
        names = ", ".join(speakable(one) for one in self.folders_of_no_class)
        return [f"folders that are no class of it: {names}"] if names else []

    def _other_statistics(self) -> list[str]:
        if self.compared is None:
            return []
        sidecar = sidecar_of(self.path)
        said = warning(self.compared, sidecar.name, is_there=sidecar.exists())
        return [said] if said else []


def run_inspect(arguments: argparse.Namespace) -> int:
    """Read one checkpoint, or all of an experiment. Answers the exit status."""
    asked = {
        "head": arguments.head,
        "network": arguments.network,
        "averaged": arguments.averaged,
        "trusted": arguments.trust_file,
    }
    read = [inspected(path, around, **asked) for path, around in _wanted(arguments.path)]
    if arguments.json:
        print(json.dumps([one.as_json() for one in read], indent=2, ensure_ascii=False))
    else:
        _show(read)
    if arguments.write_sidecar:
        for one in read:
            _write_sidecar(one, wide_console(stderr=arguments.json))
    unread = sum(one.error is not None for one in read)
    if unread == len(read):
        return exit_status.NOTHING_DONE
    return exit_status.SOME_FAILED if unread else exit_status.DONE


@dataclass(frozen=True, slots=True)
class Around:
    """What lies around a checkpoint in its experiment.

    folders: of the images that it is to explain, by which classes are compared. labelled: crops
    whose classes are known.
    """

    folders: tuple[str | None, ...] = ()
    labelled: tuple[ImageItem, ...] = ()

    @staticmethod
    def of(experiment: Experiment) -> Around:
        """Of all checkpoints of the experiment."""
        folders = (item.true_class for item in experiment.look_for_images().items)
        return Around(tuple(folders), tuple(labelled_crops(experiment)))


def inspected(path: Path, around: Around, **asked: Any) -> Inspected:
    """What is read of a checkpoint; one that cannot be is an answer too.

    asked: what else `load_classifier` is told.
    """
    try:
        read = load_classifier(path, **asked)
        grids = grids_of(read.network, read.layout, read.preprocessing.input_size)
    except Exception as raised:
        return Inspected(path, None, error=error_of_item(raised, path.name))
    compared, why = _compared(read, around.labelled)
    names = tuple(no_classes(around.folders, read.class_names))
    return Inspected(path, read, grids, names, compared, why)


def _compared(read: Classifier, crops: Sequence[ImageItem]) -> tuple[Compared | None, str]:
    """(how its assumed statistics fit, why that could not be told if something went wrong)."""
    if not crops or not are_assumed(read):
        return None, ""
    try:
        return compare_statistics(read, crops), ""
    except Exception as raised:
        error = error_of_item(raised, "the labelled crops")
        return None, f"mean and std, which are assumed, could not be tried on crops: {error}"


def _wanted(path: Path) -> list[tuple[Path, Around]]:
    """(checkpoint, what is around it): one file, a folder with one, an experiment."""
    see(path)
    if path.is_file():
        return [(path, _around(path))]
    if not path.is_dir():
        raise CheckpointNotFound(
            f"{access.shown(path)} is not there: name a checkpoint or an experiment folder"
        )
    own = next((path / name for name in CHECKPOINT_NAMES if (path / name).is_file()), None)
    if own is not None:
        return [(own, _around(own))]
    if (what := foreign_folder(path)) is not None:
        raise CheckpointInvalid(f"{path} is {what}")
    wanted = []
    for experiment in find_experiments(path):
        around = Around.of(experiment)
        wanted += [(model.checkpoint, around) for model in experiment.look_for_models().models]
    if not wanted:
        raise CheckpointNotFound(f"{path} holds no checkpoint, and no cls_*/best.pt below it")
    return wanted


def _around(checkpoint: Path) -> Around:
    """Of a checkpoint named by itself, which may be in an experiment all the same."""
    folder = checkpoint.absolute().parent
    in_experiment = folder.name.startswith(FOLDER_PREFIX)
    return Around.of(Experiment(folder.parent)) if in_experiment else Around()


def _show(read: Sequence[Inspected]) -> None:
    console, errors = wide_console(), wide_console(stderr=True)
    is_first = True
    for one in read:
        if one.classifier is None:
            said = (
                f"{access.shown(one.path)}: error [{getattr(one.error, 'code', '')}]: {one.error}"
            )
            errors.print(speakable(said), markup=False)
            continue
        if not is_first:
            console.print()
        is_first = False
        console.print(speakable(access.shown(one.path)), style="bold", markup=False)
        table = Table(box=None, show_header=False, pad_edge=False)
        for name in ("what", "value", "from"):
            table.add_column(name)
        for row in _rows(one, one.classifier):
            table.add_row(*(f"  {speakable(cell)}" for cell in row))
        console.print(table)


def _rows(one: Inspected, read: Classifier) -> list[tuple[str, str, str]]:
    seen, sources = read.preprocessing, read.sources
    mean, std = (", ".join(f"{v:.4g}" for v in values) for values in (seen.mean, seen.std))
    grids = "; ".join(f"{g.name} {g.label} {g.grid[0]}x{g.grid[1]}" for g in one.grids)
    naming = "" if read.naming == "file" else f" ({read.naming} naming)"
    accuracy = "not said" if read.val_accuracy is None else f"{read.val_accuracy:.1%}"
    epoch = "" if read.epoch is None else f", epoch {read.epoch}"
    rows = [
        ("architecture", f"{read.architecture}{naming}", sources.get("architecture", "")),
        (
            "classes",
            f"{len(read.class_names)}: {', '.join(read.class_names)}",
            sources.get("class_names", ""),
        ),
        ("head", f"{read.head}: {head_words(read.network, read.head)}", ""),
        (
            "input",
            f"{seen.input_size[0]} x {seen.input_size[1]} px",
            sources.get("input_size", ""),
        ),
        ("mean", mean, sources.get("mean", "")),
        ("std", std, sources.get("std", "")),
        ("layers", grids, ""),
        ("validation", f"{accuracy}{epoch}", ""),
    ]
    if one.compared is not None:
        rows.append(("mean and std", f"tried on {one.compared.words}", ""))
    answer = one.as_json()
    rows += [("notice", said, "") for said in answer["notices"]]
    rows += [("remark", said, "") for said in answer["remarks"]]
    return rows


def _write_sidecar(one: Inspected, console: Console) -> None:
    """All that is known beside the file, to be corrected by hand, and say so.

    Raises InvalidOption where one is there, or OutputNotWritable.
    """
    if one.classifier is None:
        return
    path = sidecar_of(one.path)
    if access.is_mirrored(path):
        raise InvalidOption(f"nothing is written into a bucket: put {path.name} there by hand")
    if path.exists():
        raise InvalidOption(f"{path} is there already: correct it, or remove it first")
    read, seen = one.classifier, one.classifier.preprocessing
    values: dict[str, Any] = {
        "model_name": read.architecture,
        "class_names": list(read.class_names),
        "input_size": list(seen.input_size),
    }
    confirmed = one.compared is not None and one.compared.better is None
    known = confirmed or not are_assumed(read)
    if known:  # else the next look would believe them
        values |= {"mean": list(seen.mean), "std": list(seen.std)}
    words = head_words(read.network, read.head)
    if words.count("linear") > 1:
        values["head"] = words
    content = (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
    write_into(ConfinedFolder.of(path.parent), path.name, content)
    without = "" if known else ", without mean and std, which are assumed"
    console.print(speakable(f"written: {path}{without}"), markup=False)

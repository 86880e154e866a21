"""The crops of an experiment as a report needs them: class, split, box, field image and slide.

From folders, and from `ground_truth_crop_metadata.csv` where one is there.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from cam_engine.class_names import folded
from cam_engine.errors import InvalidOption
from cam_engine.experiments.finding import Experiment
from cam_engine.images.preparing import read_image
from cam_engine.stores import access

METADATA = "ground_truth_crop_metadata.csv"
Box = tuple[int, int, int, int]

_SEPARATOR = re.compile(r"[-_ ]")


@dataclass(frozen=True, slots=True)
class Crop:
    """One labelled crop.

    name: unique in its split and class. path: None of a crop that only a table names. field: the
    image that it was cut from, as far as is known. slide: whose fields share a prefix of their
    names, None where names tell nothing. box: [x0, y0, x1, y1) in the crop's pixels. field_box:
    the same in the field's.
    """

    name: str
    split: str
    label: str
    path: Path | None = None
    field: str | None = None
    slide: str | None = None
    box: Box | None = None
    field_box: Box | None = None

    @property
    def file(self) -> Path:
        """Raises ValueError where only a table names it."""
        if self.path is None:
            raise ValueError(f"{self.name} is no file")
        return self.path

    @property
    def cluster(self) -> str:
        """The largest unit that is known: slide, else field, else the crop itself."""
        return self.slide or self.field or f"{self.split}/{self.label}/{self.name}"


def read_crops(experiment: Experiment, boxes: Path | None = None) -> list[Crop]:
    """All labelled crops of all splits, by split and path.

    boxes: a JSON file {"<class>/<file>": [x0, y0, x1, y1]} in pixels of the crops, or a table like
    the metadata; without it, the metadata's boxes where they lie in the crops. Raises
    InvalidOption for a file of boxes that cannot be read.
    """
    crops = [
        Crop(item.path.name, split, item.true_class, item.path)
        for split in experiment.splits
        for item in experiment.look_for_images(split).items
        if item.true_class is not None
    ]
    table = next(experiment.folder.glob(f"crops_gt_crops/{METADATA}"), None)
    if table is not None:
        crops = _with_rows(crops, read_table(table))
    if boxes is not None:
        given = _boxes_of(boxes)
        crops = [replace(crop, box=_box_for(crop, given) or crop.box) for crop in crops]
    return with_slides(crops)


def crops_beside(boxes: Path) -> list[Crop]:
    """The images that a JSON file of boxes names by their paths below its own folder, if any.

    Class and field are by name: "<folder>/<class>/<field>_<n>.jpg".
    """
    if boxes.suffix.lower() == ".csv":
        return []
    found = []
    for name, box in _read_boxes(boxes).items():
        path = boxes.parent / name
        if path.is_file() and (field := path.stem.rpartition("_")[0]):
            found.append(Crop(path.name, "given", path.parent.name, path, field, box=box))
    return with_slides(found)


def read_table(path: Path) -> list[Crop]:
    """The crops that a metadata table names, boxes as field boxes. Raises InvalidOption."""
    try:
        access.bring(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [_of_row(row) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError) as error:
        raise InvalidOption(f"{path} is no table of crops: {error!r}") from error


def with_slides(crops: Sequence[Crop]) -> list[Crop]:
    """Slides by the prefix of field names, up to the first "-", "_" or space.

    Where all fields have the same prefix, or each its own, names tell nothing.
    """
    fields = {crop.field for crop in crops if crop.field is not None}
    prefixes = Counter(prefix for field in fields if (prefix := _prefix(field)) is not None)
    if len(prefixes) < 2 or max(prefixes.values()) < 2:
        return list(crops)
    return [replace(crop, slide=crop.field and _prefix(crop.field)) for crop in crops]


def _prefix(field: str) -> str | None:
    first, *rest = _SEPARATOR.split(field)
    return first if rest and first else None


def _of_row(row: Mapping[str, str]) -> Crop:
    box = tuple(round(float(row[f"bbox_{side}"])) for side in ("x1", "y1", "x2", "y2"))
    field = PureWindowsPath(row["original_image"]).stem
    return Crop(
        row["crop_filename"],
        row["split"],
        row["class_name"],
        field=field,
        field_box=(box[0], box[1], box[2], box[3]),
    )


def _with_rows(crops: Iterable[Crop], rows: Sequence[Crop]) -> list[Crop]:
    # Names recur in folders of other classes, and folders may be named unlike the table's classes.
    by_class = {(row.split, folded(row.label), row.name): row for row in rows}
    recurring = Counter((row.split, row.name) for row in rows)
    by_name = {place: row for row in rows if recurring[place := (row.split, row.name)] == 1}
    matched = [
        (
            crop,
            by_class.get((crop.split, folded(crop.label), crop.name))
            or by_name.get((crop.split, crop.name)),
        )
        for crop in crops
    ]
    in_crops = _lie_in_crops(matched)
    return [
        crop
        if row is None
        else replace(
            crop,
            field=row.field,
            box=row.field_box if in_crops else None,
            field_box=None if in_crops else row.field_box,
        )
        for crop, row in matched
    ]


def _lie_in_crops(matched: Sequence[tuple[Crop, Crop | None]]) -> bool:
    """Whether the table's boxes are in pixels of the crops: inside them, and smaller."""
    pairs = [(crop, row.field_box) for crop, row in matched if row is not None][:24]
    for crop, box in pairs:
        if crop.path is None or box is None:
            return False
        height, width = read_image(crop.path).shape[:2]
        if box[2] > width or box[3] > height:
            return False
    return bool(pairs)


def _boxes_of(path: Path) -> dict[str, Box]:
    if path.suffix.lower() == ".csv":
        rows = [(row, row.field_box) for row in read_table(path)]
        recurring = Counter(row.name for row, _ in rows)
        return {
            name: box
            for row, box in rows
            for name in (f"{row.label}/{row.name}", row.name)
            if box is not None and (name != row.name or recurring[name] == 1)
        }
    return {"/".join(name.split("/")[-2:]): box for name, box in _read_boxes(path).items()}


def _read_boxes(path: Path) -> dict[str, Box]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        return {name: (int(a), int(b), int(c), int(d)) for name, (a, b, c, d) in given.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InvalidOption(
            f"{path} is no file of boxes, which is JSON like "
            f'{{"ring/cell_001.jpg": [x0, y0, x1, y1]}}: {error}'
        ) from error


def _box_for(crop: Crop, given: Mapping[str, Box]) -> Box | None:
    """By class and name, or by name."""
    return given.get(f"{crop.label}/{crop.name}", given.get(crop.name))

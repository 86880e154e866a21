"""Whether an experiment's data can show what its models are worth: are splits apart, labels one,
and cases enough and independent.

Whatever the data do not tell is "cannot_tell", never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cam_engine.errors import CamError
from cam_engine.evidence.images.twins import LEAST_CORRELATION
from cam_engine.reports.auditing.classes import (
    class_counts,
    names_of_classes,
    single_class_images,
)
from cam_engine.reports.auditing.splits import (
    independent_units,
    label_conflicts,
    leakage,
    shared,
    units_of,
)
from cam_engine.reports.auditing.tables import counts_table, pairs_table, shared_table
from cam_engine.reports.auditing.twin_crops import TwinCrops, look_for_twins
from cam_engine.reports.auditing.twin_pictures import MOST_PAIRS, draw_twins
from cam_engine.reports.criteria import Picture, Section
from cam_engine.reports.crops import Crop

_DONE = (
    "Each crop was compared with all others: by digests of its file and of its pixels, by a "
    "perceptual hash, and, where that or its local contrast made it a candidate, by the "
    "correlation of details after the two were laid over each other. From a correlation of "
    f"{LEAST_CORRELATION} on, two crops are taken for one cell (twins), photographed or cut out "
    "twice."
)
_NOT_SHOWN = (
    "What this does not show: cells at a photograph's edge, where crops are mirrored or "
    "stretched, may be missed, and copies that were turned or mirrored are not looked for. Fields "
    "and slides are those that file names and tables tell. That two photographs are of one "
    "patient cannot be seen in them."
)


@dataclass(frozen=True, slots=True)
class Audit:
    """The section, and what other measures need of it.

    clusters: (crops,), what to resample together, slides or fields merged over twins. leaked:
    indices of the split's crops whose cell is in another split as well.
    """

    section: Section
    clusters: tuple[str, ...]
    leaked: frozenset[int]


def audit_of_data(
    crops: Sequence[Crop],
    split: str = "test",
    class_names: Mapping[str, Sequence[str]] | None = None,
) -> Audit:
    """Audit the crops of all splits, for a report on one of them; pictures are read.

    class_names: by model, the classes that it tells apart, None where they are not known. Raises
    ValueError where the split has no crops.
    """
    if all(crop.split != split for crop in crops):
        raise ValueError(f"no crops in the split {split}")
    found = look_for_twins(crops)
    fields, slides = units_of(crops, split, "field"), units_of(crops, split, "slide")
    names = class_names or {}
    criteria = (
        leakage(found, split),
        label_conflicts(found),
        shared(fields),
        shared(slides),
        independent_units(found, split),
        class_counts(crops, split, names),
        single_class_images(crops),
        names_of_classes(crops, split, names),
    )
    tables = (
        counts_table(crops),
        *pairs_table(found, split),
        *shared_table(slides, crops),
        *shared_table(fields, crops),
    )
    section = Section(
        "audit", "Data", (_DONE, _NOT_SHOWN), criteria, tables, _pictures(found, split)
    )
    return Audit(section, found.clusters, frozenset(found.leaked(split)))


def _pictures(found: TwinCrops, split: str) -> tuple[Picture, ...]:
    pairs = found.pairs(split)
    if not pairs:
        return ()
    shown = min(len(pairs), MOST_PAIRS)
    caption = (
        f"{shown} of {len(pairs)} pairs of crops that are taken for one cell, in the order of the "
        "table; splits and labels that differ are in red. Judge by eye: is each pair one cell?"
    )
    try:
        return (Picture("audit.twins", caption, draw_twins(found, pairs), "image/jpeg"),)
    except CamError:  # a file that could be read before is not there any more
        return ()

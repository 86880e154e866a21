"""Criteria of splits: are they apart, are labels of one cell one, are there enough units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cam_engine.evidence.resampling import FEWEST_CLUSTERS
from cam_engine.reports.auditing.twin_crops import TwinCrops
from cam_engine.reports.criteria import Criterion, Verdict
from cam_engine.reports.crops import Crop

UnitKind = Literal["field", "slide"]

_NAMES: Mapping[UnitKind, str] = {"field": "field image", "slide": "slide"}
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Units:
    """Field images or slides of one split, and which of them other splits have crops of as well.

    shared: names. count: how many the split has. affected: crops of the split in shared ones.
    crops: of the split. unknown: crops of all splits whose unit is not known. others: the other
    splits.
    """

    kind: UnitKind
    split: str
    shared: tuple[str, ...]
    count: int
    affected: int
    crops: int
    unknown: int
    others: tuple[str, ...]


def unit_of(crop: Crop, kind: UnitKind) -> str | None:
    """The crop's field image or slide."""
    return crop.field if kind == "field" else crop.slide


def units_of(crops: Sequence[Crop], split: str, kind: UnitKind) -> Units:
    """The field images or slides of a split beside those of all others."""
    units = [unit_of(crop, kind) for crop in crops]
    mine = [unit for crop, unit in zip(crops, units, strict=True) if crop.split == split]
    elsewhere = {unit for crop, unit in zip(crops, units, strict=True) if crop.split != split}
    known = {unit for unit in mine if unit is not None}
    shared_ones = known & elsewhere
    return Units(
        kind,
        split,
        tuple(sorted(shared_ones)),
        len(known),
        sum(unit in shared_ones for unit in mine),
        len(mine),
        units.count(None),
        _others(crops, split),
    )


def leakage(found: TwinCrops, split: str) -> Criterion:
    """Whether cells of the split are in other splits as well."""
    crops = found.crops
    leaked = found.leaked(split)
    count = sum(crop.split == split for crop in crops)
    others = _others(crops, split)
    unread = len(crops) - len(found.compared)
    why = _cannot_be_told_from(others, split)
    if leaked:
        by_split = Counter(name for splits in leaked.values() for name in splits)
        places = ", ".join(f"{n} in {name}" for name, n in sorted(by_split.items()))
        sentence = (
            f"{len(leaked)} of {count} {split} crops ({len(leaked) / count:.0%}) show a cell that "
            f"is in another split as well ({places}): models may know it by heart."
        )
        verdict: Verdict = "fail"
    elif unread:
        verdict = "cannot_tell"
        sentence = (
            f"{unread} of {len(crops)} crops have no picture that can be read, so it is not known "
            f"whether cells of {split} are in other splits as well."
        )
    elif why is not None:
        verdict = "cannot_tell"
        sentence = f"Whether models have seen cells of {split} cannot be told: {why}."
    else:
        verdict = "pass"
        sentence = (
            f"None of {count} {split} crops was found to show a cell of {' or '.join(others)}."
        )
    known = verdict != "cannot_tell"
    return Criterion(
        "audit.leakage",
        verdict,
        sentence,
        value=len(leaked) / count if known else None,
        n=count,
        threshold=0.0,
    )


def label_conflicts(found: TwinCrops) -> Criterion:
    """Whether one cell has two labels, in whatever splits."""
    conflicts, groups = found.conflicts, found.twins.groups
    unread = len(found.crops) - len(found.compared)
    verdict: Verdict
    if conflicts:
        verdict = "fail"
        named = "; ".join(_labels_of(found, group) for group in conflicts[:_NAMED])
        more = "" if len(conflicts) <= _NAMED else f"; and {len(conflicts) - _NAMED} more"
        sentence = (
            f"{len(conflicts)} of {len(groups)} cells that are there more than once have labels "
            f"that contradict each other: {named}{more}."
        )
    elif unread:
        verdict = "cannot_tell"
        sentence = (
            f"{unread} of {len(found.crops)} crops have no picture that can be read, so it is not "
            "known whether a cell has two labels."
        )
    elif not groups:
        verdict = "cannot_tell"
        sentence = "No cell is there twice, so labels cannot be held against each other."
    else:
        verdict = "pass"
        sentence = f"All {len(groups)} cells that are there more than once have one label each."
    known = verdict != "cannot_tell"
    return Criterion(
        "audit.label_conflicts",
        verdict,
        sentence,
        value=len(conflicts) / len(groups) if known else None,
        n=len(groups),
        threshold=0.0,
    )


def _labels_of(found: TwinCrops, group: Sequence[int]) -> str:
    return ", ".join(f"{found.crops[i].name} is {found.crops[i].label}" for i in group[:_NAMED])


def shared(units: Units) -> Criterion:
    """Whether the split and others have crops of one field image, or of one slide."""
    name, split = _NAMES[units.kind], units.split
    why = _cannot_be_told_from(units.others, split)
    share = units.affected / units.crops
    verdict: Verdict
    if units.shared:
        verdict = "fail"
        named = ", ".join(units.shared[:_NAMED]) + ", ..." * (len(units.shared) > _NAMED)
        sentence = (
            f"{units.affected} of {units.crops} {split} crops ({share:.0%}) come from a {name} "
            f"that other splits have crops of as well: {len(units.shared)} of {units.count} "
            f"{name}s of {split} ({named})."
        )
    elif units.unknown:
        verdict = "cannot_tell"
        sentence = (
            f"Neither file names nor tables tell which {name} {units.unknown} of the crops come "
            "from, so it is not known whether splits share one."
        )
    elif why is not None:
        verdict = "cannot_tell"
        sentence = f"Whether {split} shares a {name} with training cannot be told: {why}."
    else:
        verdict = "pass"
        sentence = f"None of the {units.count} {name}s of {split} is in another split as well."
    value = None if verdict == "cannot_tell" else share
    identifier = f"audit.shared_{units.kind}s"
    return Criterion(identifier, verdict, sentence, value=value, n=units.count, threshold=0.0)


def independent_units(found: TwinCrops, split: str) -> Criterion:
    """Of how many slides, else field images, the split is; those that share a cell count as one."""
    of_split = [
        (crop, cluster)
        for crop, cluster in zip(found.crops, found.clusters, strict=True)
        if crop.split == split
    ]
    units = len({cluster for _, cluster in of_split})
    kinds = {
        "slide" if crop.slide else "field image" if crop.field else "crop" for crop, _ in of_split
    }
    unit = " or ".join(sorted(kinds, reverse=True))
    verdict: Verdict
    if "crop" in kinds:
        verdict = "cannot_tell"
        sentence = (
            "Neither file names nor tables tell which field image each crop comes from: there are "
            f"at most {units} independent units in {split}, and intervals are too narrow if crops "
            "share stain, focus or patient."
        )
    elif units < FEWEST_CLUSTERS:
        verdict = "cannot_tell"
        sentence = (
            f"{split} has only {units} independent units ({unit}s), fewer than {FEWEST_CLUSTERS}: "
            "intervals in this report are unreliable, mostly too narrow."
        )
    else:
        verdict = "pass"
        sentence = f"{split} has {units} independent units ({unit}s), over which to resample."
        if "slide" not in kinds:
            sentence += (
                " Slides are not known; where several field images are of one slide, "
                "there are fewer."
            )
    return Criterion(
        "audit.independent_units", verdict, sentence, float(units), n=units,
        threshold=float(FEWEST_CLUSTERS),
    )  # fmt: skip


def _others(crops: Iterable[Crop], split: str) -> tuple[str, ...]:
    return tuple(sorted({crop.split for crop in crops} - {split}))


def _cannot_be_told_from(others: Sequence[str], split: str) -> str | None:
    """Why the split cannot be held against what models were trained with, if so."""
    if not others:
        return f"only the split {split} is there, so it cannot be compared with another"
    if "train" not in (*others, split):
        return f"the crops that models were trained with are not there, only {', '.join(others)}"
    return None

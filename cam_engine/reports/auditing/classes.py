"""Criteria of classes: are there enough cases, do images tell them, do models know them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cam_engine.class_names import class_index, folded, one_spelling
from cam_engine.reports.criteria import Criterion, Verdict
from cam_engine.reports.crops import Crop

FEWEST_CASES = 10  # of a class: with fewer, one crop more or less moves its recall by 10 points

_ONE_CLASS = 0.95
_FEWEST_FIELDS = 10
_SHUFFLES = 1000


def class_counts(
    crops: Sequence[Crop], split: str, class_names: Mapping[str, Sequence[str]]
) -> Criterion:
    """Whether each class, of folders or models, has enough cases in the split."""
    spelling = one_spelling(
        [*(crop.label for crop in crops), *(n for names in class_names.values() for n in names)]
    )
    counts = Counter(spelling[crop.label] for crop in crops if crop.split == split)
    cases = {name: counts[name] for name in sorted(set(spelling.values()))}
    few = {name: n for name, n in cases.items() if n < FEWEST_CASES}
    if few:
        named = ", ".join(f"{name} ({n})" for name, n in few.items())
        have = "has" if len(few) == 1 else "have"
        sentence = (
            f"{len(few)} of {len(cases)} classes {have} fewer than {FEWEST_CASES} crops in "
            f"{split}: {named}. Nothing can be said of a model's worth for them."
        )
    else:
        sentence = f"Each of the {len(cases)} classes has {FEWEST_CASES} or more crops in {split}."
    return Criterion(
        "audit.class_counts", "fail" if few else "pass", sentence, float(min(cases.values())),
        n=sum(counts.values()), threshold=float(FEWEST_CASES),
    )  # fmt: skip


def single_class_images(crops: Sequence[Crop]) -> Criterion:
    """Of field images with several crops, the share whose crops all have one class.

    Held against shuffled labels: where one class is frequent, many fields have it alone anyhow.
    """
    fields = [crop.field for crop in crops if crop.field is not None]
    several = {field for field, n in Counter(fields).items() if n > 1}
    inside = [crop for crop in crops if crop.field in several]
    identifier = "audit.single_class_images"
    if len(several) < _FEWEST_FIELDS:
        known = f"only {len(several)} field images are known to have" if fields else "none is known"
        sentence = (
            "Whether field images hold one class each, so that their stain or background tells "
            f"it, cannot be told: {known}{' several crops' if fields else ''}."
        )
        return Criterion(identifier, "cannot_tell", sentence, n=len(several), threshold=_ONE_CLASS)
    _, of_field = np.unique([str(crop.field) for crop in inside], return_inverse=True)
    _, classes = np.unique([folded(crop.label) for crop in inside], return_inverse=True)
    rng = np.random.default_rng(0)
    share = _one_class_share(of_field, classes)
    shuffled = [_one_class_share(of_field, rng.permutation(classes)) for _ in range(_SHUFFLES)]
    expected, high = float(np.mean(shuffled)), float(np.percentile(shuffled, 97.5))
    said = (
        f"Of {len(several)} field images with several crops, {share:.0%} have crops of one class "
        f"alone ({expected:.0%} if labels were shuffled)"
    )
    verdict: Verdict
    if share < _ONE_CLASS and share <= high:
        verdict, rest = "pass", "an image's stain or background does not tell the class."
    elif share < _ONE_CLASS:
        verdict = "cannot_tell"
        rest = "an image's stain or background tells the class in part, and models may use it."
    elif share <= high:
        verdict = "cannot_tell"
        rest = "nearly all crops are of one class, so that this says nothing."
    else:
        verdict = "fail"
        rest = "models may know the class by an image's stain or background, not by the cell."
    return Criterion(
        identifier, verdict, f"{said}: {rest}", share, n=len(several), threshold=_ONE_CLASS
    )


def _one_class_share(of_field: NDArray[np.intp], classes: NDArray[np.intp]) -> float:
    lowest = np.full(of_field.max() + 1, classes.max())
    highest = np.zeros(of_field.max() + 1, classes.dtype)
    np.minimum.at(lowest, of_field, classes)
    np.maximum.at(highest, of_field, classes)
    return float((lowest == highest).mean())


def names_of_classes(
    crops: Sequence[Crop], split: str, class_names: Mapping[str, Sequence[str]]
) -> Criterion:
    """Whether the folders' names mean classes of the models."""
    identifier = "audit.class_names"
    folders = sorted({crop.label for crop in crops if crop.split == split})
    if not class_names:
        sentence = "Which classes the models tell apart is not known."
        return Criterion(identifier, "cannot_tell", sentence, n=len(folders), threshold=0.0)
    strange = {
        model: [folder for folder in folders if class_index(folder, names) is None]
        for model, names in class_names.items()
    }
    strange = {model: names for model, names in strange.items() if names}
    unknown = {name for names in strange.values() for name in names}
    if strange:
        named = "; ".join(f"{', '.join(names)} (no class of {m})" for m, names in strange.items())
        sentence = (
            f"{len(unknown)} of {len(folders)} folders of {split} are named like no class of a "
            f"model: {named}. Their crops cannot be judged."
        )
    else:
        sentence = f"All {len(folders)} folders of {split} are named like a class of every model."
        sentence += _without_crops(folders, class_names)
    return Criterion(
        identifier, "fail" if strange else "pass", sentence, float(len(unknown)),
        n=len(folders), threshold=0.0,
    )  # fmt: skip


def _without_crops(folders: Sequence[str], class_names: Mapping[str, Sequence[str]]) -> str:
    there = {folded(folder) for folder in folders}
    missing = sorted(
        {name for names in class_names.values() for name in names if folded(name) not in there}
    )
    return f" Without crops: {', '.join(missing)}." if missing else ""

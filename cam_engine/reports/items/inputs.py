"""Does the network see its inputs as it was trained to? What is recorded, and what is better.

The crops are classified as they are explained, and again with one thing changed at a time. Where a
change makes more of them right than chance would, the model was probably trained with it.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cam_engine.evidence.classification import holm, mcnemar
from cam_engine.evidence.resampling import Interval
from cam_engine.images.preparing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from cam_engine.maps.explainer import Explainer
from cam_engine.models.architectures import find_architecture
from cam_engine.reports.criteria import Cell, Criterion, Section, Table, Verdict, make_table
from cam_engine.reports.study import Study
from cam_engine.reports.words import judged, listed, percent, percent_with
from cam_engine.stores import access

Named = NDArray[np.int64]

_ALPHA = 0.05
_FOLDS = 5
_OTHER_SIZES = (0.75, 4 / 3)
_STEP = 32  # networks halve their input five times
_HALF = (0.5, 0.5, 0.5)
_STATISTICS = {
    "no normalisation (0..1)": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "mean and std of 0.5": (_HALF, _HALF),
    "ImageNet's mean and std": (IMAGENET_MEAN, IMAGENET_STD),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """Crops with one thing changed: the classes that are named then, (n,); over: of which crops."""

    name: str
    named: Named
    over: Study


@dataclass(frozen=True, slots=True)
class Recorded:
    """An accuracy that somebody wrote down: where, of which split, 0..1."""

    where: str
    split: str
    accuracy: float


def audit_inputs(study: Study, others: Study | None = None, around: Path | None = None) -> Section:
    """Preprocessing, order of classes and recorded accuracies of one model.

    others: the same model over the crops of validation, if there are any: no weight was learned
    from them either, so that they tell how the network was shown its crops as well as those of the
    split. around: the experiment's folder, where results are recorded.
    """
    ways = list(_ways(study))
    variants = [Variant(name, named(study), study) for name, named in ways]
    recorded = list(recorded_accuracies(study, around))
    order, meant = _class_order(study, variants)
    if others is not None:
        variants = _with_others(study, others, variants, dict(ways), meant)
    also = "" if others is None else f", and of {_splits(others)} where a change is no worse"
    paragraphs = [
        (
            f"The crops of {_splits(study)}{also} are classified as they are explained, and with "
            "one thing changed at a time. Where a change makes more of them right than chance "
            "would (paired bootstrap interval above 0 and McNemar's exact test, adjusted after "
            "Holm, below 0.05), the model was probably trained with it."
        ),
    ]
    return Section(
        "inputs",
        "Inputs as in training",
        tuple(paragraphs),
        (
            _preprocessing(study, variants, meant),
            order,
            _as_recorded(study, others, recorded),
        ),
        (_table(study, variants), _records(study, others, recorded)),
    )


def _splits(study: Study) -> str:
    return " and ".join(dict.fromkeys(crop.split for crop in study.crops))


def _ways(study: Study) -> Iterator[tuple[str, Callable[[Study], Named]]]:
    """What is changed, and what the model names the crops of a study then."""
    classifier = study.explainer.classifier

    def asked(over: Study, explainer: Explainer, **changed: bool) -> Named:
        return np.asarray(over.probabilities_by(explainer, **changed).argmax(1), np.int64)

    yield (
        "without CLAHE" if study.clahe else "with CLAHE",
        lambda over: asked(over, study.explainer, clahe=not study.clahe),
    )
    yield "red and blue exchanged", lambda over: asked(over, study.explainer, swapped=True)
    for name, preprocessing in _other_preprocessing(classifier.preprocessing):
        other = Explainer(
            replace(classifier, preprocessing=preprocessing),
            device=study.explainer.device,
            batch_size=study.explainer.batch_size,
        )
        yield name, partial(asked, explainer=other)


def _with_others(
    study: Study,
    others: Study,
    variants: Sequence[Variant],
    ways: Mapping[str, Callable[[Study], Named]],
    meant: Named,
) -> list[Variant]:
    """The same, those over the other crops too that may be better than what is done.

    What makes fewer of the study's own crops right is not asked more: it would not be named.
    """
    both = study.joined(others)
    as_it_is = _right(meant, study.predicted, study).mean()
    made = []
    for variant in variants:
        if _right(meant, variant.named, study).mean() < as_it_is:
            made.append(variant)
            continue
        named = np.concatenate([variant.named, ways[variant.name](others)])
        made.append(Variant(variant.name, named, both))
    return made


def _right(meant: Named, named: Named, study: Study) -> NDArray[np.bool_]:
    """(n,) whether a crop is named right; meant: the class that each output really is."""
    return np.asarray(meant[named] == study.labels, np.bool_)


def _other_preprocessing(used: Preprocessing) -> Iterator[tuple[str, Preprocessing]]:
    for name, (mean, std) in _STATISTICS.items():
        if not (np.allclose(mean, used.mean) and np.allclose(std, used.std)):
            yield name, replace(used, mean=mean, std=std, divided_by_255=False)
    for factor in _OTHER_SIZES:
        height, width = (
            max(_STEP, round(side * factor / _STEP) * _STEP) for side in used.input_size
        )
        if (height, width) != used.input_size:
            yield f"{height} x {width} px", replace(used, input_size=(height, width))


def _preprocessing(study: Study, variants: list[Variant], meant: Named) -> Criterion:
    """meant: the class that each output really is, so that wrong names do not hide the rest."""
    own = [_right(meant, variant.over.predicted, variant.over) for variant in variants]
    rights = [_right(meant, variant.named, variant.over) for variant in variants]
    leads = [
        variant.over.bootstrap().mean(right.astype(np.float64) - before)
        for variant, right, before in zip(variants, rights, own, strict=True)
    ]
    p_values = holm([mcnemar(*pair) for pair in zip(rights, own, strict=True)])
    by_interval = [at for at, lead in enumerate(leads) if lead.low > 0]
    sure = [at for at in by_interval if p_values[at] < _ALPHA]
    best = max(sure or range(len(variants)), key=lambda at: leads[at].value)
    verdict: Verdict = "fail" if sure else "cannot_tell" if by_interval else "pass"
    over = variants[best].over
    as_it_is = "As it is explained"
    if (meant != np.arange(len(meant))).any():
        as_it_is = "With names put right"
    crops = "the crops" if over is study else f"the crops of {_splits(over)}"
    used = f"{as_it_is}, {percent(own[best].mean())} of {crops} are right; "
    found = f"{variants[best].name}: {percent(rights[best].mean())}."
    if sure:
        what = "trained with it" if "CLAHE" not in variants[best].name else _about_clahe(study)
        sentence = f"{used}{found} The model was probably {what}."
    elif by_interval:
        names = listed([variants[at].name for at in by_interval])
        sentence = f"{used}better by a little, perhaps by chance: {names}."
    else:
        sentence = f"{used}no change makes it better by more than chance (best, {found[:-1]})."
        if not over.bootstrap().mean(own[best].astype(np.float64)).low > 1 / len(study.class_names):
            verdict = "cannot_tell"
            sentence += " The model is right by chance however it sees the crops."
    return judged(
        "audit.preprocessing", verdict, sentence, leads[best], n=over.units(), threshold=0.0
    )


def _about_clahe(study: Study) -> str:
    if study.clahe:
        return "trained without CLAHE, and figures are made with it: use --no-clahe"
    return "trained with CLAHE, and figures are made without it: leave --no-clahe out"


def _class_order(study: Study, variants: list[Variant]) -> tuple[Criterion, Named]:
    """Would other names make more crops right? And the class that each output really is.

    Names are learned on four fifths of the units and held against the last, so that they do not
    fit by chance; on the crops as the network sees them best, so that wrong inputs are no wrong
    names.
    """
    id_ = "audit.class_order"
    same = np.arange(len(study.class_names))
    if len(np.unique(study.labels)) < 2:
        return Criterion(id_, "cannot_tell", "All crops are of one class: any name fits."), same
    ways = [study.predicted, *(variant.named for variant in variants)]
    renamed = [_renamed(study, named) for named in ways]
    # Of equal ones the first: the crops as they are explained.
    best = max(range(len(ways)), key=lambda at: float(renamed[at].mean()))
    right = np.asarray(ways[best] == study.labels, np.bool_)
    lead = study.bootstrap().mean(renamed[best].astype(np.float64) - right)
    if not (lead.low > 0 and mcnemar(renamed[best], right) < _ALPHA):
        sentence = "No other order of the class names makes more crops right than chance would."
        made = judged(id_, "pass", sentence, lead, n=study.units(), threshold=0.0)
        return made, same
    meant = _meant(study, ways[best], np.ones(len(right), bool))
    moved = [
        f"{study.class_names[k]} is {study.class_names[meant[k]]}"
        for k in range(len(meant))
        if meant[k] != k and (ways[best] == k).any()
    ]
    sentence = (
        f"With other names of classes {percent(renamed[best].mean())} of the crops would be right, "
        f"not {percent(right.mean())}: the order of class names is probably another "
        f"({listed(moved)})."
    )
    return judged(id_, "fail", sentence, lead, n=study.units(), threshold=0.0), meant


def _renamed(study: Study, named: Named) -> NDArray[np.bool_]:
    """(n,) which crops are right by the names that fit the crops of other units best."""
    _, unit = np.unique(study.clusters, return_inverse=True)
    order = np.random.default_rng(study.seed).permutation(unit.max() + 1)
    fold = order[unit] % _FOLDS
    right = np.zeros(len(named), bool)
    for at in np.unique(fold):
        meant = _meant(study, named, fold != at)
        right[fold == at] = (meant[named] == study.labels)[fold == at]
    return right


def _meant(study: Study, named: Named, among: NDArray[np.bool_]) -> Named:
    """(k,) one class for each output, so that most crops are right; its own where all is equal."""
    count = len(study.class_names)
    counts = np.eye(count) / 2
    np.add.at(counts, (named[among], study.labels[among]), 1)
    return np.asarray(linear_sum_assignment(counts, maximize=True)[1], np.int64)


def recorded_accuracies(study: Study, around: Path | None) -> Iterator[Recorded]:
    """What the checkpoint, its `results.csv` and the experiment's `table9_*.csv` say."""
    classifier = study.explainer.classifier
    if classifier.val_accuracy is not None:
        yield Recorded("checkpoint", "val", classifier.val_accuracy)
    if around is None:
        return
    yield from _trained(around / study.name / "results.csv")
    yield from _tabled(around, study)


def _trained(path: Path) -> Iterator[Recorded]:
    """The best accuracy of validation over all epochs, as trainers write it."""
    best = [
        float(value)
        for row in _rows(path)
        for name, value in row.items()
        if re.fullmatch(r"(metrics/)?(val_?)?acc(uracy)?(_top1)?", name.strip().lower())
        and _is_number(value)
    ]
    if best:
        yield Recorded(path.name, "val", _share(max(best)))


def _tabled(around: Path, study: Study) -> Iterator[Recorded]:
    """`table9_*.csv`: a row "Overall, accuracy" with a column for each architecture."""
    folder = study.name.lower()
    for path in sorted(around.rglob("*.csv")):
        name = path.name.lower()
        if not name.startswith("table9_") or _other_loss(name, folder):
            continue
        for row in _rows(path):
            if row.get("Class") != "Overall" or row.get("Metric") != "accuracy":
                continue
            for column, value in row.items():
                if _is_its(column, study) and _is_number(value):
                    yield Recorded(path.name, "test", _share(float(value)))


def _is_its(column: str, study: Study) -> bool:
    """Whether a column's name means the model's architecture."""
    meant = find_architecture(column)
    own = study.explainer.classifier.architecture
    return column.lower() == own.lower() or (meant is not None and meant == find_architecture(own))


def _other_loss(table: str, folder: str) -> bool:
    losses = {"focal": "focal", "cb": "balanced", "ce": "cross"}
    named = [loss for loss, word in losses.items() if word in table]
    return bool(named) and not any(folder.endswith(f"_{loss}") for loss in named)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        access.bring(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [{str(key): value or "" for key, value in row.items()} for row in rows]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _share(value: float) -> float:
    return value / 100 if value > 1 else value


def _as_recorded(study: Study, others: Study | None, recorded: list[Recorded]) -> Criterion:
    id_ = "audit.recorded"
    against = [(one, _studied(study, others, one.split)) for one in recorded]
    known = [(one, over) for one, over in against if over is not None]
    if not recorded:
        return Criterion(id_, "cannot_tell", "No accuracy is recorded with the model.")
    if not known:
        return Criterion(
            id_,
            "cannot_tell",
            f"The {recorded[0].where} records {percent(recorded[0].accuracy)} over "
            f"{recorded[0].split}, of which there are no crops here.",
        )
    off = [(one, over, _accuracy(over)) for one, over in known]
    one, over, found = max(off, key=lambda row: abs(row[0].accuracy - row[2].value))
    inside = found.low <= one.accuracy <= found.high
    sentence = (
        f"The {one.where} records {percent(one.accuracy)} over {one.split}; recomputed as figures "
        f"are made{' (with CLAHE)' if study.clahe else ''}, it is {percent_with(found)}."
    )
    return judged(
        id_, "pass" if inside else "fail", sentence, found, n=over.units(), threshold=one.accuracy
    )


def _studied(study: Study, others: Study | None, split: str) -> Study | None:
    for one in (study, others):
        if one is not None and len(one.crops) and one.crops[0].split == split:
            return one
    return None


def _accuracy(study: Study) -> Interval:
    return study.bootstrap().mean(study.right.astype(np.float64))


def _table(study: Study, variants: list[Variant]) -> Table:
    rights = [np.asarray(v.named == v.over.labels, np.bool_) for v in variants]
    p_values = holm([mcnemar(r, v.over.right) for r, v in zip(rights, variants, strict=True)])
    own = float(study.right.mean())
    rows: list[Sequence[Cell]] = [("as explained", len(study.crops), own, 0.0, None, None, None)]
    for variant, right, p in zip(variants, rights, p_values, strict=True):
        over = variant.over
        lead = over.bootstrap().mean(right.astype(np.float64) - over.right)
        accuracy = float(right.mean())
        rows.append((variant.name, len(over.crops), accuracy, lead.value, lead.low, lead.high, p))
    return make_table(
        "inputs.variants",
        "One thing changed at a time",
        "crops seen, crops:count, accuracy:share, difference:share, low:share, high:share, "
        "p (Holm):number",
        rows,
        "Differences are paired, each from the same crops as they are explained.",
    )


def _records(study: Study, others: Study | None, recorded: list[Recorded]) -> Table:
    rows: list[Sequence[Cell]] = []
    for one in recorded:
        over = _studied(study, others, one.split)
        found = Interval(math.nan, math.nan, math.nan) if over is None else _accuracy(over)
        again = (found.value, found.low, found.high)
        rows.append((one.where, one.split, one.accuracy, *again))
    return make_table(
        "inputs.recorded",
        "Recorded accuracies",
        "recorded in, split, recorded:share, recomputed:share, low:share, high:share",
        rows,
    )

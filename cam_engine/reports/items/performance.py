"""How often the model is right, class by class, and models against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.classification import Performance, holm, mcnemar, performance
from cam_engine.evidence.resampling import FEWEST_CLUSTERS, Interval
from cam_engine.reports import plots
from cam_engine.reports.criteria import Cell, Criterion, Section, Table, make_table
from cam_engine.reports.study import Study
from cam_engine.reports.words import (
    above,
    counted,
    judged,
    listed,
    percent,
    percent_with,
)

FEWEST_CASES = 10
_ALPHA = 0.05
_PER_CLASS = ("recall", "precision", "F1", "AUROC")


def measure_performance(study: Study) -> Section:
    """Confusion, recall, precision, F1, AUROC, balanced accuracy and MCC, with intervals."""
    bootstrap = study.bootstrap()
    found = performance(study.probabilities, study.labels, bootstrap)
    units, few = bootstrap.clusters, bootstrap.clusters < FEWEST_CLUSTERS
    reliability = f" That is below {FEWEST_CLUSTERS}: the intervals are unreliable." if few else ""
    return Section(
        "performance",
        "Performance",
        (
            (
                f"Over {counted(len(study.crops), 'crop')} of {counted(units, 'independent unit')} "
                "(slides where they are known, else field images, twins together). Intervals are "
                f"95% percentile bootstrap intervals over these units.{reliability}"
            ),
        ),
        (
            _better_than_majority(study, found),
            _each_class(study, found),
            *_without_leaked(study, found),
        ),
        (_figures(found), _per_class(study, found), _predictions(study)),
        (plots.confusion("performance.confusion", found.confusion, study.class_names),),
    )


def compare_models(right: Mapping[str, NDArray[np.bool_]]) -> Section:
    """Models over the same crops, pair by pair: McNemar's exact test, adjusted after Holm."""
    pairs = list(combinations(right, 2))
    raw = [mcnemar(right[one], right[other]) for one, other in pairs]
    adjusted = holm(raw)
    rows: list[tuple[Cell, ...]] = [
        (
            one,
            other,
            int((right[one] & ~right[other]).sum()),
            int((right[other] & ~right[one]).sum()),
            p,
            p_holm,
        )
        for (one, other), p, p_holm in zip(pairs, raw, adjusted, strict=True)
    ]
    apart = sum(p < _ALPHA for p in adjusted)
    said = (
        f"Of {counted(len(pairs), 'pair')} of models, {apart} differ in accuracy by more than "
        f"chance (McNemar's exact test, adjusted after Holm, p < {_ALPHA:g})."
        " Models whose difference is within chance should not be ranked by it."
        if pairs
        else "There is one model: nothing to compare."
    )
    table = make_table(
        "comparison.pairs",
        "Models against each other",
        "model, other model, only this right:count, only other right:count, p:number, "
        "p (Holm):number",
        rows,
    )
    return Section("comparison", "Models against each other", (said,), (), (table,))


def _better_than_majority(study: Study, found: Performance) -> Criterion:
    shares = found.cases / found.cases.sum()
    lead = study.bootstrap().mean(
        study.right.astype(np.float64) - (study.labels == int(shares.argmax()))
    )
    name = study.class_names[int(shares.argmax())]
    return judged(
        "performance.better_than_majority",
        above(lead, 0.0),
        f"{percent_with(found.accuracy)} of crops are named correctly; always saying {name} would "
        f"be right for {percent(float(shares.max()))}.",
        lead,
        n=study.units(),
        threshold=0.0,
    )


def _without_leaked(study: Study, found: Performance) -> Iterator[Criterion]:
    """Nothing where no crop's cell is known to be in another split."""
    leaked = np.array(study.leaked, bool)
    if not leaked.any() or leaked.all():
        return
    rest = np.flatnonzero(~leaked)
    bootstrap = study.bootstrap(rest)
    without = bootstrap.mean(study.right[rest].astype(np.float64))
    known = float(study.right[leaked].mean())
    # Fails where the crops that models may know by heart carry the figure out of its interval.
    carried = not without.low <= found.accuracy.value <= without.high
    yield judged(
        "performance.without_leaked",
        "fail" if carried else "pass",
        f"Without the {counted(int(leaked.sum()), 'crop')} whose cell is in another split too, "
        f"{percent_with(without)} are right ({percent(found.accuracy.value)} with them; of these "
        f"alone {percent(known)}).",
        without,
        n=bootstrap.clusters,
        threshold=found.accuracy.value,
    )


def _each_class(study: Study, found: Performance) -> Criterion:
    names = study.class_names
    few = [names[k] for k, cases in enumerate(found.cases) if cases < FEWEST_CASES]
    known = [k for k, cases in enumerate(found.cases) if cases >= FEWEST_CASES]
    chance = 1 / len(names)
    id_ = "performance.each_class"
    if not known:
        return Criterion(
            id_, "cannot_tell", f"No class has {FEWEST_CASES} cases: no recall can be told."
        )
    worst = min(known, key=lambda k: found.recall[k].value)
    recall = found.recall[worst]
    sentence = f"The class that is found least often is {names[worst]}: {percent_with(recall)}."
    verdict = above(recall, chance)
    if few:
        sentence += f" Too few cases to tell (under {FEWEST_CASES}): {listed(few)}."
        verdict = "fail" if verdict == "fail" else "cannot_tell"
    return judged(id_, verdict, sentence, recall, n=study.units(), threshold=chance)


def _figures(found: Performance) -> Table:
    rows = (
        ("accuracy", found.accuracy),
        ("balanced accuracy", found.balanced_accuracy),
        ("Matthews correlation", found.mcc),
    )
    return make_table(
        "performance.figures",
        "All classes together",
        "figure, value:number, low:number, high:number",
        [(name, one.value, one.low, one.high) for name, one in rows],
    )


def _per_class(study: Study, found: Performance) -> Table:
    def cells(one: Interval) -> tuple[Cell, ...]:
        return (one.value, one.low, one.high)

    rows = tuple(
        (
            name,
            int(found.cases[k]),
            *cells(found.recall[k]),
            *cells(found.precision[k]),
            *cells(found.f1[k]),
            *cells(found.auroc[k]),
        )
        for k, name in enumerate(study.class_names)
    )
    note = "AUROC: the class against the rest. Low and high: 95% bootstrap intervals."
    figures = (f"{name}:share, {name} low:share, {name} high:share" for name in _PER_CLASS)
    columns = f"class, cases:count, {', '.join(figures)}"
    return make_table("performance.classes", "Class by class", columns, rows, note)


def _predictions(study: Study) -> Table:
    names, top = study.class_names, study.probabilities.max(1)
    return make_table(
        "performance.predictions",
        "Every crop",
        "crop, true class, named, probability:share, right:count",
        [
            (crop.name, names[label], names[named], float(probability), int(label == named))
            for crop, label, named, probability in zip(
                study.crops, study.labels, study.predicted, top, strict=True
            )
        ],
    )

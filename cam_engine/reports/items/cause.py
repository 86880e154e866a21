"""Is the parasite the cause of the answer? It is filled with background, and so is as much else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cam_engine.evidence.classification import performance
from cam_engine.evidence.images.stain import elsewhere, filled, stained
from cam_engine.reports.criteria import Cell, Criterion, Picture, Section, Verdict, make_table
from cam_engine.reports.mosaics import Tile, mosaic
from cam_engine.reports.study import Study, margins_of
from cam_engine.reports.words import (
    above,
    counted,
    figure_with,
    if_informed,
    judged,
    percent,
    percent_with,
)
from cam_engine.results import RgbImage

_MOST_BOX = 0.6  # of a crop: of more there is no background elsewhere of the same area
_SHOWN = 6
Mask = NDArray[np.bool_]
Values = NDArray[np.float64]


def measure_cause(study: Study) -> Section:
    """Change of margin and flips with the parasite filled, with background filled, and kept alone.

    The parasite is the box where that leaves room around it, else what the stain's threshold finds.
    """
    chosen = study.chosen(study.effort.map_crops)
    found = [(at, image, _parasite(study, at, image)) for at, image in _images(study, chosen)]
    kept = [(at, image, mask) for at, image, mask in found if mask is not None]
    if not kept:
        said = "No parasite stands out by its stain, and no box leaves room around it."
        criterion = Criterion("cause.parasite", "cannot_tell", said)
        return Section("cause", "Cause", (), (criterion,))
    indices = np.array([at for at, _, _ in kept])
    pictures = {
        "as it is": [image for _, image, _ in kept],
        "parasite filled": [filled(image, mask) for _, image, mask in kept],
        "as much background filled": [filled(image, elsewhere(mask)) for _, image, mask in kept],
        "parasite alone": [filled(image, ~mask) for _, image, mask in kept],
    }
    answers = {
        name: np.array(study.explainer.probabilities([study.network_image(i) for i in images]))
        for name, images in pictures.items()
    }
    named = answers["as it is"].argmax(1)
    margins = {name: margins_of(values, named) for name, values in answers.items()}
    areas = np.array([mask.mean() for _, _, mask in kept])
    return Section(
        "cause",
        "Cause",
        (
            (
                f"In {counted(len(kept), 'crop')} of {len(found)} the parasite is known, by its "
                f"box or by its stain; it covers {percent(float(areas.mean()))} of a crop. It is "
                "filled with blurred background, and so is an equal area elsewhere in the same "
                "crop."
            ),
        ),
        (
            if_informed(_parasite_counts(study, indices, margins), informed=study.informed),
            _background(study, indices, answers["parasite filled"]),
        ),
        (
            make_table(
                "cause.changes",
                "Answers with parts filled",
                "crop, accuracy:share, same answer:share, change of margin:number, low:number, "
                "high:number",
                [_row(study, indices, name, answers, margins) for name in pictures],
                "Margin: log-odds of the class named for the crop as it is, against all others.",
            ),
        ),
        (_mosaic(list(pictures.values())),),
    )


def _images(study: Study, chosen: NDArray[np.intp]) -> list[tuple[int, RgbImage]]:
    return list(zip(chosen.tolist(), study.images(chosen), strict=True))


def _parasite(study: Study, at: int, image: RgbImage) -> Mask | None:
    box = study.crops[at].box
    if box is not None:
        made = np.zeros(image.shape[:2], bool)
        made[box[1] : box[3], box[0] : box[2]] = True
        if 0 < made.mean() <= _MOST_BOX:
            return made
    return stained(image)


def _parasite_counts(
    study: Study, indices: NDArray[np.intp], margins: dict[str, Values]
) -> Criterion:
    bootstrap = study.bootstrap(indices)
    lead = bootstrap.mean(margins["as much background filled"] - margins["parasite filled"])
    return judged(
        "cause.parasite",
        above(lead, 0.0),
        "Filling the parasite lowers the margin of the answer by "
        f"{(margins['as it is'] - margins['parasite filled']).mean():.1f}, filling as much "
        f"background by {(margins['as it is'] - margins['as much background filled']).mean():.1f}: "
        f"a difference of {figure_with(lead)}.",
        lead,
        n=bootstrap.clusters,
        threshold=0.0,
    )


def _background(study: Study, indices: NDArray[np.intp], probabilities: Values) -> Criterion:
    """Balanced over classes, so that always naming one of them is no more than chance."""
    id_ = "cause.background_alone"
    figures = performance(probabilities, study.labels[indices], study.bootstrap(indices))
    classes, found = int((figures.cases > 0).sum()), figures.balanced_accuracy
    if classes < 2:
        return Criterion(id_, "cannot_tell", "These crops are of one class.")
    chance = 1 / classes
    verdict: Verdict = "fail" if found.low > chance else "pass"
    return judged(
        id_,
        verdict,
        f"With the parasite filled, {percent_with(found)} of the crops are still named correctly, "
        f"averaged over classes; always naming one class would be right for {percent(chance)}."
        + (" The background tells the class." if verdict == "fail" else ""),
        found,
        n=study.units(indices),
        threshold=chance,
    )


def _row(
    study: Study,
    indices: NDArray[np.intp],
    name: str,
    answers: dict[str, Values],
    margins: dict[str, Values],
) -> tuple[Cell, ...]:
    bootstrap = study.bootstrap(indices)
    named = answers["as it is"].argmax(1)
    change = bootstrap.mean(margins[name] - margins["as it is"])
    right = (answers[name].argmax(1) == study.labels[indices]).mean()
    same = (answers[name].argmax(1) == named).mean()
    return (name, float(right), float(same), change.value, change.low, change.high)


def _mosaic(rows: Sequence[Sequence[RgbImage]]) -> Picture:
    """The first crops, one below the other in each state."""
    count = min(_SHOWN, len(rows[0]))
    return mosaic(
        "cause.examples",
        "Rows from above: crops as they are, with the parasite filled, with as much background "
        "filled, and the parasite alone.",
        [Tile(image) for images in rows for image in images[:count]],
        count,
    )

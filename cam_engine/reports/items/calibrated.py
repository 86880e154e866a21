"""Whether the model's probabilities mean what they say."""

from __future__ import annotations

import numpy as np

from cam_engine.evidence.calibration import BINS, DRAWS, calibration
from cam_engine.evidence.resampling import FEWEST_CLUSTERS
from cam_engine.reports import plots
from cam_engine.reports.criteria import Cell, Criterion, Section, Table, Verdict, make_table
from cam_engine.reports.study import Study
from cam_engine.reports.words import counted

SURE, UNSURE = 0.75, 0.6


def measure_calibration(study: Study) -> Section:
    """Reliability diagram, Brier, negative log likelihood, ECE beside a calibrated model's."""
    found = calibration(study.probabilities, study.labels, seed=study.seed)
    low, mean, high = found.perfect
    n = study.units()
    verdict: Verdict = "pass" if found.error <= high else "fail"
    sentence = (
        f"The expected calibration error is {found.error:.3f}; a perfectly calibrated model of "
        f"these probabilities would show {mean:.3f} ({low:.3f} to {high:.3f}) by chance."
    )
    if n < FEWEST_CLUSTERS:
        verdict = "cannot_tell"
        sentence += f" {counted(n, 'independent unit')} are too few to tell."
    top = study.probabilities.max(1)
    wrong_and_sure = np.flatnonzero(~study.right & (top > SURE))
    right_and_unsure = np.flatnonzero(study.right & (top < UNSURE))
    return Section(
        "calibration",
        "Calibration",
        (
            (
                f"ECE over {BINS} bins of equal mass. It is biased: above zero for calibrated "
                "models too, the more the fewer crops there are, so it stands beside what chance "
                f"alone shows ({DRAWS:,} draws of right and wrong answers from the probabilities)."
            ),
            (
                f"{counted(len(wrong_and_sure), 'answer')} wrong above {SURE:.0%}, "
                f"{len(right_and_unsure)} right below {UNSURE:.0%}."
            ),
        ),
        (
            Criterion(
                "calibration.error",
                verdict,
                sentence,
                found.error,
                None,
                n,
                high,
            ),
        ),
        (
            make_table(
                "calibration.figures",
                "Figures of calibration",
                "figure, value:number",
                (
                    ("Brier score (0 to 2)", found.brier),
                    ("negative log likelihood (nats)", found.log_loss),
                    ("ECE", found.error),
                    ("ECE of a calibrated model, mean", mean),
                    ("ECE of a calibrated model, 97.5th percentile", high),
                ),
            ),
            _listed(study, wrong_and_sure, "calibration.sure_errors", "Sure and wrong"),
            _listed(study, right_and_unsure, "calibration.unsure_hits", "Unsure and right"),
        ),
        (plots.reliability("calibration.plot", found.confidence, found.right, found.share),),
    )


def _listed(study: Study, indices: np.ndarray, id_: str, title: str) -> Table:
    names, top = study.class_names, study.probabilities.max(1)
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            study.crops[i].name,
            names[study.labels[i]],
            names[study.predicted[i]],
            float(top[i]),
        )
        for i in indices[np.argsort(-top[indices], kind="stable")]
    )
    return make_table(id_, title, "crop, true class, named, probability:share", rows)

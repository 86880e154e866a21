"""Figures in sentences for people, the same way in all sections."""

from __future__ import annotations

import math
from dataclasses import replace

from cam_engine.evidence.resampling import FEWEST_CLUSTERS, Interval
from cam_engine.reports.criteria import Criterion, Verdict

_SMALL = 0.1  # below it figures have one digit more


def percent(value: float) -> str:
    """0.823 -> "82%"."""
    return "n/a" if not math.isfinite(value) else f"{100 * value:.0f}%"


def percent_with(found: Interval) -> str:
    """As in: 82% (95% interval 70 to 91%)."""
    if not math.isfinite(found.low):
        return percent(found.value)
    return f"{percent(found.value)} (95% interval {100 * found.low:.0f} to {percent(found.high)})"


def figure_with(found: Interval) -> str:
    """As in: 0.82 (95% interval 0.70 to 0.91)."""
    if not math.isfinite(found.value):
        return "n/a"
    if not math.isfinite(found.low):
        return f"{found.value:.2f}"
    digits = 3 if max(abs(found.low), abs(found.high)) < _SMALL else 2
    value, low, high = (f"{one:.{digits}f}" for one in (found.value, found.low, found.high))
    return f"{value} (95% interval {low} to {high})"


def counted(number: int, what: str) -> str:
    """As in: 1 crop, 3 crops, 2 classes."""
    ending = "es" if what.endswith(("s", "x", "ch")) else "s"
    return f"{number:,} {what if number == 1 else what + ending}"


def listed(names: list[str] | tuple[str, ...], most: int = 6) -> str:
    """As in: a, b and 3 more."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def above(found: Interval, threshold: float) -> Verdict:
    """Whether a figure is above its threshold, by its interval; else it cannot be told."""
    if not math.isfinite(found.low):
        return "cannot_tell"
    if found.low > threshold:
        return "pass"
    return "fail" if found.high < threshold else "cannot_tell"


def below(found: Interval, threshold: float) -> Verdict:
    """As `above`, the other way round."""
    return above(Interval(-found.value, -found.high, -found.low), -threshold)


def if_informed(criterion: Criterion, *, informed: bool) -> Criterion:
    """A pass counts only for a model that tells classes apart: others hold nothing to be shown."""
    if informed or criterion.verdict != "pass":
        return criterion
    said = " The model is not shown to be better than chance, so that its maps prove nothing."
    return replace(criterion, verdict="cannot_tell", sentence=criterion.sentence + said)


def judged(
    id_: str, verdict: Verdict, sentence: str, found: Interval, *, n: int, threshold: float
) -> Criterion:
    """A criterion over n independent units: too few of them, and it cannot be told."""
    if n < FEWEST_CLUSTERS and verdict != "cannot_tell":
        verdict = "cannot_tell"
        sentence += (
            f" There are {counted(n, 'independent unit')} only; below {FEWEST_CLUSTERS} intervals "
            "are unreliable."
        )
    return Criterion(id_, verdict, sentence, found.value, found, n, threshold)

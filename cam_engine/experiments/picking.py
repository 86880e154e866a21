"""Which of many images are explained, where there are more than wanted."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from cam_engine.class_names import folded
from cam_engine.experiments.finding import ImageItem
from cam_engine.options import Pick


def pick_images(
    items: Sequence[ImageItem], count: int, pick: Pick = "balanced", seed: int = 0
) -> list[ImageItem]:
    """Up to `count` images. balanced: classes in turn; first: by path; random: seeded.

    ("errors" needs the classifier's predictions: see `pick_by_errors`.)
    """
    if pick == "random":
        return random.Random(seed).sample(list(items), min(count, len(items)))  # noqa: S311 (no secret)
    if pick == "balanced":
        return _balanced(items)[:count]
    return list(items[:count])


def pick_by_errors(
    items: Sequence[ImageItem], confidence_in_truth: Sequence[float | None], count: int
) -> list[ImageItem]:
    """Up to `count` images, those first in whose true class the classifier trusts least.

    `confidence_in_truth`: probability of the true class (0..1) less that of the best other one,
    so that errors are below 0; None where the true class is unknown, which come last.
    """
    order = sorted(
        range(len(items)),
        key=lambda i: (confidence_in_truth[i] is None, confidence_in_truth[i] or 0.0, i),
    )
    return [items[i] for i in order[:count]]


def _balanced(items: Sequence[ImageItem]) -> list[ImageItem]:
    by_class: dict[str, list[ImageItem]] = defaultdict(list)
    for item in items:
        by_class[folded(item.true_class or "")].append(item)
    longest = max((len(group) for group in by_class.values()), default=0)
    return [
        group[turn] for turn in range(longest) for group in by_class.values() if turn < len(group)
    ]

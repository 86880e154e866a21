"""Which images are explained where there are more than are wanted."""

from __future__ import annotations

from pathlib import Path

from cam_engine.experiments.finding import ImageItem
from cam_engine.experiments.picking import pick_by_errors, pick_images


def items(**classes: int) -> list[ImageItem]:
    return [
        ImageItem(Path(f"{name}/{i}.jpg"), f"{name}_{i}", name)
        for name, count in classes.items()
        for i in range(count)
    ]


def test_balanced_shows_every_class() -> None:
    picked = pick_images(items(gametocyte=20, ring=3, schizont=1), 10)
    counts = [sum(i.true_class == c for i in picked) for c in ("gametocyte", "ring", "schizont")]
    assert counts == [6, 3, 1]


def test_first_and_random() -> None:
    many = items(a=20, b=20)
    assert [i.name for i in pick_images(many, 2, "first")] == ["a_0", "a_1"]
    one, same, other = (pick_images(many, 5, "random", seed) for seed in (1, 1, 2))
    assert one == same != other


def test_errors_first_then_the_least_certain() -> None:
    margins = [0.9, -0.2, None, 0.1, -0.7]
    picked = pick_by_errors(items(a=5), margins, 4)
    assert [i.name for i in picked] == ["a_4", "a_1", "a_3", "a_0"]

"""What the engine answers: facts that follow from others are worked out, never written down."""

from __future__ import annotations

import numpy as np
import pytest

from cam_engine.results import ClassScore, Explanation, LayerMap

RING, ELF = ClassScore(1, "ring", 0.7), ClassScore(0, "elf", 0.3)


def layer(name: str, maximum: float = 1.0) -> LayerMap:
    return LayerMap(name, "denseblock3", "gradcam", np.zeros((3, 5), np.float32), maximum)


def test_a_maps_grid_is_height_by_width() -> None:
    assert layer("mid").grid == (3, 5)


@pytest.mark.parametrize(("maximum", "empty"), [(0.0, True), (-0.0, True), (1e-30, False)])
def test_a_map_without_positive_evidence_is_empty(maximum: float, empty: bool) -> None:
    assert layer("mid", maximum).empty is empty


@pytest.mark.parametrize(("unenhanced", "changed"), [(None, False), (RING, False), (ELF, True)])
def test_clahe_changed_the_class_only_where_it_is_known_to(
    unenhanced: ClassScore | None, changed: bool
) -> None:
    answer = Explanation(ELF, (RING, ELF), (), unenhanced)
    assert answer.predicted is RING
    assert answer.clahe_changed_class is changed


def test_layers_are_found_by_the_names_that_were_asked_for() -> None:
    answer = Explanation(RING, (RING,), (layer("mid"), layer("late", 2.0)))
    assert answer.layer("late").maximum == 2.0
    with pytest.raises(KeyError, match="denseblock3"):
        answer.layer("denseblock3")

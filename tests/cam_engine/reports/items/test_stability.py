"""Maps of crops that were changed a little: of a network that minds, and of one that does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from cam_engine.evidence.images.disturbances import DISTURBANCES
from cam_engine.reports.items.stability import _alike, measure_stability
from cam_engine.reports.study import Study
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import criterion, table, verdicts


def test_each_change_stands_in_the_table_and_the_worst_is_judged(crafted_study: Study) -> None:
    section = measure_stability(crafted_study)
    rows = table(section, "stability.changes").rows
    assert [row[0] for row in rows] == list(DISTURBANCES)
    worst = min(rows, key=lambda row: float(row[1] or 0))
    found = criterion(section, "stability.maps")
    assert (found.verdict, found.n, found.threshold) == ("pass", 24, 0.7)
    assert found.value == worst[1]
    changed = max(float(row[4] or 0) for row in rows)
    assert found.sentence.startswith(
        f"The fused map changes most by “{worst[0]}”: its rank correlation with the map before is "
        f"{found.value:.2f} (95% interval "
    )
    assert found.sentence.endswith(f"At most {100 * changed:.0f}% of the answers change.")


def test_maps_that_are_gone_after_a_change_are_not_stable(crafted_study: Study) -> None:
    """The detectors light at the blots' colours as they are, and no less bright."""
    network = crafted.network()
    parameters = dict(network.named_parameters())
    parameters["early.0.weight"].data *= 40.0
    for channel, name in enumerate(crafted.CLASSES):
        colour = np.array(crafted.COLOURS[name]) / 255
        weight = np.zeros(3) + (1.0 if name != "dark" else -1.0)
        parameters["early.0.weight"].data[channel, :, 1, 1] = torch.tensor(weight)
        parameters["early.1.bias"].data[channel] = 0.02 - float(weight @ colour)
    study = crafted.study_of(crafted.classifier(network), crafted_study.crops)
    section = measure_stability(study)
    changes = table(section, "stability.changes")
    found = criterion(section, "stability.maps")
    assert found.verdict == "fail"
    assert found.value == min(float(row[1] or 0) for row in changes.rows)
    assert changes.note.startswith("A map that is gone after the change has 0")


def test_maps_without_any_order_cannot_be_told(crafted_study: Study) -> None:
    network = crafted.network()
    network.head.weight.data.zero_()
    section = measure_stability(crafted.study_of(crafted.classifier(network), crafted_study.crops))
    assert criterion(section, "stability.maps").verdict == "cannot_tell"


def test_one_change_without_any_map_does_not_hide_the_others(crafted_study: Study) -> None:
    """A map that is empty after every change of one kind has no correlation there."""
    network = crafted.network()
    network.head.weight.data[2] = 0.0  # maps for dark are empty
    section = measure_stability(crafted.study_of(crafted.classifier(network), crafted_study.crops))
    assert criterion(section, "stability.maps").value is not None


def test_few_crops_cannot_be_told(crafted_study: Study) -> None:
    for count in (1, 9):
        few = crafted.study_of(crafted_study.explainer.classifier, crafted_study.crops[:count])
        assert set(verdicts(measure_stability(few)).values()) == {"cannot_tell"}
    slides = replace(crafted_study, clusters=tuple(str(at % 5) for at in range(30)))
    assert set(verdicts(measure_stability(slides)).values()) == {"cannot_tell"}


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    few = replace(crafted_study, effort=replace(crafted.SMALL, disturbed_crops=6))
    assert measure_stability(few) == measure_stability(few)
    assert measure_stability(few) != measure_stability(replace(few, seed=1))


def test_a_map_that_is_gone_keeps_nothing() -> None:
    sight = np.ones((4, 4), bool)
    one = np.arange(16, dtype=np.float32).reshape(4, 4)
    none = np.zeros((4, 4), np.float32)
    assert _alike(one, one, sight) == 1.0
    assert _alike(one, none, sight) == 0.0
    assert np.isnan(_alike(none, one, sight))

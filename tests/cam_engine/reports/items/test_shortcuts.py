"""Maps at the border: a planted mark is flagged, and nothing on the same crops without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cam_engine.reports.items.shortcuts import measure_shortcuts
from cam_engine.reports.study import Study
from tests.cam_engine.reports.items import crafted
from tests.cam_engine.reports.items.crafted import cell, criterion, table, verdicts


def test_a_mark_on_one_class_is_flagged(marked: Study) -> None:
    section = measure_shortcuts(marked)
    found = criterion(section, "shortcuts.groups")
    assert found.verdict == "fail"
    groups = table(section, "shortcuts.groups")
    odd = [
        row
        for row in groups.rows
        if row[3] == "vivax" and float(row[4] or 0) > 0.8 and float(row[6] or 0) > 0.36
    ]
    assert odd
    assert f"group {odd[0][0]}" in found.sentence
    energy = table(section, "shortcuts.energy")
    at_border = {name: cell(energy, name, "at the border") for name in marked.class_names}
    assert max(at_border, key=lambda name: at_border[name]) == "vivax"
    shown = [picture for picture in section.pictures if "of vivax;" in picture.caption]
    assert f"shortcuts.group_{odd[0][0]}" in [picture.id for picture in shown]


def test_the_same_crops_without_it_are_not(species: Study) -> None:
    section = measure_shortcuts(species)
    assert verdicts(section) == {"shortcuts.border": "pass", "shortcuts.groups": "pass"}


def test_maps_of_blots_lie_off_the_border(crafted_study: Study) -> None:
    section = measure_shortcuts(crafted_study)
    found = criterion(section, "shortcuts.border")
    assert (found.verdict, found.n, found.threshold) == ("pass", 30, 0.36)
    assert found.value is not None
    assert found.value < 0.1
    assert f"holds {100 * found.value:.0f}% (95% interval " in found.sentence
    energy = table(section, "shortcuts.energy")
    assert cell(energy, "right answers", "number") == 30
    assert "wrong answers" not in [row[0] for row in energy.rows]
    assert sum(int(row[1] or 0) for row in table(section, "shortcuts.groups").rows) == 30


def test_maps_of_parasites_lie_on_the_stain(study: Study) -> None:
    energy = table(measure_shortcuts(study), "shortcuts.energy")
    # Of a uniform map it would be above .9: the stain is a small part of a crop.
    assert cell(energy, "right answers", "off the stain") < 0.8


def test_empty_maps_cannot_be_told(crafted_study: Study) -> None:
    network = crafted.network()
    network.head.weight.data.zero_()
    study = crafted.study_of(crafted.classifier(network), crafted_study.crops)
    section = measure_shortcuts(study)
    assert set(verdicts(section).values()) == {"cannot_tell"}
    assert {one.sentence for one in section.criteria} == {"All maps are empty."}
    (row,) = table(section, "shortcuts.groups").rows
    assert row[:3] == ("empty maps", 30, 1.0)


# Groups of maps without any likeness are no fault.
@pytest.mark.filterwarnings("ignore:Graph is not fully connected")
def test_maps_at_the_border_fail(crafted_study: Study) -> None:
    """Each crop has a frame of its class's colour, and no blot."""
    crops = []
    for crop in crafted_study.crops:
        image = np.full((crafted.SIDE, crafted.SIDE, 3), crafted.COLOURS[crop.label], np.uint8)
        image[6:-6, 6:-6] = crafted.GROUND
        crops.append(replace(crop, path=crafted.write(crop.file.with_stem("framed"), image)))
    section = measure_shortcuts(crafted.study_of(crafted_study.explainer.classifier, crops))
    found = criterion(section, "shortcuts.border")
    assert found.verdict == "fail"
    assert found.value is not None
    assert found.value > 0.6


@pytest.mark.parametrize("count", [1, 5])
def test_few_crops_cannot_be_told(crafted_study: Study, count: int) -> None:
    few = crafted.study_of(crafted_study.explainer.classifier, crafted_study.crops[:count])
    assert set(verdicts(measure_shortcuts(few)).values()) == {"cannot_tell"}


def test_few_units_cannot_be_told(crafted_study: Study) -> None:
    slides = replace(crafted_study, clusters=tuple(str(at % 5) for at in range(30)))
    section = measure_shortcuts(slides)
    assert set(verdicts(section).values()) == {"cannot_tell"}


def test_the_seed_makes_the_section(crafted_study: Study) -> None:
    few = replace(crafted_study, effort=replace(crafted.SMALL, map_crops=20))
    assert measure_shortcuts(few) == measure_shortcuts(few)
    assert measure_shortcuts(few) != measure_shortcuts(replace(few, seed=1))

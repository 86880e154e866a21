"""Recipes of pictures: the facts of a run go into JSON and come back whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cam_engine.options import CamOptions, DecodingOptions, FigureStyle
from cam_engine.pictures.recipes import border_energy, run_facts_from_json, to_json
from tests.run_facts import run_facts

FACTS = run_facts(
    model="cls_größe",
    class_names=("ring", "кольцо"),
    input_size=(224, 192),
    mean=(0.1, 0.2, 0.3),
    std=(1.0, 1.1, 1.2),
    options=CamOptions(
        method="layercam",
        layers=("early", "features.3"),
        fused=True,
        target="ring",
        decoding=DecodingOptions("type", "white", 3, 12),
    ),
    figures=FigureStyle(save_maps=True, paper_format="pdf", paper_dpi=300),
    divided_by_255=True,
)


def test_facts_come_back_as_they_were() -> None:
    again = run_facts_from_json(to_json(FACTS))
    assert again == FACTS
    assert again.digest == FACTS.digest


def test_facts_of_earlier_versions_name_no_decoding() -> None:
    values = json.loads(to_json(FACTS))
    del values["options"]["decoding"]
    assert run_facts_from_json(json.dumps(values)).options.decoding == DecodingOptions()


@pytest.mark.parametrize("text", ["[]", "{}", "nothing", '{"options": {}, "figures": 1}'])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        run_facts_from_json(text)


def test_border_energy_by_hand() -> None:
    flat = np.ones((10, 20), np.float32)
    assert border_energy(flat) == pytest.approx(1 - 8 * 16 / 200)
    inside = np.zeros((10, 20), np.float32)
    inside[4, 9] = 1
    assert border_energy(inside) == 0.0
    assert border_energy(np.zeros((4, 4), np.float32)) is None
    assert border_energy(np.ones((1, 1), np.float32)) == 1.0

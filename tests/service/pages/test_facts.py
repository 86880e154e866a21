"""What scripts take from Python's tables, and repeat nowhere."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from cam_engine.method_facts import (
    DEFAULT_METHOD,
    FUSION_FACTS,
    METHOD_FACTS,
    MethodFacts,
)
from cam_engine.options import COLORMAPS, STAGES, CamOptions, Colormap
from cam_engine.pictures.rendering import SMOOTHING, Smoothing, colour_table
from service.pages.facts import facts_script
from service.pages.files import STATIC

TEMPLATES = STATIC.parent / "templates"
WRITTEN = [*STATIC.rglob("*.js"), *TEMPLATES.iterdir()]


def constants(script: str) -> dict[str, Any]:
    exported = re.findall(r"^export const (\w+) = (.+);$", script, re.MULTILINE)
    return {name: json.loads(value) for name, value in exported}


def test_it_has_the_rows_of_all_methods_in_their_order() -> None:
    assert constants(facts_script())["METHODS"] == [
        {"name": name, "label": facts.label, "sentence": facts.sentence}
        for name, facts in METHOD_FACTS.items()
    ]


def test_a_row_that_is_added_is_in_it() -> None:
    newer = MethodFacts("New-CAM", 'says "new"</script>', "")
    script = facts_script([*METHOD_FACTS.items(), ("newcam", newer)])
    [*_, last] = constants(script)["METHODS"]
    assert last == {"name": "newcam", "label": "New-CAM", "sentence": 'says "new"</script>'}


def test_defaults_are_the_engines() -> None:
    facts = constants(facts_script())
    options = CamOptions()
    assert facts["DEFAULTS"] == {"alpha": options.alpha, "colormap": options.colormap}
    assert facts["DEFAULT_METHOD"] == DEFAULT_METHOD
    assert [fusion["name"] for fusion in facts["FUSIONS"]] == list(FUSION_FACTS)
    assert tuple(facts["STAGES"]) == STAGES
    assert Smoothing(**facts["SMOOTHING"]) == SMOOTHING


@pytest.mark.parametrize("name", COLORMAPS)
def test_colours_are_the_services(name: Colormap) -> None:
    colours = constants(facts_script())["COLOURS"]
    assert list(colours) == list(COLORMAPS)
    assert base64.b64decode(colours[name]) == colour_table(name).tobytes()


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_nothing_that_is_written_by_hand_repeats_the_tables(file: Any) -> None:
    names = [*METHOD_FACTS, *COLORMAPS]
    values = set(re.findall(r"""(?<=["'`>])[\w+-]+(?=["'`<])""", file.read_text()))
    assert values & set(names) == set()

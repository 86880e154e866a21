"""The scripts of the pages and of the viewer: who may import whom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[1] / "service/static"
TEMPLATES = STATIC.parent / "templates"
SCRIPTS = sorted(script.relative_to(STATIC).as_posix() for script in STATIC.rglob("*.js"))
MOST_LINES = 400
# Loaded by /docs, whose page is no template.
LOADED_ELSEWHERE = {"pages/docs.js"}
_IMPORT = re.compile(
    r"""^(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']"""
    r"""|^import\s*["']([^"']+)["']|\bimport\(\s*["'`]([^"'`]+)["'`]""",
    re.MULTILINE,
)


def imported(script: str) -> set[str]:
    """What it imports, as paths below static/."""
    named = ["".join(groups) for groups in _IMPORT.findall((STATIC / script).read_text())]
    assert all(re.match(r"\.\.?/", path) for path in named), (script, named)
    return {
        (STATIC / script).parent.joinpath(path).resolve().relative_to(STATIC).as_posix()
        for path in named
    }


IMPORTS = {script: imported(script) for script in SCRIPTS}


def in_templates() -> set[str]:
    text = "".join(template.read_text() for template in TEMPLATES.iterdir())
    return set(re.findall(r"/static/([\w/-]+\.js)", text))


def room_of(script: str) -> str:
    """viewer, shared, pages/look, ...; a script beside the folders is a room of its own."""
    folder, _, _name = script.rpartition("/")
    return script if folder in {"", "pages"} else folder


def may_import(room: str, other: str) -> bool:
    if room in {"viewer", "cam-viewer.js"}:
        return other == "viewer"  # portals load no more
    if room == "shared":
        return other == "shared"
    return other in {room, "shared", "viewer", "cam-viewer.js"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_what_is_there_and_of_no_page_but_its_own(script: str) -> None:
    assert IMPORTS[script] <= set(SCRIPTS)
    room = room_of(script)
    assert [one for one in IMPORTS[script] if not may_import(room, room_of(one))] == []


def test_nothing_imports_the_script_of_a_page() -> None:
    scripts_of_pages = {one for one in in_templates() if one.startswith("pages/")}
    assert len(scripts_of_pages) >= 5
    assert scripts_of_pages.isdisjoint(set().union(*IMPORTS.values()))


def test_no_script_is_left_over() -> None:
    assert in_templates() <= set(SCRIPTS)
    used = set().union(*IMPORTS.values(), in_templates(), LOADED_ELSEWHERE)
    assert set(SCRIPTS) - used == set()


def test_no_imports_go_in_a_circle() -> None:
    left = dict(IMPORTS)
    while free := [script for script, needed in left.items() if not needed & left.keys()]:
        for script in free:
            del left[script]
    assert left == {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_of_one_subject_and_says_which(script: str) -> None:
    text = (STATIC / script).read_text()
    assert text.startswith(("/**", "//"))
    assert len(text.splitlines()) <= MOST_LINES

"""The scripts of the pages and of the viewer: who may import whom."""

from __future__ import annotations

import re

import pytest

from service.pages.facts import facts_script
from service.pages.files import FACTS, STATIC, static_files
from service.pages.templates import SCRIPTS as OF_PAGES

TEXTS = {
    FACTS: facts_script(),  # the one that lies nowhere
    **{file.relative_to(STATIC).as_posix(): file.read_text() for file in STATIC.rglob("*.js")},
}
SCRIPTS = sorted(TEXTS)
MOST_LINES = 400
MOST_MODULES = 12
# Loaded by /docs, whose page is no template.
LOADED_ELSEWHERE = {"pages/docs.js"}
_IMPORT = re.compile(
    r"""^(?:import|export)\b[^;"']*?\bfrom\s*["']([^"']+)["']"""
    r"""|^import\s*["']([^"']+)["']|\bimport\(\s*["'`]([^"'`]+)["'`]""",
    re.MULTILINE,
)


def imported(script: str) -> set[str]:
    """What it imports, as paths below static/."""
    named = ["".join(groups) for groups in _IMPORT.findall(TEXTS[script])]
    assert all(re.match(r"\.\.?/", path) for path in named), (script, named)
    return {
        (STATIC / script).parent.joinpath(path).resolve().relative_to(STATIC).as_posix()
        for path in named
    }


IMPORTS = {script: imported(script) for script in SCRIPTS}


def loaded_by_pages() -> set[str]:
    return {script for page in OF_PAGES.values() for script in (page.own, page.later) if script}


def room_of(script: str) -> str:
    """viewer, shared, pages/look, ...; a script beside the folders is a room of its own."""
    folder, _, _name = script.rpartition("/")
    return script if folder in {"", "pages"} else folder


# The viewer's rooms, the lowest first: a room imports from itself and from those below it.
ROOMS = (
    ("viewer/common",),
    ("viewer/drawing",),
    ("viewer/asking", "viewer/controls"),
    ("viewer/downloads",),
    ("viewer",),
    ("cam-viewer.js",),
)
RANKS = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}


def may_import(room: str, other: str) -> bool:
    if room in RANKS:  # portals load no more than these
        return other == room or RANKS.get(other, len(ROOMS)) < RANKS[room]
    if room == "shared":
        return other == "shared"
    return other in {room, "shared", *RANKS}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_imports_what_is_there_and_of_no_page_but_its_own(script: str) -> None:
    assert IMPORTS[script] <= set(SCRIPTS)
    room = room_of(script)
    assert [
        imported for imported in IMPORTS[script] if not may_import(room, room_of(imported))
    ] == []


def test_nothing_imports_the_script_of_a_page() -> None:
    scripts_of_pages = {page for page in loaded_by_pages() if page.startswith("pages/")}
    assert len(scripts_of_pages) >= 5
    assert scripts_of_pages.isdisjoint(set().union(*IMPORTS.values()))


@pytest.mark.parametrize("room", sorted({room_of(script) for script in SCRIPTS}))
def test_no_room_is_crowded(room: str) -> None:
    assert len([script for script in SCRIPTS if room_of(script) == room]) <= MOST_MODULES


def test_no_script_is_left_over() -> None:
    assert loaded_by_pages() <= set(SCRIPTS)
    used = set().union(*IMPORTS.values(), loaded_by_pages(), LOADED_ELSEWHERE)
    assert set(SCRIPTS) - used == set()


def test_no_imports_go_in_a_circle() -> None:
    left = dict(IMPORTS)
    while free := [script for script, needed in left.items() if not needed & left.keys()]:
        for script in free:
            del left[script]
    assert left == {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_of_one_subject_and_says_which(script: str) -> None:
    text = TEXTS[script]
    assert text.startswith(("/**", "//"))
    assert len(text.splitlines()) <= MOST_LINES


def reached(script: str) -> set[str]:
    """The script and all that it imports, however far off."""
    scripts: set[str] = set()
    waiting = {script}
    while waiting:
        scripts |= waiting
        waiting = {imported for script in waiting for imported in IMPORTS[script]} - scripts
    return scripts


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_service_knows_what_a_script_needs(script: str) -> None:
    modules = static_files().modules(script)
    assert modules[0] == script
    assert set(modules) == reached(script)
    assert len(modules) == len(set(modules))

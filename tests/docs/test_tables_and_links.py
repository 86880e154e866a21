"""Tables made from the code are current, and links within the documentation lead somewhere."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Collection
from pathlib import Path

import pytest

from cam_engine.method_facts import METHOD_FACTS
from cam_engine.options import COLORMAPS
from scripts.generate_docs import ROOT, TABLES, write_tables
from service.commands.arguments import build_parser
from service.http.problems import PROBLEMS
from service.settings import Settings
from worker.settings import WorkerSettings

_ROOT = ROOT
DOCS = ROOT / "docs"
_PAGES = sorted([*DOCS.rglob("*.md"), *_ROOT.glob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.mark.parametrize("document", sorted({document for document, _ in TABLES}))
def test_tables_are_what_the_code_says(document: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in {document for document, _ in TABLES}:
        shutil.copy(ROOT / name, tmp_path / name)
    write_tables(tmp_path)
    current = (tmp_path / document).read_text()
    assert (ROOT / document).read_text() == current, "run: python -m scripts.generate_docs"


def test_every_code_and_every_setting_has_its_row() -> None:
    errors, service = (DOCS / "errors.md").read_text(), (DOCS / "service.md").read_text()
    assert [code for code in PROBLEMS if f"| `{code}` |" not in errors] == []
    names = [f"GRADCAM_{name.upper()}" for name in Settings.model_fields]
    assert [name for name in names if f"| `{name}` |" not in service] == []


def test_every_setting_of_workers_alone_is_explained() -> None:
    page = (DOCS / "operations.md").read_text()
    own = sorted(set(WorkerSettings.model_fields) - set(Settings.model_fields))
    assert own
    assert [name for name in own if f"`GRADCAM_{name.upper()}`" not in page] == []


@pytest.mark.parametrize(("option", "values"), [("method", METHOD_FACTS), ("colormap", COLORMAPS)])
def test_the_command_lines_page_has_all_values(option: str, values: Collection[str]) -> None:
    page = (DOCS / "command-line.md").read_text()
    listed = ", ".join(f"`{value}`" for value in values)
    assert f"| `--{option} NAME` | {listed} |" in page


@pytest.mark.parametrize("command", ["serve", "explain", "report"])
def test_every_option_of_the_services_commands_is_documented(command: str) -> None:
    page = (DOCS / "command-line.md").read_text()
    section = page.partition(f"## gradcam {command}\n")[2].partition("\n## ")[0]
    parser = build_parser()
    [commands] = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    options = [
        option
        for action in commands.choices[command]._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    ]
    assert options
    assert [option for option in options if f"`{option}" not in section] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name}: {link}"


_PATH = re.compile(r"`([\w.<>*-]+(?:/[\w.<>*-]+)*\.(?:py|js|css|toml|yml|sh|md|gpu))`")
_OURS = sorted(
    path.relative_to(_ROOT).as_posix()
    for folder in (
        [
            "benchmarks",
            "cam_engine",
            "deploy",
            "docs",
            "examples",
            "scripts",
            "service",
            "tests",
            "worker",
            ".ci",
            "sample",
        ]
    )
    for path in (_ROOT / folder).rglob("*")
) + [path.name for path in _ROOT.iterdir()]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_files_that_are_named_are_there(page: Path) -> None:
    """`models/loading.py` as well as `cam_engine/models/loading.py`."""
    missing = [
        named
        for named in _PATH.findall(page.read_text())
        if not any(f"/{path}".endswith(f"/{named}") for path in _OURS)
    ]
    assert missing == []


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, dashes for blanks, other signs left out."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in _HEADING.findall(page.read_text())
    }

"""Keywords of text chunks: documented, and written down nowhere else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from cam_engine import text_keys

ROOT = Path(__file__).parents[2]
KEYS = {value for name, value in vars(text_keys).items() if name.isupper()}
# Other things have these names too: classes of networks, headers, columns.
ALSO_OTHERS = {"Class", "Images", "Layer", "Method", "Model", "Preprocessing"}


def words_in(file: Path) -> set[str]:
    """Constants in its code, those of bytes by their first word."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant):
            value = node.value
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            words.add(text.rstrip("\0"))
    return words


def test_no_other_module_spells_a_key() -> None:
    modules = [
        file
        for package in ("cam_engine", "service", "worker")
        for file in (ROOT / package).rglob("*.py")
        if file != Path(text_keys.__file__)
    ]
    assert {str(f): spelt for f in modules if (spelt := words_in(f) & (KEYS - ALSO_OTHERS))} == {}


def test_each_key_is_documented() -> None:
    page = (ROOT / "docs/command-line.md").read_text()
    table = page.split("### Text chunks of the PNGs")[1].split("```")[0]
    documented = set(re.findall("`([A-Z][A-Za-z0-9-]+)`", table))
    assert documented == KEYS - {text_keys.IMAGES}

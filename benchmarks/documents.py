"""Measured blocks in documents: what stands between two markers is replaced, the rest stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def replace_block(document: Path, name: str, lines: Sequence[str]) -> None:
    """Put the lines between `<!-- name -->` and `<!-- /name -->`.

    Raises ValueError where the document has no such block.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = document.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{document} has no block {start} ... {end}")
    body = "\n".join(lines).strip("\n")
    document.write_text(f"{before}{start}\n{body}\n{end}{after}")

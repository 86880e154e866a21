"""Which run made a picture: read back from the recipe that each picture of ours carries."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_engine.errors import CamError
from cam_engine.outputs import COMPONENTS, MAIN_PREFIX, remove_files
from cam_engine.png import read_png_text

_RUN_IN_PDF = re.compile(rb'"run": "([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a picture.

    run: digest (hex) of all that it depends on beside the image. image: its path as summaries name
    it. facts: the run's, as JSON has them (`RunFacts`).
    """

    run: str
    image: str
    image_sha256: str
    facts: Mapping[str, Any]


def provenance_of(text: Mapping[str, str]) -> Provenance | None:
    """From a picture's text chunks; None where it is not one of ours."""
    try:
        recipe = json.loads(text["Recipe"])
        found = Provenance(recipe["run"], recipe["image"], recipe["image_sha256"], recipe["facts"])
    except (KeyError, TypeError, ValueError):
        return None
    words = (found.run, found.image, found.image_sha256)
    sound = all(isinstance(one, str) for one in words) and isinstance(found.facts, dict)
    return found if sound else None


def read_provenance(picture: Path) -> Provenance | None:
    """From a PNG file; None where there is none, or not one of ours."""
    try:
        return provenance_of(read_png_text(picture))
    except CamError:
        return None


def remove_made_otherwise(folder: Path, runs: Collection[str], ours: Collection[Path] = ()) -> int:
    """Remove the pictures in a model's folder that runs other than these made; how many files.

    ours: files that need not be looked at. Nothing is touched but pictures that carry our recipe.
    Raises OutputNotWritable.
    """
    known = frozenset(ours)
    stale = [
        picture
        for picture in _pictures(folder)
        if picture not in known and (run := _run_of(picture)) is not None and run not in runs
    ]
    remove_files(stale)
    return len(stale)


def _pictures(folder: Path) -> Iterator[Path]:
    for suffix in ("png", "pdf"):
        yield from sorted(folder.glob(f"{MAIN_PREFIX}*.{suffix}"))
    yield from sorted((folder / COMPONENTS).glob("*.png"))


def _run_of(picture: Path) -> str | None:
    if picture.suffix == ".pdf":
        return _run_of_pdf(picture)
    found = read_provenance(picture)
    return None if found is None else found.run


def _run_of_pdf(paper: Path) -> str | None:
    """A PDF has the recipe in its keywords, which are UTF-16 where they are not ASCII."""
    try:
        data = paper.read_bytes().replace(b"\0", b"")
    except OSError:
        return None
    found = _RUN_IN_PDF.search(data)
    return found[1].decode() if found else None

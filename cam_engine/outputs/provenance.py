"""Which run made a picture: read back from the recipe that each picture of ours carries."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_engine import text_keys
from cam_engine.confined import Below, ConfinedFolder
from cam_engine.errors import CamError, ImageNotFound, InvalidImage
from cam_engine.images.decoded import facts_from_json
from cam_engine.images.png import MAIN_PREFIX, read_png_text
from cam_engine.outputs.files import COMPONENTS, remove_files

_RUN_IN_PDF = re.compile(rb'"run": "([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a picture.

    run_digest: of all that it depends on beside the image (hex). image: its path in summaries.
    facts: the run's, as JSON has them (`RunFacts`).
    """

    run_digest: str
    image: str
    image_sha256: str
    facts: Mapping[str, Any]


def provenance_of(text: Mapping[str, str]) -> Provenance | None:
    """From a picture's text chunks; None where it is not one of ours."""
    try:
        recipe = json.loads(text[text_keys.RECIPE])
        provenance = Provenance(
            recipe["run"], recipe["image"], recipe["image_sha256"], recipe["facts"]
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    words = (provenance.run_digest, provenance.image, provenance.image_sha256)
    sound = all(isinstance(word, str) for word in words) and isinstance(provenance.facts, dict)
    return provenance if sound else None


def is_made_by(text: Mapping[str, str], run_digest: str, image_sha256: str) -> bool:
    """Whether the picture with these text chunks was made by that run of an image so digested."""
    made = provenance_of(text)
    return made is not None and (made.run_digest, made.image_sha256) == (
        run_digest,
        image_sha256,
    )


def assumed_in(text: Mapping[str, str]) -> tuple[str, ...]:
    """What was assumed of the image of a picture with these text chunks, as sentences.

    () where they do not say it, as in older pictures.
    """
    try:
        return facts_from_json(json.loads(text[text_keys.RECIPE])["decoding"]).notices
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def provenance_in(folder: ConfinedFolder, path: Below) -> Provenance | None:
    """From a PNG below a folder; None where there is none, or not one of ours."""
    try:
        return provenance_of(text_in(folder, path))
    except CamError:
        return None


def text_in(folder: ConfinedFolder, path: Below) -> dict[str, str]:
    """Text chunks of a PNG below a folder. Raises ImageNotFound or InvalidImage."""
    name = folder.shown(path)
    try:
        with folder.opened(path) as file:
            return read_png_text(file, name)
    except FileNotFoundError as error:
        raise ImageNotFound(f"no file {name}") from error
    except OSError as error:
        raise InvalidImage(f"{name} cannot be read: {error.strerror or error}") from error


def remove_made_otherwise(
    folder: ConfinedFolder, run_digests: Collection[str], ours: Collection[Path] = ()
) -> int:
    """Remove the pictures in a model's folder that runs of other digests made; how many files.

    ours: files, by their paths below the folder, that need not be looked at. Nothing is touched but
    pictures that carry our recipe. Raises OutputNotWritable.
    """
    known = frozenset(ours)
    stale = [
        picture
        for picture in _pictures(folder)
        if picture not in known
        and (made_by := _run_of(folder, picture)) is not None
        and made_by not in run_digests
    ]
    remove_files(folder, stale)
    return len(stale)


def _pictures(folder: ConfinedFolder) -> Iterator[Path]:
    names = [name for name in folder.files() if name.startswith(MAIN_PREFIX)]
    for suffix in (".png", ".pdf"):
        yield from (Path(name) for name in names if name.endswith(suffix))
    for name in folder.files(COMPONENTS):
        if name.endswith(".png"):
            yield Path(COMPONENTS, name)


def _run_of(folder: ConfinedFolder, picture: Path) -> str | None:
    if picture.suffix == ".pdf":
        return _run_of_pdf(folder, picture)
    provenance = provenance_in(folder, picture)
    return None if provenance is None else provenance.run_digest


def _run_of_pdf(folder: ConfinedFolder, paper: Path) -> str | None:
    """A PDF has the recipe in its keywords, which are UTF-16 where they are not ASCII."""
    try:
        data = folder.read(paper).replace(b"\0", b"")
    except OSError:
        return None
    match = _RUN_IN_PDF.search(data)
    return match[1].decode() if match else None

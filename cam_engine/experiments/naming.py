"""Names for images that are unique among those of their folder tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from cam_engine.short_names import short_name, speakable

# Bytes: of the 255 that a file's name may have, the rest is for what pictures are called beside it.
LONGEST_NAME = 160


def unique_names(files: Sequence[Path]) -> list[str]:
    """A name for each relative path, its stem where no other file has it.

    Else its folder goes before it ("ring_cell_001"), then all its folders, then its suffix behind.
    Bytes that are not UTF-8 are then escaped, and what is longer than LONGEST_NAME bytes is cut,
    with a digest of the whole behind it.
    Names are compared whatever the case, since some file systems do. The answer depends on the
    whole list, so give all files, not the ones picked for this time.
    """
    names = [_name_at(file, 0) for file in files]
    for level in range(1, 4):
        counts: dict[str, int] = defaultdict(int)
        for name in names:
            counts[name.casefold()] += 1
        names = [
            name if counts[name.casefold()] == 1 else _name_at(file, level)
            for name, file in zip(names, files, strict=True)
        ]
    return _numbered([short_name(speakable(name), LONGEST_NAME) for name in names])


def _name_at(file: Path, level: int) -> str:
    if level == 0 or len(file.parts) == 1:
        return file.stem if level < 3 else f"{file.stem}_{file.suffix[1:]}"
    folders = file.parts[-2:-1] if level == 1 else file.parts[:-1]
    suffix = f"_{file.suffix[1:]}" if level == 3 else ""
    return "_".join([*folders, file.stem]) + suffix


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, those still taken with a number behind."""
    taken = {name.casefold() for name in names}
    seen: set[str] = set()
    answer = []
    for name in names:
        number, candidate = 1, name
        while candidate.casefold() in seen:
            number += 1
            trial = f"{name}_{number}"
            candidate = name if trial.casefold() in taken else trial
        seen.add(candidate.casefold())
        answer.append(candidate)
    return answer

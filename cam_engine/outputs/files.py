"""A run's files: where each picture goes, and how it gets there whole.

<folder>/improved_gradcam_<name>.png
<folder>/components/<name>_{early,mid,late}_{heatmap,overlay}.png
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cam_engine.confined import PART_SUFFIX, Below, ConfinedFolder
from cam_engine.errors import OutputNotWritable
from cam_engine.images.png import MAIN_PREFIX
from cam_engine.short_names import short_name

COMPONENTS = "components"
_LONGEST_LAYER = 80  # bytes


@dataclass(frozen=True, slots=True)
class PicturePaths:
    """Where one image's pictures go."""

    folder: Path
    name: str

    def main(self, suffix: str = "png") -> Path:
        """The main figure."""
        return self.folder / f"{MAIN_PREFIX}{self.name}.{suffix}"

    def component(self, layer: str, kind: str) -> Path:
        """One layer's picture; kind is one of COMPONENT_KINDS."""
        return self.folder / COMPONENTS / f"{self.name}_{file_part(layer)}_{kind}.png"


def file_part(layer: str) -> str:
    """A layer's name as a part of a file's name: only letters, digits, dot, dash, underscore.

    A longer one than fits is cut, with a digest of the whole behind it.
    """
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in layer)
    return short_name(plain, _LONGEST_LAYER)


def make_folder(folder: Path | ConfinedFolder) -> None:
    """Create the folder, and the one for components in it. Raises OutputNotWritable."""
    make_plain_folder(ConfinedFolder.of(folder).within(COMPONENTS))


def make_plain_folder(folder: ConfinedFolder) -> None:
    """Create the folder and those around it. Raises OutputNotWritable."""
    try:
        folder.make()
    except OSError as error:
        raise not_writable(folder.shown(), error) from error


def remove_half_written(folder: Path | ConfinedFolder) -> None:
    """Clear what killed processes left half written in a folder that has no writer now.

    Raises OutputNotWritable.
    """
    within = ConfinedFolder.of(folder)
    places = ["", *(f"{name}/" for name in within.folders())]
    remove_files(
        within,
        (
            f"{place}{name}"
            for place in places
            for name in within.files(place.rstrip("/"))
            if name.startswith(".") and name.endswith(PART_SUFFIX)
        ),
    )


def remove_files(folder: ConfinedFolder, files: Iterable[Below]) -> None:
    """Remove files below it, those that are gone already included. Raises OutputNotWritable."""
    for file in files:
        try:
            folder.remove(file)
        except OSError as error:
            raise not_writable(folder.shown(file), error) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that its path is trusted of: see `write_into`. Raises OutputNotWritable."""
    write_into(ConfinedFolder(path.parent), path.name, data)


def write_into(folder: ConfinedFolder, path: Below, data: bytes) -> None:
    """Write a file below the folder whole, or not at all. Raises OutputNotWritable."""
    try:
        folder.write(path, data)
    except OSError as error:
        raise not_writable(folder.shown(path), error) from error


def not_writable(path: str, error: OSError) -> OutputNotWritable:
    """The error for a file or folder, as shown to people, that could not be written."""
    reason = error.strerror or type(error).__name__
    return OutputNotWritable(
        f"cannot write {path}: {reason}; choose another output folder, or free space in this one"
    )

"""What a checkpoint says of itself, read without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cam_engine.errors import ArchitectureUnknown, CheckpointInvalid
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.assumed_inputs import recorded_preprocessing
from cam_engine.models.checkpoint_metadata import (
    NESTED,
    WANTED,
    accuracy_of,
    class_names_of,
    epoch_of,
    model_names_of,
    preprocessing_of,
)
from cam_engine.models.choosing import folder_guesses, known_name
from cam_engine.models.files.companions import beside
from cam_engine.models.files.scan import scan
from cam_engine.models.libraries.transformers_configs import (
    is_of_transformers,
    named_in_config,
    recorded_size,
)


@dataclass(frozen=True, slots=True)
class CheckpointHeader:
    """What a file says of itself; None where it is silent. Nothing here was checked on weights.

    architecture: the network that the file, else its folder, names; else the file's word for it.
    input_size: (height, width) in pixels, the network's own where the file is silent; None where
    the architecture is not known either. val_accuracy: 0..1.
    """

    path: Path
    architecture: str | None
    class_names: tuple[str, ...] | None
    input_size: tuple[int, int] | None
    val_accuracy: float | None
    epoch: int | None


def read_header(path: Path) -> CheckpointHeader:
    """The cheap facts of a checkpoint: no network is built, and no weight is read.

    Raises CheckpointNotFound, CheckpointInvalid or CheckpointUnsafe.
    """
    return header_of(path, scan(path, WANTED, NESTED))


def header_of(path: Path, metadata: Mapping[str, object]) -> CheckpointHeader:
    """The header of a checkpoint from what `scan` found in it, and what is beside it."""
    of_it = beside(path)
    metadata = {**of_it.said, **metadata, **of_it.overruling}
    said = model_names_of(metadata)
    known = (known_name(name) for name in (*said, *folder_guesses(path)))
    try:
        class_names = class_names_of(metadata, path)
    except CheckpointInvalid:  # loading will say so
        class_names = None
    unknown = next(iter((*said, *named_in_config(metadata))), None)
    architecture = next((name for name in known if name), unknown)
    return CheckpointHeader(
        path=path,
        architecture=architecture,
        class_names=class_names,
        input_size=_header_size(architecture, metadata, path),
        val_accuracy=accuracy_of(metadata),
        epoch=epoch_of(metadata),
    )


def _header_size(
    architecture: str | None, metadata: Mapping[str, object], path: Path
) -> tuple[int, int] | None:
    try:
        if is_of_transformers(metadata):
            said = {"image_size": recorded_size(metadata), **metadata}
            return preprocessing_of(said, path, Preprocessing()).input_size
        known = None if architecture is None else known_name(architecture)
        if known is None:
            return None
        return preprocessing_of(metadata, path, recorded_preprocessing(known)).input_size
    except (ArchitectureUnknown, CheckpointInvalid):  # loading will say so
        return None

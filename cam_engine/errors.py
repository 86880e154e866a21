"""Every error this library raises on purpose: a `CamError` with a stable, machine-readable code.

A message says what was wrong, where, and what to do about it. Codes are part of the public
contract: programs may compare them, so they never change their meaning.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import ClassVar

from cam_engine.short_names import speakable

_log = logging.getLogger(__name__)


class CamError(Exception):
    """Base of all errors of the library. `code` is stable; the message is for a person."""

    code: ClassVar[str] = "cam-error"

    def __str__(self) -> str:
        return speakable(super().__str__())  # paths are in it, which answers could not hold


class InvalidOption(CamError):
    """An option has a value that is unknown, out of range, or contradicts another."""

    code = "invalid-option"


class CheckpointNotFound(CamError):
    """There is no checkpoint file at the given path."""

    code = "checkpoint-not-found"


class CheckpointInvalid(CamError):
    """The file is not a checkpoint: damaged, empty, or without any model weights."""

    code = "checkpoint-invalid"


class CheckpointUnsafe(CamError):
    """The file is a pickle that would have to run code to be read; nothing in it was run."""

    code = "checkpoint-unsafe"


class ArchitectureUnknown(CamError):
    """Neither the checkpoint, its folder nor its weights name an architecture that is known."""

    code = "architecture-unknown"


class WeightsMismatch(CamError):
    """The weights do not fit the architecture; the message names the first keys that differ."""

    code = "weights-mismatch"


class ClassNamesMismatch(CamError):
    """The number of class names differs from the number of the classifier's outputs."""

    code = "class-names-mismatch"


class PageNotFound(CamError):
    """A page was asked for that the image file does not have."""

    code = "page-not-found"


class LayerNotFound(CamError):
    """A layer was asked for that the network does not have."""

    code = "layer-not-found"


class LayerNotSpatial(CamError):
    """A layer's output has no height and width, so that no map can be made from it."""

    code = "layer-not-spatial"


class MethodNotPossible(CamError):
    """A CAM method was asked for that is made of what the network, or its layer, does not have."""

    code = "method-not-possible"


class ClassNotFound(CamError):
    """A target class was asked for that the classifier does not have."""

    code = "class-not-found"


class NonFiniteOutput(CamError):
    """The network answered with NaN or infinity: damaged weights or input."""

    code = "non-finite-output"


class ImageNotFound(CamError):
    """There is no image file at the given path."""

    code = "image-not-found"


class InvalidImage(CamError):
    """The bytes are not a whole image in one of the formats that are read."""

    code = "invalid-image"


class ImageTooLarge(CamError):
    """The image has more bytes or pixels than the limits allow; it was not decoded."""

    code = "image-too-large"


class OutOfMemory(CamError):
    """The device has too little memory even for a single image."""

    code = "out-of-memory"


class ExperimentNotFound(CamError):
    """The folder is not there, or is neither an experiment, a run nor a results folder."""

    code = "experiment-not-found"


class DataUnavailable(CamError):
    """The bucket that data lie in does not answer, or does not let us in."""

    code = "data-unavailable"


class NoModelsFound(CamError):
    """The experiment holds no classification model (that matches the filter)."""

    code = "no-models-found"


class NoImagesFound(CamError):
    """No image was found where test images are expected."""

    code = "no-images-found"


class OutputNotWritable(CamError):
    """The output folder cannot be written to."""

    code = "output-not-writable"


class OutputBusy(CamError):
    """Another job or command is writing into the same output folder; `job` is the job's id."""

    code = "output-busy"

    def __init__(self, message: str, job: str | None = None) -> None:
        super().__init__(message)
        self.job = job


class PathOutsideRoot(CamError):
    """A path leads out of the data root, or could."""

    code = "path-outside-root"


class InternalError(CamError):
    """Something that should not happen happened to one item; the log says what."""

    code = "internal-error"


def error_of_item(error: Exception, item: str) -> CamError:
    """What one item's fault is to the others: its error, while the rest goes on.

    An error of ours is itself. Any other goes to the log with its type, and its words, which may
    say where things are on this machine, are not passed on.
    """
    if isinstance(error, CamError):
        return error
    kind = type(error).__name__
    where = traceback.extract_tb(error.__traceback__)[-1:]
    _log.error(
        "%s: unexpected %s at %s: %s",
        speakable(item),
        kind,
        "".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in where),
        error,
    )
    return InternalError(f"{item}: an unexpected error ({kind}), which the log names; report it")

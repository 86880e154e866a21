"""Files that belong to a checkpoint: a sidecar, and what Hugging Face's libraries write.

`best.json` beside `best.pt` is a sidecar: what a person corrects, which overrules the file.
`config.json` and `preprocessor_config.json` are read beside `*.safetensors` and `*.bin`. All of
them are part of the classifier's digest. Where the checkpoint is a link, they are looked for beside
it first, then beside what it links to, as Hugging Face's cache has them. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cam_engine.errors import CheckpointInvalid
from cam_engine.links import steps_of
from cam_engine.models.files.shards import is_index, parts_of_index, stem_of
from cam_engine.short_names import printable
from cam_engine.stores import access

SIDECAR_KEYS = (
    *("model_name", "class_names", "head", "input_size", "mean", "std", "weights"),
    *("val_acc", "epoch"),
)
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_SIDECAR = "sidecar"
_WITH_CONFIG = frozenset({".safetensors", ".bin"})
_MOST_BYTES = 1 << 22
_PER_BYTE = 1 / 255


def sidecar_of(checkpoint: Path) -> Path:
    """Where a checkpoint's sidecar is, if it has one: `best.pt` -> `best.json`.

    That of an index is named as that of its weights: `model.safetensors.index.json` ->
    `model.json`.
    """
    named = stem_of(checkpoint) if is_index(checkpoint) else checkpoint
    return named.with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Beside:
    """What the files say that belong to a checkpoint.

    said: those of a library. overruling: the sidecar. sidecar: its name.
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    overruling: Mapping[str, Any] = field(default_factory=dict)
    sidecar: str = ""


def companions(checkpoint: Path) -> tuple[Path, ...]:
    """The files beside a checkpoint that are there and belong to it, in the order they are read.

    Those that are links count where they lead into the folder of the checkpoint, or of what it
    links to.
    """
    try:
        return companions_along(checkpoint, steps_of(checkpoint))
    except OSError:
        return ()


def companions_along(checkpoint: Path, steps: Sequence[Path]) -> tuple[Path, ...]:
    """As `companions`, of a checkpoint whose `steps_of` are known."""
    parts = parts_beside(checkpoint).values() if is_index(checkpoint) else ()
    return tuple(dict.fromkeys([*_along(steps).values(), *(part for part in parts if part)]))


def parts_beside(index: Path) -> dict[str, Path | None]:
    """Where the parts of an index are, by their names; None for those that are not there.

    {} for an index that is damaged.
    """
    try:
        steps = steps_of(index)
        names = parts_of_index(index)
    except (OSError, CheckpointInvalid):
        return {}
    folders = {step.parent for step in steps}
    return {
        name: next((at for s in steps if _belongs(at := s.parent / name, folders)), None)
        for name in names
    }


def _companions(checkpoint: Path) -> dict[str, Path]:
    try:
        return _along(steps_of(checkpoint))
    except OSError:
        return {}


def _along(steps: Sequence[Path]) -> dict[str, Path]:
    """By what they are: the names of the library's files, and "sidecar"."""
    folders = {step.parent for step in steps}
    wanted = {
        name: [step.parent / name for step in steps]
        for name in (CONFIG, PREPROCESSOR)
        if any(step.suffix.lower() in _WITH_CONFIG or is_index(step) for step in steps)
    }
    wanted[_SIDECAR] = [sidecar_of(step) for step in steps]
    there = {
        what: next((path for path in paths if _belongs(path, folders)), None)
        for what, paths in wanted.items()
    }
    return {what: path for what, path in there.items() if path is not None}


def digest_with(sha256: str, checkpoint: Path) -> str:
    """SHA-256 (hex) of a classifier: that of its checkpoint, and of the files that belong to it."""
    there = companions(checkpoint)
    if not there:
        return sha256
    words = [
        sha256,
        *(f"{path.name} {_digest(path)}" for path in there),
    ]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def beside(checkpoint: Path) -> Beside:
    """What they say. Raises CheckpointInvalid for files that are damaged."""
    said: dict[str, Any] = {}
    overruling: dict[str, Any] = {}
    there = _companions(checkpoint)
    for what, path in there.items():
        values = _read(path)
        if what == _SIDECAR:
            overruling = {key: values[key] for key in SIDECAR_KEYS if values.get(key) is not None}
        elif what == PREPROCESSOR:
            said |= _preprocessor(values)
        else:
            said |= _config(values)
    sidecar = there.get(_SIDECAR, sidecar_of(checkpoint))
    return Beside(said, overruling, sidecar.name)


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of timm (architecture, pretrained_cfg), or of transformers (model_type, id2label)."""
    names = ("architecture", "id2label", "label_names", "pretrained_cfg", "model_args")
    said = {name: values[name] for name in names if values.get(name) is not None}
    if "model_type" in values:
        said["transformers"] = dict(values)
    return said


def _preprocessor(values: Mapping[str, Any]) -> dict[str, Any]:
    """https://huggingface.co/docs/transformers/main_classes/image_processor."""
    said: dict[str, Any] = _normalisation(values)
    if values.get("do_flip_channel_order"):
        said["do_flip_channel_order"] = True
    crop = values.get("crop_size") if values.get("do_center_crop") else None
    size = crop or values.get("size")
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = [size.get("height", edge), size.get("width", edge)]
    said["input_size"] = size
    return {key: value for key, value in said.items() if value is not None}


def _normalisation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Mean and std on the scale 0..1 that do all that is done to a value.

    Bytes are multiplied by rescale_factor, usually to 0..1, and by rescale_offset to -1..1; then
    normalised; and, for EfficientNets with include_top, divided by the deviation once more.
    """
    if values.get("do_normalize", True):
        mean, std = values.get("image_mean"), values.get("image_std")
    else:
        mean, std = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    factor = values.get("rescale_factor", _PER_BYTE) if values.get("do_rescale", True) else 1
    offset = 1 if values.get("rescale_offset") else 0
    of_efficientnet = "EfficientNet" in str(values.get("image_processor_type"))
    twice = of_efficientnet and values.get("include_top", True)
    again = values.get("image_std") if twice else [1.0]
    numbers = _numbers(mean), _numbers(std), _numbers(again), _numbers([factor])
    if (factor, offset, twice) == (_PER_BYTE, 0, False) or not all(numbers):
        return {"mean": mean, "std": std}
    means, deviations, others, (scale,) = numbers
    scale *= 255
    others = others * len(deviations) if len(others) == 1 else others
    return {
        "mean": [(mean_ + offset) / scale for mean_ in means],
        "std": [
            deviation * other / scale for deviation, other in zip(deviations, others, strict=False)
        ],
    }


def _numbers(values: object) -> list[float]:
    """The values where all are numbers, none else; a factor of 0 is none."""
    if not isinstance(values, list) or values == [0]:
        return []
    return [float(value) for value in values if isinstance(value, int | float)]


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(_content(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointInvalid(f"{path} is no JSON ({printable(str(error))[:200]})") from error
    if not isinstance(values, dict):
        raise CheckpointInvalid(f"{path} holds no JSON object")
    return values


def _digest(path: Path) -> str:
    if path.suffix.lower() == ".json":  # as much as is read of it; weights may be large
        return hashlib.sha256(_content(path)).hexdigest()
    try:
        access.bring(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read ({error.strerror})") from error


def _content(path: Path) -> bytes:
    try:
        access.bring(path)
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise CheckpointInvalid(f"{path} has more than {_MOST_BYTES:,} bytes")
    return data


def _belongs(path: Path, folders: set[Path]) -> bool:
    try:
        return path.is_file() and path.resolve().parent in folders
    except (OSError, RuntimeError):
        return False

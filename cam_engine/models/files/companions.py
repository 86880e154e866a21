"""Files that belong to a checkpoint: a sidecar, and what Hugging Face's libraries write.

`best.json` beside `best.pt` is a sidecar: what a person corrects, which overrules the file.
`config.json` and `preprocessor_config.json` are read beside `*.safetensors` and `*.bin`. All of
them are part of the classifier's digest. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cam_engine.errors import CheckpointInvalid
from cam_engine.short_names import printable

SIDECAR_KEYS = (
    *("model_name", "class_names", "head", "input_size", "mean", "std", "weights"),
    *("val_acc", "epoch"),
)
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_WITH_CONFIG = frozenset({".safetensors", ".bin"})
_MOST_BYTES = 1 << 22
_PER_BYTE = 1 / 255


def sidecar_of(checkpoint: Path) -> Path:
    """Where a checkpoint's sidecar is, if it has one: `best.pt` -> `best.json`."""
    return checkpoint.with_suffix(".json")


def companions(checkpoint: Path) -> tuple[Path, ...]:
    """The files beside a checkpoint that are there and belong to it, in the order they are read.

    Links are followed only within the folder of the checkpoint, or of what it links to.
    """
    names = [checkpoint.parent / name for name in (CONFIG, PREPROCESSOR)]
    wanted = [*(names if checkpoint.suffix.lower() in _WITH_CONFIG else ()), sidecar_of(checkpoint)]
    return tuple(dict.fromkeys(path for path in wanted if _belongs(path, checkpoint)))


def digest_with(sha256: str, checkpoint: Path) -> str:
    """SHA-256 (hex) of a classifier: that of its checkpoint, and of the files that belong to it."""
    there = companions(checkpoint)
    if not there:
        return sha256
    words = [
        sha256,
        *(f"{path.name} {hashlib.sha256(_content(path)).hexdigest()}" for path in there),
    ]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def beside(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what the library's files say, what the sidecar says), {} where there are none.

    Raises CheckpointInvalid for files that are damaged.
    """
    said: dict[str, Any] = {}
    overruling: dict[str, Any] = {}
    for path in companions(checkpoint):
        values = _read(path)
        if path == sidecar_of(checkpoint):
            overruling = {key: values[key] for key in SIDECAR_KEYS if values.get(key) is not None}
        elif path.name == PREPROCESSOR:
            said |= _preprocessor(values)
        else:
            said |= _config(values)
    return said, overruling


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
        "mean": [(one + offset) / scale for one in means],
        "std": [one * other / scale for one, other in zip(deviations, others, strict=False)],
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


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise CheckpointInvalid(f"{path} cannot be read ({error.strerror})") from error
    if len(data) > _MOST_BYTES:
        raise CheckpointInvalid(f"{path} has more than {_MOST_BYTES:,} bytes")
    return data


def _belongs(path: Path, checkpoint: Path) -> bool:
    try:
        if not path.is_file():
            return False
        return path.resolve().parent in {
            checkpoint.parent.resolve(),
            checkpoint.resolve().parent,
        }
    except (OSError, RuntimeError):
        return False

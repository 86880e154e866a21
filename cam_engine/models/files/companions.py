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
    said: dict[str, Any] = {}
    if values.get("do_normalize", True):
        said |= {"mean": values.get("image_mean"), "std": values.get("image_std")}
    else:
        said |= {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    crop = values.get("crop_size") if values.get("do_center_crop") else None
    size = crop or values.get("size")
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = [size.get("height", edge), size.get("width", edge)]
    said["input_size"] = size
    return {key: value for key, value in said.items() if value is not None}


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

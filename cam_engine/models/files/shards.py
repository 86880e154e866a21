"""Weights in several files, as `save_pretrained` writes large networks: an index, and its parts.

`model.safetensors.index.json` says in which file beside it each tensor is
(https://huggingface.co/docs/transformers/big_models).
"""

from __future__ import annotations

import json
from pathlib import Path

from cam_engine.errors import CheckpointInvalid
from cam_engine.stores import access

_END = ".index.json"
_MOST_BYTES = 1 << 25
_MOST_PARTS = 500


def is_index(path: Path) -> bool:
    """Whether a file of that name is the index of weights in several files."""
    return path.name.lower().endswith(_END)


def stem_of(index: Path) -> Path:
    """`model.safetensors.index.json` -> `model.safetensors`."""
    return index.with_name(index.name[: -len(_END)])


def parts_of_index(index: Path) -> dict[str, frozenset[str]]:
    """Names of the parts, and which tensors are in each. Raises CheckpointInvalid."""
    try:
        access.bring(index)
        with index.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        places = json.loads(content)["weight_map"] if len(content) <= _MOST_BYTES else None
    except OSError as error:
        raise CheckpointInvalid(f"{index} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise CheckpointInvalid(
            f"{index} is no index of weights ({type(error).__name__})"
        ) from error
    if not isinstance(places, dict) or not places:
        raise CheckpointInvalid(f"{index} names no weights")
    parts: dict[str, set[str]] = {}
    for key, name in places.items():
        if not isinstance(name, str) or name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise CheckpointInvalid(f"{index} names a part that is no file beside it")
        parts.setdefault(name, set()).add(key)
    if len(parts) > _MOST_PARTS:
        raise CheckpointInvalid(f"{index} names more than {_MOST_PARTS} parts")
    return {name: frozenset(keys) for name, keys in parts.items()}

"""Which of torchvision's networks weights are of, by their keys and shapes alone.

To build each network for a comparison would take a minute; so what their bodies consist of is kept
as digests (`python -m scripts.generate_signatures` makes them anew).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from torch import Tensor

from cam_engine.models.networks import AUXILIARY

FILE = "torchvision_signatures.json"
COUNTER = "num_batches_tracked"  # absent from old checkpoints, and without a part in inference


@cache
def _known() -> Mapping[str, Mapping[str, list[str]]]:
    """Region of the head -> digest of the body -> names."""
    text = files("cam_engine.models.libraries").joinpath(FILE).read_text(encoding="utf-8")
    known: dict[str, dict[str, list[str]]] = json.loads(text)
    return known


def names_of(weights: Mapping[str, Tensor]) -> list[str]:
    """The networks whose bodies consist of just these tensors, by their names in torchvision."""
    return [
        name
        for region, digests in _known().items()
        for name in digests.get(body_digest(weights, region), [])
    ]


def body_digest(weights: Mapping[str, Tensor], region: str) -> str:
    """SHA-256 (hex) of keys and shapes, but for the head's, auxiliary ones' and counters'."""
    starts = tuple(f"{name}." for name in (region, *AUXILIARY))
    lines = (
        f"{key} {tuple(tensor.shape)}"
        for key, tensor in weights.items()
        if not key.startswith(starts) and not key.endswith(COUNTER)
    )
    return _digest(lines)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

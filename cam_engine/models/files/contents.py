"""Checkpoint files as untrusted input: read without running anything that they say.

A checkpoint is a pickle, and unpickling runs whatever the file names. Here nothing is unpickled:
`scan` follows the file, and tensors are made of the numbers that it stores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

import safetensors.torch
from torch import Tensor

from cam_engine.errors import CheckpointInvalid
from cam_engine.models.files.companions import parts_beside
from cam_engine.models.files.foreign import foreign_tensors
from cam_engine.models.files.opening import Saved, diagnosed, opened, saved_in
from cam_engine.models.files.pickles.module_records import ModuleRecord
from cam_engine.models.files.pickles.reading import Stored
from cam_engine.models.files.safetensors_headers import is_safetensors
from cam_engine.models.files.scan import described, said_in_safetensors
from cam_engine.models.files.shards import is_index, parts_of_index
from cam_engine.models.files.sorting import check_keys, sorted_out
from cam_engine.models.files.tensor_reading import TensorReader
from cam_engine.short_names import first

_MASK, _UNPRUNED = "_mask", "_orig"
_NUMBER = re.compile(r"([0-9]{1,9})")


@dataclass(frozen=True, slots=True, eq=False)
class CheckpointContents:
    """What a file holds: the state dict as saved, and the entries beside it as plain values.

    record: where a whole network was saved, its modules. remarks: what was left aside, as
    sentences.
    """

    weights: Mapping[str, Tensor]
    metadata: Mapping[str, object]
    record: ModuleRecord | None = None
    remarks: tuple[str, ...] = ()


def read_contents(
    file: BufferedReader,
    path: Path,
    wanted: frozenset[str],
    nested: frozenset[str],
    *,
    averaged: bool = False,
) -> CheckpointContents:
    """The weights in the file, on the CPU, and what `scan` finds beside them.

    averaged: the averages of several steps in place of the last weights. Raises CheckpointUnsafe
    for a file that is made to run code, CheckpointInvalid for what is damaged, costs too much, or
    holds no weights, or none of those asked for.
    """
    if is_index(path):
        return _of_parts(path, averaged=averaged)
    if is_safetensors(file, path):
        if averaged:
            raise CheckpointInvalid(f"{path} holds no averaged weights beside others")
        metadata = said_in_safetensors(file, path, wanted, nested)
        with diagnosed(path):
            file.seek(0)
            weights = safetensors.torch.load(file.read())
            check_keys(weights, path)
            # The format keeps no order, by which layers of a head are told from each other.
            ordered = {key: weights[key] for key in sorted(weights, key=_by_numbers)}
            return CheckpointContents(ordered, metadata)
    with saved_in(file, path) as saved:
        entries = sorted_out(saved.read.value, path, averaged=averaged)
        check_keys(entries.weights, path, saved.read.names)
        reader = TensorReader(partial(_numbers, saved))
        read = {key: reader.read(note) for key, note in entries.weights.items()}
        metadata = described(entries, saved, wanted, nested)
    weights = {key: tensor for key, tensor in read.items() if tensor is not None}
    weights, pruned = _without_masks(weights)
    remarks = []
    if pruned:
        remarks.append(f"weights that were pruned are used as their masks say: {first(pruned)}")
    if unread := [key for key, tensor in read.items() if tensor is None]:
        kinds = sorted({entries.weights[key].call.name[:80] for key in unread})
        if (what := foreign_tensors(kinds)) is not None:
            raise CheckpointInvalid(f"{path} holds {what}")
        remarks.append(f"tensors of kinds that are not read ({', '.join(kinds)}): {first(unread)}")
    if entries.averaged:
        remarks.append(
            f"averaged weights are in the file too, and not used: {', '.join(entries.averaged)}"
        )
    if entries.others:
        remarks.append(
            f"other networks are in the file too, and not used: {', '.join(entries.others)}"
        )
    return CheckpointContents(weights, metadata, entries.record, tuple(remarks))


def _of_parts(index: Path, *, averaged: bool) -> CheckpointContents:
    """Weights that are in several files."""
    if averaged:
        raise CheckpointInvalid(f"{index} holds no averaged weights beside others")
    weights: dict[str, Tensor] = {}
    places = parts_beside(index)
    for name, keys in parts_of_index(index).items():
        part = places.get(name)
        if part is None:
            raise CheckpointInvalid(f"{index} names {name}, which is not beside it: copy it there")
        with opened(part) as file:
            read = read_contents(file, part, frozenset(), frozenset())
        if not read.weights.keys() >= keys:
            missing = first(sorted(keys - read.weights.keys()))
            raise CheckpointInvalid(f"{part} does not hold what {index.name} says: {missing}")
        weights |= {key: read.weights[key] for key in read.weights if key in keys}
    ordered = {key: weights[key] for key in sorted(weights, key=_by_numbers)}
    return CheckpointContents(ordered, {})


def _without_masks(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """What `torch.nn.utils.prune` splits, put together; and the names of those weights."""
    masks = [
        key.removesuffix(_MASK)
        for key, mask in weights.items()
        if key.endswith(_MASK) and getattr(weights.get(_unpruned(key)), "shape", None) == mask.shape
    ]
    together = {key: weights[f"{key}{_UNPRUNED}"] * weights[f"{key}{_MASK}"] for key in masks}
    parts = {f"{key}{end}" for key in masks for end in (_UNPRUNED, _MASK)}
    kept = {key: tensor for key, tensor in weights.items() if key not in parts}
    return {**kept, **together}, masks


def _unpruned(mask: str) -> str:
    return mask.removesuffix(_MASK) + _UNPRUNED


def _by_numbers(key: str) -> list[tuple[int, str]]:
    """Sorts "head.10" after "head.2"."""
    parts = _NUMBER.split(key)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _numbers(saved: Saved, stored: Stored) -> bytes:
    numbers = saved.numbers(stored.key, None)
    if numbers is None:
        raise ValueError("the numbers of a tensor are not in the file")
    return numbers

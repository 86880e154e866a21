"""Checkpoint files as untrusted input: read without running anything that they say.

A checkpoint is a pickle, and unpickling runs whatever the file names. Here nothing is unpickled:
`scan` follows the file, and tensors are made of the numbers that it stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

import safetensors.torch
from torch import Tensor

from cam_engine.errors import CheckpointInvalid
from cam_engine.models.files.module_records import ModuleRecord
from cam_engine.models.files.pickle_reading import Stored
from cam_engine.models.files.safetensors_headers import SUFFIX
from cam_engine.models.files.scan import (
    Saved,
    described,
    diagnosed,
    said_in_safetensors,
    saved_in,
    sorted_out,
)
from cam_engine.models.files.tensor_reading import TensorReader
from cam_engine.short_names import first


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
    if path.suffix.lower() == SUFFIX:
        if averaged:
            raise CheckpointInvalid(f"{path} holds no averaged weights beside others")
        metadata = said_in_safetensors(file, path, wanted, nested)
        with diagnosed(path):
            file.seek(0)
            return CheckpointContents(safetensors.torch.load(file.read()), metadata)
    with saved_in(file, path) as saved:
        entries = sorted_out(saved.read.value, path, averaged=averaged)
        reader = TensorReader(partial(_numbers, saved))
        read = {key: reader.read(note) for key, note in entries.weights.items()}
        metadata = described(entries, saved, wanted, nested)
    weights = {key: tensor for key, tensor in read.items() if tensor is not None}
    remarks = []
    if unread := [key for key in read if key not in weights]:
        kinds = sorted({entries.weights[key].call.name[:80] for key in unread})
        remarks.append(f"tensors of kinds that are not read ({', '.join(kinds)}): {first(unread)}")
    if entries.averaged:
        remarks.append(
            f"averaged weights are in the file too, and not used: {', '.join(entries.averaged)}"
        )
    return CheckpointContents(weights, metadata, entries.record, tuple(remarks))


def _numbers(saved: Saved, stored: Stored) -> bytes:
    numbers = saved.numbers(stored.key, None)
    if numbers is None:
        raise ValueError("the numbers of a tensor are not in the file")
    return numbers

"""What checkpoint files say of themselves.

Nothing here needs torch: a process that only looks at files starts at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BufferedReader
from pathlib import Path

from cam_engine.models.files.opening import Saved, check_size, diagnosed, opened, saved_in
from cam_engine.models.files.pickles.fastai_records import fastai_facts, is_of_fastai
from cam_engine.models.files.pickles.values import plain, shallow
from cam_engine.models.files.safetensors_headers import is_safetensors, read_said
from cam_engine.models.files.shards import is_index, parts_of_index
from cam_engine.models.files.sorting import Entries, check_keys, sorted_out


def scan(path: Path, wanted: Collection[str], nested: Collection[str]) -> dict[str, object]:
    """What a checkpoint says of itself, without torch and without running anything.

    Entries beside the weights: those of these names, and those within the entries that are named as
    nested; None, numbers, text, lists and dicts. Raises CheckpointNotFound, CheckpointInvalid or
    CheckpointUnsafe.
    """
    with opened(path) as file:
        if is_index(path):
            parts_of_index(path)
            return {}
        if is_safetensors(file, path):
            return said_in_safetensors(file, path, wanted, nested)
        with saved_in(file, path) as saved:
            entries = sorted_out(saved.read.value, path)
            check_keys(entries.weights, path, saved.read.names)
            return described(entries, saved, wanted, nested)


def said_in_safetensors(
    file: BufferedReader, path: Path, wanted: Collection[str], nested: Collection[str]
) -> dict[str, object]:
    """As `described`, of a file of that format. Raises CheckpointInvalid."""
    with diagnosed(path):
        check_size(file, path)
        said = read_said(file)
    return {key: value for key, value in said.items() if key in wanted or key in nested}


def described(
    entries: Entries, saved: Saved, wanted: Collection[str], nested: Collection[str]
) -> dict[str, object]:
    """The entries beside the weights as plain values, as `scan` has them. Raises ValueError.

    None stands for values of kinds that are not read.
    """
    said: dict[str, object] = {}
    if is_of_fastai(saved.read.names):
        known = fastai_facts(entries.beside.values(), saved.numbers)
        said = {key: value for key, value in known.items() if key in wanted}
    said |= {
        key: plain(value, saved.numbers)
        for key, value in entries.beside.items()
        if key in wanted and value is not None
    }
    for name in nested:
        within = shallow(entries.beside.get(name))
        if isinstance(within, Mapping):
            said[name] = {
                str(key): plain(value, saved.numbers)
                for key, value in within.items()
                if key in wanted and value is not None
            }
    return said

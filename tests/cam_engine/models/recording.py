"""Whole networks as records of a file, for several tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cam_engine.models.files.opening import opened, saved_in
from cam_engine.models.files.pickles.module_records import ModuleRecord, module_record


def recorded(folder: Path, saved: object, **options: Any) -> ModuleRecord:
    """The record of a module that is saved by torch, with these options, and read again."""
    path = folder / "best.pt"
    torch.save(saved, path, **options)
    with opened(path) as file, saved_in(file, path) as held:
        record = module_record(held.read.value)
    assert record is not None
    return record

"""Paths of data that are given on a command line, which may be in a bucket."""

from __future__ import annotations

import argparse
from pathlib import Path

from cam_engine.errors import CamError
from cam_engine.stores import access
from cam_engine.stores.access import MirrorOptions

_PATIENT = MirrorOptions(patience_seconds=30.0)  # nobody waits for the next second


def data_path(text: str) -> Path:
    """The path, or the place in its mirror of s3://bucket/prefix; for argparse."""
    try:
        return access.local(Path(text), _PATIENT)
    except CamError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def own_path(text: str) -> Path:
    """A path that cannot be in a bucket; for argparse."""
    path = Path(text)
    if access.is_in_bucket(path):
        raise argparse.ArgumentTypeError(f"{text}: name a folder or file of this machine")
    return path


def see(path: Path) -> None:
    """Look whether a file or folder is there, and what is beside it. Raises DataUnavailable."""
    access.look_into(path.parent)
    if path.is_dir():
        access.look_into(path)


def output_beside(experiment: Path, name: str) -> Path:
    """The default folder for what is made of an experiment: in it, or here if it is in a bucket."""
    return Path(name, experiment.name) if access.is_mirrored(experiment) else experiment / name

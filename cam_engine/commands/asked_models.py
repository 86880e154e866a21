"""Checkpoints as a command line asks for them: with the classes, size and head that it names."""

from __future__ import annotations

import argparse
from pathlib import Path

from cam_engine.errors import InvalidOption
from cam_engine.maps.explainer import Explainer
from cam_engine.models.loading import Classifier, load_classifier


def load_asked(checkpoint: Path, arguments: argparse.Namespace) -> Classifier:
    """Load it. Raises InvalidOption and what `load_classifier` raises."""
    size = arguments.input_size
    if size is not None and len(size) > 2:
        raise InvalidOption("--input-size takes one side, or a height and a width")
    return load_classifier(
        checkpoint,
        class_names=getattr(arguments, "class_names", None),
        input_size=None if size is None else (size[0], size[-1]),
        mean=arguments.mean and tuple(arguments.mean),
        std=arguments.std and tuple(arguments.std),
        head=arguments.head,
        network=arguments.network,
        averaged=arguments.averaged,
        trusted=arguments.trust_file,
    )


def explainer_asked(checkpoint: Path, arguments: argparse.Namespace) -> Explainer:
    """Load it, for the device, precision and batch size that are asked for."""
    classifier = load_asked(checkpoint, arguments)
    return Explainer(
        classifier,
        device=arguments.device,
        precision=arguments.precision,
        batch_size=_batch_size(classifier, arguments.batch_size),
    )


def _batch_size(classifier: Classifier, asked: int | None) -> int | None:
    """What was asked for, as far as the network takes that. Raises InvalidOption."""
    most = classifier.most_images
    if most is not None and asked is not None and asked > most:
        raise InvalidOption(f"--batch-size {asked}: the network takes {most} at a time")
    return asked if most is None else most

"""Checkpoints as a command line asks for them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from cam_engine.commands import asked_models
from cam_engine.commands.arguments import add_images_arguments
from cam_engine.commands.asked_models import explainer_asked, load_asked
from cam_engine.errors import InvalidOption
from cam_engine.models.loading import Classifier, load_classifier

FOCAL = "cls_mobilenet_v3_small_focal/best.pt"


def asked(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_images_arguments(parser)
    return parser.parse_args(["--model", "m", "--images", "i", *options])


def test_options_overrule_the_file(lifecycle: Path) -> None:
    read = load_asked(
        lifecycle / FOCAL,
        asked(
            *("--class-names", "a", "b", "c", "d", "--input-size", "96", "128"),
            *("--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25"),
        ),
    )
    assert read.class_names == ("a", "b", "c", "d")
    assert read.preprocessing.input_size == (96, 128)
    assert (read.preprocessing.mean, read.preprocessing.std) == ((0.5,) * 3, (0.25,) * 3)


def test_one_side_is_both_and_nothing_is_the_files_own(lifecycle: Path) -> None:
    assert load_asked(lifecycle / FOCAL, asked("--input-size", "96")).preprocessing.input_size == (
        96,
        96,
    )
    assert load_asked(lifecycle / FOCAL, asked()).class_names[1] == "ring"
    with pytest.raises(InvalidOption, match="one side, or a height and a width"):
        load_asked(lifecycle / FOCAL, asked("--input-size", "1", "2", "3"))


def test_the_explainer_has_device_precision_and_batch(lifecycle: Path) -> None:
    made = explainer_asked(
        lifecycle / FOCAL, asked("--device", "cpu", "--precision", "float32", "--batch-size", "3")
    )
    assert made.batch_size == 3
    assert "float32" in made.precision.describe()


def test_a_network_that_takes_so_many_at_a_time_is_not_given_more(
    lifecycle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(checkpoint: Path, _arguments: argparse.Namespace) -> Classifier:
        return replace(load_classifier(checkpoint), most_images=2)

    monkeypatch.setattr(asked_models, "load_asked", read)
    assert explainer_asked(lifecycle / FOCAL, asked()).batch_size == 2
    with pytest.raises(InvalidOption, match="--batch-size 3: the network takes 2 at a time"):
        explainer_asked(lifecycle / FOCAL, asked("--batch-size", "3"))

"""Mean and std that no file records are tried on crops whose classes are known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cam_engine.commands import exit_status
from cam_engine.commands.assumed_statistics import (
    AS_READ,
    USUAL,
    Compared,
    compare_statistics,
    labelled_crops,
    warning,
)
from cam_engine.experiments.finding import Experiment
from cam_engine.images.preparing import IMAGENET_MEAN, IMAGENET_STD
from cam_engine.models.loading import load_classifier
from service.commands.arguments import main

pytestmark = pytest.mark.usefixtures("one_thread")

FOCAL = "cls_mobilenet_v3_small_focal"
HALF = "mean and std of 0.5"
BUNDLED = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}  # of the bundled networks


def as_if_trained_with_halves(saved: dict[str, Any]) -> dict[str, Any]:
    """The same network for (x - 0.5) / 0.5: its first convolution takes on the difference.

    Where ImageNet's statistics give a, and 0.5 b, a = b * (0.5 / std) + (0.5 - mean) / std. (But
    for the image's edges: zeros around it are another grey then.)
    """
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    weights = dict(saved["model_state_dict"])
    first = weights["features.0.0.weight"]
    shift = (first.sum((2, 3)) * ((0.5 - mean) / std)).sum(1)
    weights["features.0.0.weight"] = first * (0.5 / std).view(1, 3, 1, 1)
    weights["features.0.1.running_mean"] = weights["features.0.1.running_mean"] - shift
    return {**saved, "model_state_dict": weights}


@pytest.fixture
def experiment(lifecycle: Path, tmp_path: Path) -> Path:
    """The bundled one with a single classifier."""
    folder = tmp_path / "experiment_lifecycle"
    shutil.copytree(lifecycle / "crops_gt_crops", folder / "crops_gt_crops")
    shutil.copytree(lifecycle / FOCAL, folder / FOCAL)
    return folder


@pytest.fixture
def change(experiment: Path) -> Callable[..., Path]:
    """Saves the classifier anew, changed and with more entries."""

    def saved(how: Callable[[dict[str, Any]], dict[str, Any]], **entries: object) -> Path:
        path = experiment / FOCAL / "best.pt"
        held = torch.load(path, weights_only=True)
        torch.save({**how(held), **entries}, path)
        return path

    return saved


def inspected(capsys: pytest.CaptureFixture[str], path: Path, *more: str) -> dict[str, Any]:
    assert main(["inspect", str(path), "--json", *more]) == exit_status.DONE
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)[0]
    return answer


def statistics_notices(answer: dict[str, Any]) -> list[str]:
    return [said for said in answer["notices"] if "mean and std" in said]


def test_statistics_that_are_assumed_wrongly_are_warned_of_with_what_to_write(
    experiment: Path, change: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = change(as_if_trained_with_halves)
    answer = inspected(capsys, experiment)
    (said,) = statistics_notices(answer)
    statistics = answer["statistics"]
    assert statistics["crops"] == 64
    assert statistics["right"][HALF] >= 60
    assert statistics["right"][AS_READ] <= 48
    assert statistics["better"] == {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    line = '{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}'
    assert said.endswith(f"write {line} into best.json beside it")
    assert answer["mean"] == pytest.approx(IMAGENET_MEAN)  # nothing is changed by itself

    checkpoint.with_suffix(".json").write_text(line)
    answer = inspected(capsys, checkpoint)
    assert answer["mean"] == [0.5, 0.5, 0.5]
    assert answer["statistics"] is None
    assert not statistics_notices(answer)


def test_the_warning_is_there_for_a_person_and_for_one_file_of_an_experiment(
    change: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = change(as_if_trained_with_halves)
    assert main(["inspect", str(checkpoint)]) == exit_status.DONE
    said = capsys.readouterr().out
    assert "mean and std are assumed, and others fit better: of 64 labelled crops" in said
    assert "tried on 64 labelled crops: right are" in said


def test_statistics_that_are_assumed_rightly_are_tried_on_few_crops_and_not_warned_of(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = inspected(capsys, experiment)
    assert not statistics_notices(answer)
    assert answer["statistics"]["crops"] == 16
    assert answer["statistics"]["right"][AS_READ] == 16
    assert answer["statistics"]["better"] is None


@pytest.mark.parametrize(
    "recorded", [{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, {"std": [0.225]}]
)
def test_statistics_that_the_file_records_are_believed(
    experiment: Path,
    change: Callable[..., Path],
    recorded: dict[str, object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(as_if_trained_with_halves, **recorded)
    answer = inspected(capsys, experiment)
    assert answer["statistics"] is None
    assert not statistics_notices(answer)


def test_a_sidecar_does_not_make_of_doubtful_statistics_recorded_ones(
    change: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = change(as_if_trained_with_halves)
    inspected(capsys, checkpoint, "--write-sidecar")
    written = json.loads(checkpoint.with_suffix(".json").read_text())
    assert written["model_name"] == "mobilenet_v3_small"
    assert not {"mean", "std"} & written.keys()
    (said,) = statistics_notices(inspected(capsys, checkpoint))
    assert 'add "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] to best.json' in said


def test_a_sidecar_has_statistics_that_crops_confirm_or_that_are_recorded(
    experiment: Path,
    change: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What nobody knows does not become what a file says: the next look would believe it."""
    checkpoint = experiment / FOCAL / "best.pt"
    alone = tmp_path / "alone.pt"
    shutil.copy(checkpoint, alone)
    assert main(["inspect", str(alone), "--write-sidecar"]) == exit_status.DONE
    assert "without mean and std, which are assumed" in capsys.readouterr().out
    assert not {"mean", "std"} & json.loads(alone.with_suffix(".json").read_text()).keys()

    inspected(capsys, checkpoint, "--write-sidecar")
    written = json.loads(checkpoint.with_suffix(".json").read_text())
    assert written["mean"] == list(IMAGENET_MEAN)
    checkpoint.with_suffix(".json").unlink()

    shutil.copy(change(lambda saved: saved, mean=[0.1] * 3, std=[0.2] * 3), alone)
    alone.with_suffix(".json").unlink()
    inspected(capsys, alone, "--write-sidecar")
    assert json.loads(alone.with_suffix(".json").read_text())["mean"] == [0.1] * 3


def test_crops_of_no_class_or_of_one_tell_nothing(
    experiment: Path, change: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    change(as_if_trained_with_halves)
    for split in ("val", "test"):
        crops = experiment / "crops_gt_crops" / "crops" / split
        for name in ("ring", "schizont", "trophozoite"):
            (crops / name).rename(crops / f"some {name}")
    answer = inspected(capsys, experiment)
    assert answer["statistics"] is None


def test_crops_that_the_network_was_trained_on_are_the_last_choice(experiment: Path) -> None:
    crops = experiment / "crops_gt_crops" / "crops"
    test, val = crops / "test", crops / "val"
    labelled = labelled_crops(Experiment(experiment))
    assert {crop.path.parents[1] for crop in labelled} == {test, val}
    shutil.rmtree(val)
    test.rename(crops / "train")
    labelled = labelled_crops(Experiment(experiment))
    assert {crop.path.parents[1].name for crop in labelled} == {"train"}


class OneClassForAll(nn.Module):
    """Says "ring" of all inputs that are nowhere below 0, else what no crop is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch: Tensor) -> Tensor:
        never_below = batch.amin((1, 2, 3)) >= 0
        ring = torch.tensor([0.0, 9.0, 0.0, 0.0, 0.0])
        other = torch.tensor([0.0, 0.0, 0.0, 0.0, 9.0])
        return torch.where(never_below[:, None], ring, other) * self.scale


def test_always_the_same_class_is_no_merit_of_statistics(experiment: Path) -> None:
    classifier = replace(
        load_classifier(experiment / FOCAL / "best.pt"),
        network=OneClassForAll(),
        class_names=("gametocyte", "ring", "schizont", "trophozoite", "white cell"),
    )
    compared = compare_statistics(classifier, labelled_crops(Experiment(experiment)))
    assert compared is not None
    assert sorted(compared.right.values()) == [0, 0, 16]
    assert compared.better is None


def test_a_run_with_far_fewer_right_than_in_validation_points_to_it(
    experiment: Path,
    change: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run() -> str:
        words = ["--exp-folder", str(experiment), "--output-base", str(tmp_path / "out")]
        assert main(["experiment", *words, "--layers", "late", "--no-clahe"]) == exit_status.DONE
        return "".join(capsys.readouterr())

    assert "gradcam inspect" not in run()
    change(as_if_trained_with_halves)
    said = run()
    assert " of 10 images are right, where the file says 99% in validation" in said
    assert "gradcam inspect tries others on labelled crops" in said


def test_no_warning_without_better_statistics() -> None:
    assert warning(Compared(16, {AS_READ: 16}), "best.json", is_there=False) is None


def test_lines_for_a_sidecar_are_json_that_is_read() -> None:
    for usual in USUAL:
        assert json.loads(f"{{{usual.in_sidecar}}}") == {
            "mean": list(usual.mean),
            "std": list(usual.std),
        }

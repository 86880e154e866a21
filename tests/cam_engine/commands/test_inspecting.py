"""`gradcam inspect`: what is read of checkpoints, where it is from, and what cannot be."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from cam_engine.commands import exit_status
from service.commands.arguments import main

pytestmark = pytest.mark.usefixtures("one_thread")

FOCAL = "cls_mobilenet_v3_small_focal"


def inspect(*arguments: object) -> int:
    return main(["inspect", *map(str, arguments)])


@pytest.fixture
def experiment(lifecycle: Path, tmp_path: Path) -> Path:
    """The bundled one, with a model that cannot be read, and images of a class it does not have."""
    folder = tmp_path / "experiment_lifecycle"
    shutil.copytree(lifecycle, folder)
    broken = folder / "cls_broken"
    broken.mkdir()
    (broken / "best.pt").write_bytes(b"nothing")
    crops = folder / "crops_gt_crops/crops/test"
    (crops / "ring").rename(crops / "Uninfected")
    return folder


def test_all_of_an_experiment_is_told_and_one_that_cannot_be_read_hides_no_other(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(experiment) == exit_status.SOME_FAILED
    said = capsys.readouterr()
    assert said.out.count("mobilenet_v3_small (torchvision naming)") == 2
    assert said.out.count("model_name 'mobilenet_v3_small'") == 2
    assert len(re.findall(r"early \S+ 28x28; mid \S+ 14x14; late \S+ 7x7", said.out)) == 2
    assert "folders that are no class of it: Uninfected" in said.out
    assert "cls_broken/best.pt: error [checkpoint-invalid]" in said.err


def test_json_has_all_of_it(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(experiment, "--json")
    broken, *read = sorted(json.loads(capsys.readouterr().out), key=len)
    assert broken["error"]["code"] == "checkpoint-invalid"
    for one in read:
        assert one["class_names"] == ["gametocyte", "ring", "schizont", "trophozoite"]
        assert one["sources"]["class_names"] == "in the file"
        assert one["head"]["layers"].endswith("dropout linear")
        assert [layer["grid"] for layer in one["layers"]] == [[28, 28], [14, 14], [7, 7]]


def test_a_sidecar_is_written_once_and_overrules_when_corrected(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = experiment / FOCAL / "best.pt"
    assert inspect(checkpoint, "--write-sidecar") == exit_status.DONE
    sidecar = experiment / FOCAL / "best.json"
    values = json.loads(sidecar.read_text())
    assert values["input_size"] == [224, 224]
    capsys.readouterr()
    inspect(checkpoint, "--json")
    (before,) = json.loads(capsys.readouterr().out)
    sidecar.write_text(json.dumps({**values, "class_names": ["a", "b", "c", "d"]}))
    inspect(experiment / FOCAL, "--json")
    (after,) = json.loads(capsys.readouterr().out)
    assert after["class_names"] == ["a", "b", "c", "d"]
    assert after["sources"]["class_names"] == "best.json"
    assert after["sha256"] != before["sha256"]
    with pytest.raises(SystemExit) as refused:
        raise SystemExit(inspect(checkpoint, "--write-sidecar"))
    assert refused.value.code == exit_status.NOTHING_DONE
    assert "is there already" in capsys.readouterr().err


def test_a_head_in_words_goes_into_the_sidecar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
    path = tmp_path / "best.pt"
    torch.save({"model": network.state_dict(), "arch": "resnet18"}, path)
    assert inspect(path) == exit_status.NOTHING_DONE
    assert '--head "linear relu dropout linear"' in capsys.readouterr().err
    words = "linear silu dropout linear"
    assert inspect(path, "--head", words, "--write-sidecar") == exit_status.DONE
    assert json.loads((tmp_path / "best.json").read_text())["head"] == words
    assert inspect(path) == exit_status.DONE
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nothing.pt", "."])
def test_where_nothing_is_to_be_read_is_said(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(tmp_path / name) == exit_status.NOTHING_DONE
    assert "error [" in capsys.readouterr().err

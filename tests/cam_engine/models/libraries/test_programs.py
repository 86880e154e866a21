"""Programs of `torch.export`, by who trusts them: explained as the networks they were made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cam_engine import CamOptions, Explainer
from cam_engine.commands.arguments import add_experiment_arguments, images_main
from cam_engine.commands.inspecting import run_inspect
from cam_engine.errors import ArchitectureUnknown, CamError, CheckpointUnsafe, InvalidOption
from cam_engine.models.header_reading import read_header
from cam_engine.models.libraries.plugins import OwnNetwork
from cam_engine.models.loading import load_classifier
from tests.cam_engine.models.kinds import plain, save, settled, timms

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SIDE = 96
TOLERANCE = 1e-4


class OfALab(nn.Module):
    """A network that no library has, and whose code is not here when it is explained."""

    def __init__(self) -> None:
        super().__init__()
        stages = []
        for before, after in ((3, 8), (8, 16), (16, 24), (24, 32), (32, 32)):
            stages += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.out = nn.Linear(32, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(images).square()
        answer: Tensor = self.out(features.mean((2, 3)))
        return answer


def of_a_lab() -> nn.Module:
    torch.manual_seed(0)
    return settled(OfALab())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: settled(plain()),
    "vision transformer": lambda: timms("vit_tiny_patch16_224", img_size=SIDE),
    "of a lab": of_a_lab,
}


def exported(network: nn.Module, path: Path, *, images: int = 1, side: int = SIDE) -> Path:
    """With a batch of one, or of any number where there are more."""
    batch = None if images == 1 else ({0: torch.export.Dim("images")},)
    example = torch.zeros(images, 3, side, side)
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=batch), path)
    return path


def pictures(count: int = 2) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("images", [1, 2], ids=["one image", "any number"])
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_the_network(tmp_path: Path, name: str, images: int) -> None:
    network = NETWORKS[name]()
    path = exported(network, tmp_path / "best.pt2", images=images)
    program = load_classifier(path, trusted=True)
    assert program.preprocessing.input_size == (SIDE, SIDE)
    layout = program.layout
    layers = {"early": layout.early, "mid": layout.mid, "late": layout.late}
    saved = save(tmp_path / "whole", network.state_dict())
    _LOADED["network"] = OwnNetwork(network, layers)
    itself = load_classifier(saved, network=f"{__name__}:made_anew", input_size=SIDE)
    options = CamOptions(clahe=False)
    batch = program.most_images or 2
    ours = Explainer(program, precision="float32", batch_size=batch).explain(pictures(), options)
    theirs = Explainer(itself, precision="float32", batch_size=2).explain(pictures(), options)
    for one, other in zip(ours, theirs, strict=True):
        assert one.predicted.probability == pytest.approx(other.predicted.probability, abs=1e-5)
        for layer, expected in zip(one.layers, other.layers, strict=True):
            assert expected.values.max() > 0
            # Its norms are not folded into its convolutions: sums are of another order.
            np.testing.assert_allclose(layer.values, expected.values, atol=20 * TOLERANCE)


_LOADED: dict[str, OwnNetwork] = {}


def made_anew(_classes: int) -> OwnNetwork:
    """The same code; its weights are read from the file."""
    return _LOADED["network"]


@pytest.mark.parametrize("reader", [load_classifier, read_header])
def test_without_trust_the_option_is_named(tmp_path: Path, reader: Callable[..., object]) -> None:
    path = exported(of_a_lab(), tmp_path / "best.pt2")
    with pytest.raises(CheckpointUnsafe, match="--trust-file"):
        reader(path)


@pytest.mark.parametrize("trusted", [True, False])
def test_torchscript_is_refused_with_what_to_do(tmp_path: Path, *, trusted: bool) -> None:
    path = tmp_path / "best.pt"
    jit: Any = torch.jit
    jit.trace(plain(), torch.zeros(1, 3, 64, 64)).save(path)
    with pytest.raises(CheckpointUnsafe, match=r"torch\.jit\.load\(path\)\.state_dict\(\)"):
        load_classifier(path, trusted=trusted)
    torch.save({"model_state_dict": jit.load(path).state_dict()}, path)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load_classifier(path).network(images), plain()(images))


def test_trust_changes_nothing_for_other_files(tmp_path: Path) -> None:
    assert load_classifier(save(tmp_path, plain()), trusted=True).architecture == "resnet18"
    (tmp_path / "best.pt").write_bytes(b"PK\3\4broken")
    with pytest.raises(CamError, match="damaged"):
        load_classifier(tmp_path / "best.pt", trusted=True)


@pytest.mark.parametrize(
    ("last", "said"),
    [(nn.Softmax(1), "without its last softmax"), (nn.Unflatten(1, (3, 1)), "with logits")],
)
def test_programs_without_logits_are_refused(tmp_path: Path, last: nn.Module, said: str) -> None:
    path = exported(nn.Sequential(of_a_lab(), last).eval(), tmp_path / "best.pt2")
    with pytest.raises(ArchitectureUnknown, match=said):
        load_classifier(path, trusted=True)


def test_options_that_are_not_for_programs_are_refused(tmp_path: Path) -> None:
    path = exported(of_a_lab(), tmp_path / "best.pt2")
    for option in ({"head": "linear"}, {"averaged": True}, {"input_size": 64}):
        with pytest.raises(InvalidOption):
            load_classifier(path, trusted=True, **option)


def test_a_damaged_program_is_said(tmp_path: Path) -> None:
    path = exported(of_a_lab(), tmp_path / "best.pt2")
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"graph_module"', b'"other_module"'))
    with pytest.raises(CamError):
        load_classifier(path, trusted=True)


def test_the_command_lines_have_the_option(
    tmp_path: Path, lifecycle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(of_a_lab(), tmp_path / "best.pt2")
    parser = argparse.ArgumentParser()
    add_experiment_arguments(parser)
    assert parser.parse_args(["--exp-folder", "x", "--trust-file"]).trust_file
    options = {"head": None, "network": None, "averaged": False, "write_sidecar": False}
    asked = argparse.Namespace(path=path, json=False, trust_file=True, **options)
    assert run_inspect(asked) == 0
    assert "the file was trusted" in capsys.readouterr().out
    crops = lifecycle / "crops_gt_crops/crops/test/ring"
    given = ["--model", str(path), "--images", str(crops), "--output", str(tmp_path / "out")]
    more = ["--max-images", "2", "--quiet"]
    assert images_main([*given, *more]) != 0
    assert "--trust-file" in capsys.readouterr().err
    assert images_main([*given, *more, "--trust-file", "--batch-size", "4"]) != 0
    assert "takes 1 at a time" in capsys.readouterr().err
    assert images_main([*given, *more, "--trust-file"]) == 0
    assert len([*(tmp_path / "out").rglob("*.png")]) >= 2

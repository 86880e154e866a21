"""Networks of a lab's own: code that the operator installs and names."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cam_engine import CamOptions, Explainer, read_image
from cam_engine.errors import ArchitectureUnknown, CamError, InvalidOption, WeightsMismatch
from cam_engine.models.libraries import plugins
from cam_engine.models.libraries.plugins import OwnNetwork
from cam_engine.models.loading import load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLE = Path(__file__).parents[4] / "examples" / "own_network"
HERE = "tests.cam_engine.models.libraries.test_plugins"


class Tiny(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU())
        self.mid = nn.Sequential(nn.Conv2d(4, 8, 2, 2), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(8, 8, 2, 2), nn.ReLU())
        self.out = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.out(self.late(self.mid(self.stem(images))).mean((2, 3)))
        return answer


def tiny(classes: int) -> nn.Module:
    return Tiny(classes)


def told(classes: int) -> OwnNetwork:
    layers = {"early": "stem", "mid": "mid", "late": "late"}
    return OwnNetwork(Tiny(classes), layers, (96, 64), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def wrong_layers(classes: int) -> OwnNetwork:
    return OwnNetwork(Tiny(classes), {"early": "stem", "mid": "mid", "late": "out"})


def broken(classes: int) -> nn.Module:
    raise RuntimeError(f"no {classes}")


def no_module(classes: int) -> int:
    return classes


NOT_CALLABLE = 3


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    network = Tiny(5).eval()
    path = tmp_path / "best.pt"
    torch.save({"model": network.state_dict(), "model_name": "tiny"}, path)
    return path, network


def same(network: nn.Module, other: nn.Module) -> bool:
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        return torch.equal(network(images), other(images))


@pytest.mark.parametrize("name", ["tiny", "told"])
def test_a_factory_that_is_named_makes_the_network(
    saved: tuple[Path, nn.Module], name: str
) -> None:
    path, network = saved
    classifier = load_classifier(path, network=f"{HERE}:{name}")
    assert same(classifier.network, network)
    assert len(classifier.class_names) == 5
    stages = [stage.tap.module for stage in classifier.layout.stages]
    assert stages == ["stem", "mid", "late"]
    size = (96, 64) if name == "told" else (224, 224)
    assert classifier.preprocessing.input_size == size
    assert classifier.sources["architecture"] == f"network {HERE}:{name}"


@pytest.mark.parametrize(
    ("place", "error", "said"),
    [
        (f"{HERE}:nobody", InvalidOption, "cannot be loaded"),
        ("no.such.package:x", InvalidOption, "cannot be loaded"),
        (f"{HERE}:NOT_CALLABLE", InvalidOption, "is no function"),
        ("nobody", InvalidOption, "not installed"),
        (f"{HERE}:broken", ArchitectureUnknown, "cannot be made"),
        (f"{HERE}:no_module", ArchitectureUnknown, "answered with int"),
        (f"{HERE}:wrong_layers", ArchitectureUnknown, "late is 'out'"),
        ("torch.nn:Identity", CamError, "no linear layer"),
    ],
)
def test_what_does_not_work_is_said(
    saved: tuple[Path, nn.Module], place: str, error: type[CamError], said: str
) -> None:
    with pytest.raises(error, match=said):
        load_classifier(saved[0], network=place)


def test_weights_of_another_network_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save({"model": nn.Linear(3, 2).state_dict()}, path)
    with pytest.raises(WeightsMismatch, match=r"do not fit the network .*tiny.*missing"):
        load_classifier(path, network=f"{HERE}:tiny")


@pytest.fixture
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_registered", {})


@pytest.mark.usefixtures("nothing_registered")
def test_a_registered_one_is_found_by_the_files_own_word(saved: tuple[Path, nn.Module]) -> None:
    path, network = saved
    with pytest.raises(ArchitectureUnknown):
        load_classifier(path)
    plugins.register([f"tiny={HERE}:tiny"])
    assert same(load_classifier(path).network, network)
    with pytest.raises(InvalidOption, match="cannot be loaded"):
        plugins.register(["other=no.such:thing"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example, installed as a lab would, into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--no-index", "--target", str(folder), str(EXAMPLE)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("lab_networks", None)


@pytest.mark.usefixtures("installed")
def test_the_example_is_installed_and_its_checkpoint_explained(
    tmp_path: Path, lifecycle: Path
) -> None:
    lab_networks: Any = importlib.import_module("lab_networks")

    torch.manual_seed(0)
    network = lab_networks.ParasiteNet(4).eval()
    path = tmp_path / "best.pt"
    torch.save({"model": network.state_dict(), "model_name": "parasite_net"}, path)
    classifier = load_classifier(path)
    assert same(classifier.network, network)
    image = read_image(next((lifecycle / "crops_gt_crops/crops/test").rglob("*.jpg")))
    (explanation,) = Explainer(classifier, device="cpu").explain([image], CamOptions(fused=True))
    grids = {layer.name: layer.grid for layer in explanation.layers}
    assert (grids["early"], grids["late"]) == ((20, 20), (5, 5))

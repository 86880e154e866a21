"""Which network weights are of, and who has said so."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown, CamError, InvalidOption, WeightsMismatch
from cam_engine.models.choosing import (
    BEHIND,
    BY_WEIGHTS,
    Chosen,
    choose,
    folder_guesses,
    known_name,
)
from cam_engine.models.files.contents import CheckpointContents
from cam_engine.models.files.pickles.module_records import ModuleRecord
from cam_engine.models.fitting.comparing import Hints
from cam_engine.models.libraries.plugins import OwnNetwork
from tests.cam_engine.models.recording import recorded

pytestmark = pytest.mark.usefixtures("one_thread")

NAMELESS = Path("run/best.pt")


@cache
def resnet() -> dict[str, Tensor]:
    torch.manual_seed(0)
    weights: dict[str, Tensor] = torchvision.models.resnet18(num_classes=3).state_dict()
    return weights


def chosen(
    weights: Mapping[str, Tensor],
    path: Path = NAMELESS,
    *,
    network: str | None = None,
    record: ModuleRecord | None = None,
    is_named: bool = False,
    layers: tuple[str, ...] = (),
    **metadata: object,
) -> Chosen:
    contents = CheckpointContents(weights, metadata, record)
    return choose(contents, path, network, Hints(layers=layers), is_named=is_named)


@pytest.mark.parametrize(
    ("folder", "metadata", "source"),
    [
        ("run", {"model_name": "resnet18"}, "model_name 'resnet18'"),
        ("run", {"arch": "ResNet-18"}, "model_name 'ResNet-18'"),
        ("cls_resnet18_focal", {}, "folder 'cls_resnet18_focal'"),
        ("cls_densenet121_focal", {"model_name": "resnet18"}, "model_name 'resnet18'"),
        ("cls_resnet18_ce", {"model_name": "my_net"}, "folder 'cls_resnet18_ce'"),
        ("cls_mine_ce", {"model_name": "my_net"}, BY_WEIGHTS),
        ("run", {}, BY_WEIGHTS),
    ],
)
def test_the_file_is_believed_then_its_folder_then_its_weights(
    folder: str, metadata: dict[str, Any], source: str
) -> None:
    found = chosen(resnet(), Path(folder, "best.pt"), **metadata)
    assert (found.fit.name, found.fit.naming, found.source) == ("resnet18", "torchvision", source)
    assert found.fit.differences == 0
    assert (found.aside, found.own, found.library, found.assumed) == ((), None, None, ())


def test_a_network_outside_the_table_is_found_by_its_body() -> None:
    found = chosen(torchvision.models.mnasnet0_5(num_classes=3).state_dict())
    assert (found.fit.name, found.source) == ("mnasnet0_5", BY_WEIGHTS)


def test_a_name_that_timm_has_deprecated_is_read_as_the_one_of_today(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = chosen(resnet(), Path("cls_x/best.pt"), model_name="swsl_resnet18")
    assert found.fit.name == "resnet18"
    assert "cls_x: timm's deprecated name swsl_resnet18 is read as resnet18" in caplog.text


def test_an_unknown_architecture_says_what_was_tried() -> None:
    weights = {"layer.weight": torch.ones(2, 2)}
    with pytest.raises(ArchitectureUnknown) as refused:
        chosen(weights, Path("cls_mine_focal/best.pt"), model_name="my_net")
    for part in ("best.pt", "model_name 'my_net'", "folder 'cls_mine_focal'", "weights' keys and"):
        assert part in str(refused.value)
    assert "(like none of the table)" in str(refused.value)
    assert "densenet121" in str(refused.value)
    with pytest.raises(ArchitectureUnknown, match="Tried: no name in file or folder"):
        chosen(weights)


def test_weights_that_nearly_are_a_row_s_say_which_and_what_differs() -> None:
    weights = {key: one for key, one in resnet().items() if key != "conv1.weight"}
    said = r"nearest is resnet18, torchvision naming: missing: conv1\.weight"
    with pytest.raises(ArchitectureUnknown, match=said):
        chosen(weights)


def test_weights_that_do_not_fit_their_name_say_which_they_do_fit() -> None:
    with pytest.raises(WeightsMismatch) as refused:
        chosen(resnet(), model_name="densenet121")
    for part in (
        "best.pt: the weights do not fit densenet121 (from model_name 'densenet121'",
        "missing: features.conv0.weight",
        "unexpected: conv1.weight",
        "They do fit resnet18 (torchvision naming): correct the name",
    ):
        assert part in str(refused.value)


def test_weights_that_fit_nothing_do_not_say_that_they_do() -> None:
    weights = {**resnet(), "extra": torch.ones(1)}
    with pytest.raises(WeightsMismatch, match=r"unexpected: extra$"):
        chosen(weights, model_name="resnet18")


def test_what_is_not_the_networks_is_left_aside() -> None:
    weights = {f"cells.{key}": one for key, one in resnet().items()}
    found = chosen({**weights, "loss.weight": torch.ones(3)})
    assert found.fit.name == "resnet18"
    assert found.aside == ("loss.weight",)


def test_a_layer_beside_the_network_is_its_head_and_said() -> None:
    body = {f"encoder.{k}": one for k, one in resnet().items() if not k.startswith("fc.")}
    head = {"head.weight": torch.ones(5, 512), "head.bias": torch.ones(5)}
    found = chosen({**body, **head})
    assert (found.fit.head, found.fit.classes) == ("fc", 5)
    assert found.source == f"{BY_WEIGHTS}{BEHIND}head.weight"
    assert found.assumed[0].startswith("head.weight stands beside the network")


def test_layers_beside_the_network_are_refused_with_the_line_to_give() -> None:
    body = {f"encoder.{k}": one for k, one in resnet().items() if not k.startswith("fc.")}
    head = {"head.0.weight": torch.ones(8, 512), "head.2.weight": torch.ones(5, 8)}
    with pytest.raises(CamError, match='--head "linear relu linear"'):
        chosen({**body, **head}, arch="resnet18")
    found = chosen({**body, **head}, layers=("linear", "relu", "linear"), arch="resnet18")
    assert (found.fit.head, found.fit.classes) == ("fc.2", 5)


def test_a_size_that_positions_say_is_tried() -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=96)
    found = chosen(network.state_dict(), arch="vit_tiny_patch16_224")
    assert found.fit.image_size == (96, 96)


def test_a_network_of_known_layers_alone_is_the_files_own(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))
    record = recorded(tmp_path, network)
    found = chosen(network.state_dict(), record=record)
    assert (found.fit.name, found.fit.naming) == ("Sequential", "file")
    assert (found.source, found.fit.classes) == ("the file's own layers", 3)
    with pytest.raises(ArchitectureUnknown):
        chosen(network.state_dict())


def tiny(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(4, classes))


def told(classes: int) -> OwnNetwork:
    return OwnNetwork(tiny(classes), input_size=(32, 32))


@pytest.mark.parametrize("name", ["tiny", "told"])
def test_a_labs_own_network_is_made_with_as_many_classes_as_the_weights_have(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "own_networks", _module())
    place = f"own_networks:{name}"
    found = chosen({f"module.{k}": one for k, one in tiny(7).state_dict().items()}, network=place)
    assert (found.fit.name, found.fit.classes, found.source) == (place, 7, f"network {place}")
    assert found.own is not None
    assert found.own.input_size == ((32, 32) if name == "told" else (224, 224))


def _module() -> Any:
    return types.SimpleNamespace(tiny=tiny, told=told)


def test_a_labs_own_network_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_networks", _module())
    place = "own_networks:tiny"
    with pytest.raises(WeightsMismatch, match=r"do not fit the network own_networks:tiny: miss"):
        chosen(resnet(), network=place)
    with pytest.raises(WeightsMismatch, match="it holds no matrix"):
        chosen({"scale": torch.ones(3)}, network=place)
    with pytest.raises(InvalidOption, match="a head of its own; leave head out"):
        chosen(tiny(2).state_dict(), network=place, layers=("linear",))
    with pytest.raises(InvalidOption, match=r"'nobody' is not installed here.*gradcam\.networks"):
        chosen(resnet(), network="nobody")


def test_a_sidecar_overrules_a_librarys_own_files() -> None:
    config = {"model_type": "nobody", "architectures": ["NobodyForImageClassification"]}
    found = chosen(resnet(), is_named=True, model_name="resnet18", transformers=config)
    assert (found.fit.name, found.library) == ("resnet18", None)
    with pytest.raises(ArchitectureUnknown):
        chosen(resnet(), model_name="resnet18", transformers=config)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("resnet18", "resnet18"),
        ("ResNet-18", "resnet18"),
        ("tv_resnet50", "resnet50"),
        ("swsl_resnet18", "resnet18"),
        ("timm/regnety_002.pycls_in1k", "regnety_002.pycls_in1k"),
        ("mnasnet0_5", "mnasnet0_5"),
        ("my_net", None),
        ("", None),
    ],
)
def test_names_are_known_as_a_row_or_a_library_has_them(name: str, known: str | None) -> None:
    assert known_name(name) == known


@pytest.mark.parametrize(
    ("folder", "guesses"),
    [
        ("cls_resnet18_cb_v2", ["resnet18_cb_v2", "resnet18_cb", "resnet18"]),
        ("CLS_ResNet18", ["ResNet18"]),
        ("cls_", [""]),
        ("det_yolo11", []),
        ("resnet18", []),
    ],
)
def test_a_folder_s_name_may_begin_with_the_architecture(folder: str, guesses: list[str]) -> None:
    assert folder_guesses(Path("run", folder, "best.pt")) == guesses

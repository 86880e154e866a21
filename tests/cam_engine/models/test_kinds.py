"""Kinds of files that labs have: each loads with the logits of the library that made it."""

from __future__ import annotations

import argparse
import collections
import datetime
import json
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import CamError, WeightsMismatch
from cam_engine.models.loading import Classifier, load_classifier, read_header

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("gametocyte", "ring", "schizont")
TOLERANCE = 1e-4


def own(name: str, classes: int = 3, **options: object) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=classes, **options
    )
    return network.eval()


def timms(name: str, classes: int = 3, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, num_classes=classes, **options)
    return network.eval()


def with_head(name: str, site: str, *layers: nn.Module) -> nn.Module:
    network = own(name)
    network.set_submodule(site, nn.Sequential(*layers))
    return settled(network)


def settled(network: nn.Module, side: int = 64) -> nn.Module:
    """Its norms have seen data, so that a wrong epsilon or order is seen."""
    with torch.no_grad():
        network.train()(torch.randn(4, 3, side, side))
    return network.eval()


class Lightning(nn.Module):
    """As PyTorch Lightning keeps a network: an attribute beside losses and metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier_net = own("resnet18")
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(3))
        self.val_auroc = nn.ModuleDict({"thresholds": nn.BatchNorm1d(2)})


class Configuration:
    """A config object of a training script, of a class that nobody else has."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


@dataclass(frozen=True)
class Kind:
    """What is saved, which network it is of, and how it is loaded."""

    saved: Callable[[], object]
    network: Callable[[], nn.Module]
    side: int = 64
    head: str | None = None


@cache
def lightning() -> Lightning:
    torch.manual_seed(0)
    return Lightning().eval()


@cache
def custom_head() -> nn.Module:
    return with_head(
        "densenet121",
        "classifier",
        nn.Linear(1024, 32),
        nn.BatchNorm1d(32),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.5),
        nn.Linear(32, 3),
    )


@cache
def part_of_a_head() -> nn.Module:
    return with_head("vgg11", "classifier.6", nn.Linear(4096, 8), nn.Tanh(), nn.Linear(8, 3))


@cache
def changed() -> nn.Module:
    """Settings that no state dict holds."""
    network = own("resnet50", replace_stride_with_dilation=[False, False, True])
    network.get_submodule("layer1.0").relu = nn.SiLU()
    norm = network.get_submodule("bn1")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.eps = 1e-2
    return settled(network)


@cache
def plain(name: str = "resnet18") -> nn.Module:
    return own(name)


def whole(network: nn.Module) -> Callable[[], object]:
    return lambda: network


def state(network: nn.Module, **others: object) -> dict[str, object]:
    return {"model_state_dict": network.state_dict(), **others}


ODD_METADATA = {
    "when": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "data": Path("crops"),
    "history": collections.defaultdict(list, loss=[0.5]),
    "config": Configuration(arch="resnet18", classes=list(CLASSES), lr=0.1),
    "args": argparse.Namespace(seed=1, inner=Configuration(a=1)),
    "space": types.SimpleNamespace(b=2),
    "metrics": np.array([1.0, 2.0]),
    "counter": collections.Counter(a=2),
}

KINDS = {
    "whole network": Kind(plain, plain),
    "whole network in a dict": Kind(lambda: {"model": plain(), "epoch": 3}, plain),
    "whole network in parallel": Kind(lambda: nn.DataParallel(plain()), plain),
    "whole network, own head": Kind(custom_head, custom_head),
    "whole network, part of a head": Kind(part_of_a_head, part_of_a_head, side=224),
    "whole network, other settings": Kind(changed, changed),
    "whole network of timm": Kind(
        lambda: {"model": timms("resnet26"), "arch": "resnet26"}, lambda: timms("resnet26")
    ),
    "metadata of any class": Kind(lambda: state(plain(), **ODD_METADATA), plain),
    "Lightning": Kind(
        lambda: {"state_dict": lightning().state_dict(), "hyper_parameters": {"arch": "resnet18"}},
        lambda: lightning().classifier_net,
    ),
    "Lightning without a name": Kind(
        lambda: {"state_dict": lightning().state_dict()}, lambda: lightning().classifier_net
    ),
    "compiled": Kind(
        lambda: state(nn.ModuleDict({"_orig_mod": plain()}), model_name="resnet18"), plain
    ),
    "own head in words": Kind(
        lambda: state(custom_head(), model_name="densenet121"),
        custom_head,
        head="linear batchnorm leakyrelu dropout linear",
    ),
    "part of a head in words": Kind(
        lambda: state(part_of_a_head(), model_name="vgg11"),
        part_of_a_head,
        side=224,
        head="linear tanh linear",
    ),
    "averaged weights beside": Kind(
        lambda: state(plain(), state_dict_ema=own("resnet18").state_dict(), arch="resnet18"), plain
    ),
    "a vision transformer of another size": Kind(
        lambda: {"model": timms("vit_tiny_patch16_224", img_size=96).state_dict(),
                 "arch": "vit_tiny_patch16_224"},
        lambda: timms("vit_tiny_patch16_224", img_size=96),
        side=96,
    ),
}  # fmt: skip


def save(folder: Path, saved: object, name: str = "best.pt", **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(saved, folder / name, **options)
    return folder / name


def difference(classifier: Classifier, network: Callable[[Tensor], Tensor], side: int) -> float:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((classifier.network(images) - network(images)).abs().max())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older format"])
@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_the_logits_of_who_saved_it(tmp_path: Path, name: str, zipped: bool) -> None:
    kind = KINDS[name]
    path = save(tmp_path, kind.saved(), _use_new_zipfile_serialization=zipped)
    # LeakyReLU's slope is no part of the words: its own default is 0.01.
    tolerance = TOLERANCE if name != "own head in words" else 1.0
    assert difference(load_classifier(path, head=kind.head), kind.network(), kind.side) < tolerance
    read_header(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_all_protocols_are_read(tmp_path: Path, protocol: int) -> None:
    path = save(tmp_path, {"model": plain(), **ODD_METADATA}, pickle_protocol=protocol)
    classifier = load_classifier(path)
    assert difference(classifier, plain(), 64) == 0
    assert read_header(path).class_names == classifier.class_names == CLASSES


def test_what_is_left_aside_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, {"state_dict": lightning().state_dict()})
    (remark,) = load_classifier(path).remarks
    assert "left aside: criterion.weight" in remark
    path = save(tmp_path, state(plain(), state_dict_ema=plain().state_dict()))
    (remark,) = load_classifier(path).remarks
    assert "state_dict_ema" in remark


def test_averaged_weights_are_taken_when_asked(tmp_path: Path) -> None:
    averages = settled(own("resnet18"))
    saved = state(plain(), state_dict_ema=averages.state_dict(), arch="resnet18")
    path = save(tmp_path, saved)
    assert difference(load_classifier(path, averaged=True), averages, 64) == 0
    assert difference(load_classifier(path), plain(), 64) == 0
    (tmp_path / "best.json").write_text(json.dumps({"weights": "averaged"}))
    assert difference(load_classifier(path), averages, 64) == 0
    with pytest.raises(CamError, match="no averaged weights"):
        load_classifier(save(tmp_path / "other", state(plain())), averaged=True)


def test_a_head_of_several_layers_is_refused_with_the_line_to_give(tmp_path: Path) -> None:
    path = save(tmp_path, state(custom_head(), model_name="densenet121"))
    with pytest.raises(WeightsMismatch, match='--head "linear batchnorm relu dropout linear"'):
        load_classifier(path)


@pytest.mark.parametrize("head", ["linear relu linear", "linear batchnorm relu", "dance", ""])
def test_a_head_in_words_that_does_not_fit_is_refused(tmp_path: Path, head: str) -> None:
    path = save(tmp_path, state(custom_head(), model_name="densenet121"))
    with pytest.raises(CamError):
        load_classifier(path, head=head)


def test_a_head_in_words_is_never_passed_over_silently(tmp_path: Path) -> None:
    path = save(tmp_path, state(plain(), model_name="resnet18"))
    with pytest.raises(WeightsMismatch, match="is one linear layer, not linear relu linear"):
        load_classifier(path, head="linear relu linear")
    assert difference(load_classifier(path, head="dropout linear"), plain(), 64) == 0
    path = save(tmp_path / "whole", {"model": custom_head()})
    (notice,) = load_classifier(path, head="linear relu linear").notices
    assert "records its own head" in notice
    with pytest.raises(CamError, match="a head of its own"):
        load_classifier(path, head="linear", network=f"{__name__}:plain")


def test_safetensors_have_no_averaged_weights(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    safetensors.torch.save_file(plain().state_dict(), path)
    with pytest.raises(CamError, match="no averaged weights"):
        load_classifier(path, averaged=True)


class Unknown(nn.Module):
    """A head whose code is not in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(512, 8), nn.Linear(8, 3)

    def forward(self, features: Tensor) -> Tensor:
        answer: Tensor = self.second(self.first(features).sin())
        return answer


def test_a_whole_network_with_a_layer_of_an_unknown_class_is_refused(tmp_path: Path) -> None:
    network = own("resnet18")
    network.fc = Unknown()
    with pytest.raises(CamError, match=r"fc is of class .*Unknown.* not in the file"):
        load_classifier(save(tmp_path, {"model": network, "model_name": "resnet18"}))


@pytest.mark.parametrize("made", ["by the file", "with a sigmoid"])
def test_one_output_is_two_classes(tmp_path: Path, made: str) -> None:
    network = own("resnet18", 1)
    if made == "with a sigmoid":
        network.fc = nn.Sequential(network.get_submodule("fc"), nn.Sigmoid())
    saved = {"model": network, "class_names": ["infected"]}
    classifier = load_classifier(save(tmp_path, saved))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        probability = network(images)[:, 0]
        if made == "by the file":
            probability = probability.sigmoid()
        ours = classifier.network(images).softmax(1)[:, 1]
    torch.testing.assert_close(ours, probability, rtol=0, atol=1e-6)
    assert classifier.class_names == ("not infected", "infected")
    assert any("infected" in notice for notice in classifier.notices)


def test_a_network_of_grey_images_takes_their_luma(tmp_path: Path) -> None:
    network = timms("resnet26", in_chans=1)
    saved = {"model": network.state_dict(), "arch": "resnet26", "mean": [0.5], "std": [0.25]}
    classifier = load_classifier(save(tmp_path, saved))
    colours = torch.randn(2, 3, 64, 64)
    grey = (colours * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    with torch.no_grad():
        torch.testing.assert_close(classifier.network(colours), network(grey), rtol=0, atol=1e-5)
    assert classifier.preprocessing.mean == (0.5, 0.5, 0.5)
    assert any("grey" in notice for notice in classifier.notices)


def test_a_fourth_channel_is_opaque(tmp_path: Path) -> None:
    network = timms("resnet26", in_chans=4)
    saved = {"model": network.state_dict(), "arch": "resnet26"}
    classifier = load_classifier(save(tmp_path, saved))
    colours = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(torch.cat([colours, torch.ones(2, 1, 64, 64)], 1))
        torch.testing.assert_close(classifier.network(colours), expected, rtol=0, atol=1e-6)
    assert any("alpha" in notice for notice in classifier.notices)


class Backbone(nn.Module):
    """As many tutorials put it together: a network without its head, and a layer beside it."""

    def __init__(self, name: str, site: str, features: int) -> None:
        super().__init__()
        self.backbone = own(name)
        self.backbone.set_submodule(site, nn.Identity())
        self.drop = nn.Dropout()
        self.head = nn.ModuleDict({"fc": nn.Linear(features, 3)})

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.head["fc"](self.drop(self.backbone(images)))
        return answer


@pytest.mark.parametrize(
    ("name", "site", "features"),
    [
        ("resnet18", "fc", 512),
        ("densenet121", "classifier", 1024),
        ("efficientnet_b0", "classifier", 1280),
    ],
)
@pytest.mark.parametrize("saved_as", ["state", "whole"])
def test_a_layer_beside_a_network_is_taken_for_its_head_and_said(
    tmp_path: Path, name: str, site: str, features: int, saved_as: str
) -> None:
    network = Backbone(name, site, features).eval()
    saved = network if saved_as == "whole" else network.state_dict()
    path = save(tmp_path, {"state_dict": saved, "meta": {"CLASSES": CLASSES}})
    classifier = load_classifier(path)
    assert difference(classifier, network, 64) == 0
    assert classifier.class_names == CLASSES
    (notice,) = classifier.notices
    assert notice.startswith("head.fc.weight stands beside the network")


def test_two_layers_beside_a_network_are_refused(tmp_path: Path) -> None:
    network = Backbone("resnet18", "fc", 512)
    network.head["other"] = nn.Linear(512, 3)
    with pytest.raises(CamError):
        load_classifier(save(tmp_path, {"state_dict": network.state_dict()}))


def test_look_alikes_are_told_by_their_names_and_warned_of_without(tmp_path: Path) -> None:
    twin = settled(timms("tf_efficientnet_b0"))
    named = load_classifier(save(tmp_path, state(twin, model_name="tf_efficientnet_b0")))
    assert difference(named, twin, 64) < TOLERANCE
    assert named.notices == ()
    unnamed = load_classifier(save(tmp_path, state(twin)))
    assert unnamed.architecture == "efficientnet_b0"
    (notice,) = unnamed.notices
    assert "tf_efficientnet_b0" in notice


@pytest.mark.parametrize("transforms", [True, False])
def test_googlenets_input_is_as_a_whole_network_says(tmp_path: Path, transforms: bool) -> None:
    network = own("googlenet", init_weights=False, transform_input=transforms)
    whole = load_classifier(save(tmp_path, {"model": network, "arch": "googlenet"}))
    assert difference(whole, network, 64) == 0
    assert whole.notices == ()
    bare = load_classifier(save(tmp_path, state(network, arch="googlenet")))
    assert (difference(bare, network, 64) == 0) is not transforms
    (notice,) = bare.notices
    assert "transform_input" in notice


def test_timms_naming_brings_timms_own_input(tmp_path: Path) -> None:
    path = save(tmp_path, state(timms("efficientnet_b1"), model_name="efficientnet_b1"))
    seen = load_classifier(path).preprocessing
    assert seen.input_size == (240, 240)
    path = save(tmp_path, state(own("efficientnet_b1"), model_name="efficientnet_b1"))
    assert load_classifier(path).preprocessing.input_size == (224, 224)


HUB = {
    "architecture": "resnet26",
    "num_classes": 3,
    "label_names": list(CLASSES),
    "pretrained_cfg": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "input_size": [3, 96, 64],
    },
}


def test_a_folder_of_the_hub_is_read(tmp_path: Path) -> None:
    network = timms("resnet26")
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    (tmp_path / "config.json").write_text(json.dumps(HUB))
    classifier = load_classifier(path)
    assert difference(classifier, network, 64) == 0
    assert classifier.class_names == CLASSES
    assert classifier.preprocessing.input_size == (96, 64)
    assert classifier.preprocessing.mean == (0.5, 0.4, 0.3)
    header = read_header(path)
    assert (header.architecture, header.class_names) == ("resnet26", CLASSES)


def test_safetensors_with_text_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    text = {"model_name": "resnet18", "class_names": json.dumps(CLASSES), "val_acc": "0.75"}
    safetensors.torch.save_file(plain().state_dict(), path, metadata=text)
    classifier = load_classifier(path)
    assert difference(classifier, plain(), 64) == 0
    assert (classifier.class_names, classifier.val_accuracy) == (CLASSES, 0.75)


def test_a_sidecar_overrules_the_file_and_changes_the_digest(tmp_path: Path) -> None:
    path = save(tmp_path, state(custom_head(), model_name="vgg16", class_names=["a", "b", "c"]))
    sidecar = {
        "model_name": "densenet121",
        "head": "linear batchnorm relu linear",
        "class_names": list(CLASSES),
        "mean": [0.1, 0.1, 0.1],
        "notes": "not read",
    }
    digests = set()
    for head in ("linear batchnorm relu linear", "linear batchnorm silu linear"):
        (tmp_path / "best.json").write_text(json.dumps({**sidecar, "head": head}))
        classifier = load_classifier(path)
        digests.add(classifier.sha256)
        assert classifier.architecture == "densenet121"
        assert classifier.class_names == CLASSES == read_header(path).class_names
        assert classifier.preprocessing.mean == (0.1, 0.1, 0.1)
        assert any("best.json overrules" in notice for notice in classifier.notices)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "Keras"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip"),
    ],
)
@pytest.mark.parametrize("name", ["best.pt", "best.safetensors"])
def test_what_is_no_file_yet_is_said_in_a_sentence(
    tmp_path: Path, content: bytes, said: str, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for reader in (load_classifier, read_header):
        with pytest.raises(CamError, match=said):
            reader(path)

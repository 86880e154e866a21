"""Kinds of files that labs have, made as the libraries make them, for several tests."""

from __future__ import annotations

import argparse
import collections
import copy
import datetime
import importlib
import json
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.utils.prune
import torchvision
from torch import Tensor, nn

CLASSES = ("gametocyte", "ring", "schizont")
TOLERANCE = 1e-4
_Write = Callable[[Any, Path], None]


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


def by_torch(saved: object, path: Path) -> None:
    """As most files are written."""
    torch.save(saved, path)


@dataclass(frozen=True)
class Kind:
    """What is saved, which network it is of, and how it is written and loaded.

    side: pixels, small where the network takes any size. exact: whether words for a head say all
    of it. input_side: pixels, as the file and its library say.
    """

    saved: Callable[[], object]
    network: Callable[[], Callable[[Tensor], Tensor]]
    side: int = 64
    head: str | None = None
    exact: bool = True
    file: str = "best.pt"
    write: _Write = by_torch
    input_side: int = 224

    def written(self, folder: Path) -> Path:
        """The file, in a folder that is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write(self.saved(), folder / self.file)
        return folder / self.file

    def write_sidecar(self, folder: Path) -> None:
        """What a person has to say of it, where that is anything."""
        if self.head is not None:
            path = (folder / self.file).with_suffix(".json")
            path.write_text(json.dumps({"head": self.head}))


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


class OnTopOf(nn.Module):
    """A backbone and layers behind it, as tutorials put them together."""

    def __init__(self, backbone: nn.Module, *, flatten: bool = False, **layers: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.flatten = flatten
        self.names = [*layers]
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.backbone(images)
        answer = answer.flatten(1) if self.flatten else answer
        for name in self.names:
            answer = self.get_submodule(name)(answer)
        return answer


@cache
def of_two_layers() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(2048, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3)
    return OnTopOf(timms("resnet26", 0), head=nn.Sequential(*layers)).eval()


@cache
def of_two_attributes() -> nn.Module:
    torch.manual_seed(0)
    body = plain("resnet34")
    body.fc = nn.Identity()
    return OnTopOf(body, fc1=nn.Linear(512, 16), act=nn.ReLU(), fc2=nn.Linear(16, 3)).eval()


@cache
def of_children() -> nn.Module:
    """All children of a network but the last, as many scripts cut its head off."""
    torch.manual_seed(0)
    body = nn.Sequential(*list(own("resnet18").children())[:-1])
    return settled(OnTopOf(body, flatten=True, fc=nn.Linear(512, 3)))


@cache
def in_a_sequence() -> nn.Module:
    torch.manual_seed(0)
    children = list(own("resnet50").children())[:-1]
    return settled(nn.Sequential(*children, nn.Flatten(), nn.Linear(2048, 3)))


@cache
def pruned() -> nn.Module:
    network = own("resnet18")
    prune: Any = torch.nn.utils.prune.l1_unstructured
    for layer in ("fc", "layer4.1.conv2"):
        prune(network.get_submodule(layer), "weight", 0.5)
    return network.eval()


def named_by_monai(network: nn.Module) -> dict[str, Tensor]:
    """As `monai.networks.nets.DenseNet121` names the same layers."""
    names = {
        key: re.sub(r"(denselayer\d+)\.", r"\1.layers.", key).replace(
            "classifier", "class_layers.out"
        )
        for key in network.state_dict()
    }
    return {names[key]: tensor for key, tensor in network.state_dict().items()}


def averaged(network: nn.Module) -> nn.Module:
    averages = torch.optim.swa_utils.AveragedModel(network)
    averages.update_parameters(network)
    return averages


def prefixed(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{key}": tensor for key, tensor in network.state_dict().items()}


def as_mmpretrain_names(network: nn.Module) -> dict[str, Tensor]:
    return {
        f"{'head' if key.startswith('fc') else 'backbone'}.{key}": tensor
        for key, tensor in network.state_dict().items()
    }


@cache
def in_doubles() -> nn.Module:
    return copy.deepcopy(plain()).double()


@cache
def rounded(kind: torch.dtype) -> nn.Module:
    """The numbers of another kind, which are computed with in float32."""
    return copy.deepcopy(plain()).to(kind).float()


@cache
def of_transformers() -> Any:
    transformers: Any = importlib.import_module("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=64,
        patch_size=8,
        hidden_size=16,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=32,
        id2label=dict(enumerate(CLASSES)),
    )
    network: Any = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network


def by_transformers(network: Any, path: Path) -> None:
    network.save_pretrained(path.parent)


def in_parts(network: Any, path: Path) -> None:
    network.save_pretrained(path.parent, max_shard_size="20KB")


def logits_of_transformers(images: Tensor) -> Tensor:
    logits: Tensor = of_transformers()(images).logits
    return logits


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
        exact=False,  # LeakyReLU's slope is no part of the words: its own default is 0.01
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
        input_side=96,
    ),
    "a tuple with its accuracy": Kind(lambda: (plain().state_dict(), 0.93), plain),
    "a list with its epoch": Kind(lambda: [3, plain().state_dict(), {"loss": 0.1}], plain),
    "whole network in a tuple": Kind(lambda: (plain(), 0.93), plain),
    "compiled, whole": Kind(lambda: torch.compile(plain()), plain),
    "compiled, whole in a dict": Kind(lambda: {"net": torch.compile(plain())}, plain),
    "a dict in a dict": Kind(
        lambda: {"checkpoint": {"model": plain().state_dict(), "arch": "resnet18"}, "epoch": 3},
        plain,
    ),
    "a backbone of timm and a head in words": Kind(
        lambda: {"state_dict": of_two_layers().state_dict(), "arch": "resnet26"},
        of_two_layers,
        head="linear relu dropout linear",
    ),
    "a backbone and two layers in words": Kind(
        lambda: of_two_attributes().state_dict(), of_two_attributes, head="linear relu linear"
    ),
    "children and a head": Kind(lambda: of_children().state_dict(), of_children),
    "children in a sequence": Kind(
        lambda: {"model": in_a_sequence().state_dict(), "arch": "resnet50"}, in_a_sequence
    ),
    "pruned": Kind(lambda: pruned().state_dict(), pruned),
    "MONAI's DenseNet": Kind(
        lambda: named_by_monai(plain("densenet121")), lambda: plain("densenet121")
    ),
    "SWA": Kind(lambda: averaged(plain()).state_dict(), plain),
    "SWA, whole": Kind(lambda: {"swa_model": averaged(plain())}, plain),
    "halves": Kind(lambda: copy.deepcopy(plain()).half(), lambda: rounded(torch.float16)),
    "bfloat16": Kind(
        lambda: copy.deepcopy(plain()).bfloat16().state_dict(), lambda: rounded(torch.bfloat16)
    ),
    "doubles": Kind(in_doubles, plain),
    "wrapped twice": Kind(lambda: prefixed("module.module.", plain()), plain),
    "compiled in parallel": Kind(lambda: prefixed("_orig_mod.module.", plain()), plain),
    "FSDP's names": Kind(lambda: prefixed("_fsdp_wrapped_module.", plain()), plain),
    "arrays beside": Kind(
        lambda: {**plain().state_dict(), "mean": np.array([0.5, 0.4, 0.3]), "steps": np.int64(3)},
        plain,
    ),
    "torchvision's references": Kind(
        lambda: {
            "model": plain().state_dict(),
            "optimizer": torch.optim.SGD(plain().parameters(), 0.1).state_dict(),
            "args": argparse.Namespace(model="resnet18", opt="sgd", weights=None, lr=0.1),
            "epoch": 3,
        },
        plain,
        file="checkpoint.pth",
    ),
    "timm's train.py": Kind(
        lambda: {
            "epoch": 3,
            "arch": "resnet26",
            "state_dict": timms("resnet26").state_dict(),
            "args": argparse.Namespace(model="resnet26", img_size=None, mean=None, class_map=""),
            "metric": 71.2,
        },
        lambda: timms("resnet26"),
        file="model_best.pth.tar",
    ),
    "Catalyst": Kind(
        lambda: {
            "model_state_dict": plain().state_dict(),
            "criterion_state_dict": {},
            "loader_key": "valid",
        },
        plain,
    ),
    "Ignite": Kind(
        lambda: {"model": plain().state_dict(), "trainer": {"iteration": 9}, "optimizer": {}}, plain
    ),
    "of transformers": Kind(
        of_transformers,
        lambda: logits_of_transformers,
        file="model.safetensors",
        write=by_transformers,
        input_side=64,
    ),
    "of transformers in parts": Kind(
        of_transformers,
        lambda: logits_of_transformers,
        file="model.safetensors.index.json",
        write=in_parts,
        input_side=64,
    ),
    "mmpretrain": Kind(
        lambda: {"meta": {"epoch": 3}, "state_dict": as_mmpretrain_names(plain())}, plain
    ),
}  # fmt: skip


def save(folder: Path, saved: object, name: str = "best.pt", **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(saved, folder / name, **options)
    return folder / name

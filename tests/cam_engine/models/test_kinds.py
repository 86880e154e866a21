"""Kinds of files that labs have: each loads with the logits of the library that made it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import sklearn.preprocessing
import torch
from torch import Tensor, nn

from cam_engine.errors import CamError, WeightsMismatch
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import Classifier, load_classifier
from tests.cam_engine.models.kinds import (
    CLASSES,
    KINDS,
    ODD_METADATA,
    TOLERANCE,
    Configuration,
    averaged,
    by_torch,
    custom_head,
    lightning,
    of_children,
    of_two_attributes,
    of_two_layers,
    own,
    plain,
    pruned,
    save,
    settled,
    state,
    timms,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def difference(classifier: Classifier, network: Callable[[Tensor], Tensor], side: int) -> float:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((classifier.network(images) - network(images)).abs().max())


BY_TORCH = [name for name, kind in KINDS.items() if kind.write is by_torch]


@pytest.mark.parametrize(
    ("name", "zipped"), [*((n, True) for n in KINDS), *((n, False) for n in BY_TORCH)]
)
def test_each_kind_has_the_logits_of_who_saved_it(tmp_path: Path, name: str, zipped: bool) -> None:
    kind = KINDS[name]
    path = (
        kind.written(tmp_path)
        if zipped
        else save(tmp_path, kind.saved(), _use_new_zipfile_serialization=False)
    )
    tolerance = TOLERANCE if kind.exact else 1.0
    assert difference(load_classifier(path, head=kind.head), kind.network(), kind.side) < tolerance
    read_header(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_all_protocols_are_read(tmp_path: Path, protocol: int) -> None:
    path = save(tmp_path, {"model": plain(), **ODD_METADATA}, pickle_protocol=protocol)
    classifier = load_classifier(path)
    assert difference(classifier, plain(), 64) == 0
    assert read_header(path).class_names == classifier.class_names == CLASSES


def encoder() -> object:
    return sklearn.preprocessing.LabelEncoder().fit([*CLASSES, *CLASSES])


def column_encoder() -> object:
    return sklearn.preprocessing.OrdinalEncoder().fit([[name] for name in CLASSES])


NAMES: dict[str, Callable[[], dict[str, object]]] = {
    "an array of text": lambda: {"classes": np.array(CLASSES)},
    "an array of objects": lambda: {"classes": np.array(CLASSES, dtype=object)},
    "indices as text": lambda: {"class_names": {str(i): name for i, name in enumerate(CLASSES)}},
    "indices of NumPy": lambda: {"class_to_idx": {n: np.int64(i) for i, n in enumerate(CLASSES)}},
    "labels": lambda: {"labels": list(CLASSES)},
    "target names": lambda: {"target_names": np.array(CLASSES)},
    "to indices as text": lambda: {"label2id": {name: str(i) for i, name in enumerate(CLASSES)}},
    "a vocabulary": lambda: {"vocab": list(CLASSES)},
    "classes of an encoder": lambda: {"classes_": np.array(CLASSES)},
    "a map of labels": lambda: {"label_map": dict(enumerate(CLASSES))},
    "a map of classes": lambda: {"class_map": {str(i): name for i, name in enumerate(CLASSES)}},
    "from an index": lambda: {"index_to_class": dict(enumerate(CLASSES))},
    "to a label": lambda: {"idx2label": dict(enumerate(CLASSES))},
    "to an index": lambda: {"label_to_idx": {name: i for i, name in enumerate(CLASSES)}},
    "an encoder": lambda: {"label_encoder": encoder()},
    "an encoder of a column": lambda: {"label_encoder": column_encoder()},
    "an encoder as classes": lambda: {"classes": encoder()},
    "an encoder in a config": lambda: {"config": {"le": encoder()}},
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_classes_are_found_wherever_people_put_them(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, state(plain(), **NAMES[name]()))
    assert load_classifier(path).class_names == read_header(path).class_names == CLASSES


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2, 1], ["ring"] * 2, [], {"a": [1]}, {"a": 0, "b": 0}, "ring", [0] * 1_500_000],
    ids=["indices", "repeated", "none", "a dict", "merged", "text", "very many"],
)
def test_labels_that_are_no_names_of_classes_are_passed_over(
    tmp_path: Path, labels: object
) -> None:
    path = save(tmp_path, state(plain(), labels=labels))
    assert load_classifier(path).class_names == ("Class_0", "Class_1", "Class_2")


def test_names_of_a_kind_that_is_not_read_are_no_silence(tmp_path: Path) -> None:
    path = save(tmp_path, state(plain(), class_names=Configuration(a=1)))
    (notice,) = load_classifier(path).notices
    assert "class_names in the file" in notice
    assert load_classifier(path, class_names=CLASSES).notices == ()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("names", [set(CLASSES), frozenset(CLASSES), "ring, schizont"])
def test_names_without_an_order_are_no_silence_either(
    tmp_path: Path, names: object, protocol: int
) -> None:
    path = save(tmp_path, state(plain(), classes=names), pickle_protocol=protocol)
    classifier = load_classifier(path)
    assert classifier.class_names == ("Class_0", "Class_1", "Class_2")
    (notice,) = classifier.notices
    assert "classes in the file" in notice


class FocalLoss(nn.Module):
    """As people write it, its weights of classes as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = 2.0
        self.register_buffer("alpha", torch.ones(3))


class NetWithLoss(nn.Module):
    """A network, and what is minimised, in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.net = plain()
        self.loss = FocalLoss()


def test_a_network_with_its_loss_in_one_module_is_read(tmp_path: Path) -> None:
    path = save(tmp_path, {"model": NetWithLoss().eval(), "arch": "resnet18"})
    assert difference(load_classifier(path), plain(), 64) == 0


@pytest.mark.parametrize("key", ["model", "classifier"])
@pytest.mark.parametrize(
    "loss",
    [nn.CrossEntropyLoss, lambda: nn.CrossEntropyLoss(torch.ones(3)), FocalLoss],
    ids=["plain", "weighted", "own"],
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_loss_beside_a_network_is_no_network(
    tmp_path: Path, key: str, loss: Callable[[], nn.Module], *, whole: bool
) -> None:
    network = plain() if whole else plain().state_dict()
    path = save(tmp_path, {"criterion": loss(), key: network, "arch": "resnet18"})
    classifier = load_classifier(path)
    assert difference(classifier, plain(), 64) == 0
    assert classifier.remarks == ()


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


def test_layers_of_a_head_in_safetensors_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    layers: list[nn.Module] = [nn.Identity() for _ in range(12)]
    layers[2], layers[10] = nn.Linear(512, 512), nn.Linear(512, 3)
    layers[4] = nn.Linear(512, 512)
    network = own("resnet18")
    network.fc = nn.Sequential(*layers)
    path = tmp_path / "best.safetensors"
    weights = network.state_dict()
    safetensors.torch.save_file(weights, path, metadata={"model_name": "resnet18"})
    words = ["linear" if isinstance(layer, nn.Linear) else "identity" for layer in layers]
    classifier = load_classifier(path, head=" ".join(words))
    assert difference(classifier, network.eval(), 64) < TOLERANCE


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


def test_layers_beside_a_network_are_refused_with_the_line_to_give(tmp_path: Path) -> None:
    path = save(tmp_path, {"state_dict": of_two_layers().state_dict(), "arch": "resnet26"})
    with pytest.raises(WeightsMismatch, match='--head "linear relu dropout linear"'):
        load_classifier(path)
    path = save(tmp_path, of_two_attributes().state_dict())
    with pytest.raises(CamError, match='--head "linear relu linear"'):
        load_classifier(path)


def test_what_is_assumed_of_children_of_a_network_is_said(tmp_path: Path) -> None:
    (notice,) = load_classifier(save(tmp_path, of_children().state_dict())).notices
    assert "a mean over all cells" in notice
    (remark,) = load_classifier(save(tmp_path, pruned().state_dict())).remarks
    assert "pruned" in remark


def test_several_networks_in_a_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CamError, match="2 networks in a list"):
        load_classifier(save(tmp_path, [plain().state_dict(), plain()]))


class Doubling(nn.Module):
    """Does more than to call the network in it, which no file says."""

    def __init__(self) -> None:
        super().__init__()
        self.model = plain()

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.model(images * 2)
        return answer


@pytest.mark.parametrize("inner", ["model", "cells"])
def test_a_class_of_ones_own_around_a_network_is_a_notice(tmp_path: Path, inner: str) -> None:
    network = Doubling()
    if inner != "model":
        network.add_module(inner, network._modules.pop("model"))
    (notice,) = load_classifier(save(tmp_path, network.eval())).notices
    assert "Doubling, whose code is not in the file" in notice


@pytest.mark.parametrize(
    "around", [nn.DataParallel, averaged, torch.compile, nn.Sequential, lambda network: network]
)
def test_what_only_calls_the_network_is_no_notice(
    tmp_path: Path, around: Callable[[nn.Module], nn.Module]
) -> None:
    classifier = load_classifier(save(tmp_path, around(plain())))
    assert classifier.notices == ()
    assert difference(classifier, plain(), 64) == 0


def test_several_networks_in_a_dict_are_refused(tmp_path: Path) -> None:
    folds = {"fold0": plain().state_dict(), "fold1": own("resnet18").state_dict()}
    for reader in (load_classifier, read_header):
        with pytest.raises(CamError, match="several networks, fold0, fold1: save each"):
            reader(save(tmp_path, folds))


def test_parts_of_a_network_in_a_dict_are_put_together(tmp_path: Path) -> None:
    network = Backbone("resnet18", "fc", 512).eval()
    head = network.head["fc"].state_dict()
    saved = {"encoder": network.backbone.state_dict(), "classifier": head, "epoch": 3}
    classifier = load_classifier(save(tmp_path, saved))
    assert difference(classifier, network, 64) == 0
    assert classifier.epoch == 3
    (notice,) = classifier.notices
    assert notice.startswith("classifier.weight stands beside the network")


def test_other_networks_beside_the_one_that_is_read_are_named(tmp_path: Path) -> None:
    saved = {"model": plain(), "ema": own("resnet18"), "teacher": own("resnet18").state_dict()}
    averages, others = load_classifier(save(tmp_path, saved)).remarks
    assert averages.endswith("not used: ema")
    assert others.endswith("not used: teacher")


@pytest.mark.parametrize("name", ["best.safetensors", "weights", "best.pt"])
def test_files_are_read_as_what_they_are_whatever_their_names(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, plain().state_dict(), name)
    assert difference(load_classifier(path), plain(), 64) == 0
    safetensors.torch.save_file(plain().state_dict(), path)
    assert difference(load_classifier(path), plain(), 64) == 0


def test_a_list_in_itself_is_refused(tmp_path: Path) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(CamError, match="a list"):
        load_classifier(save(tmp_path, endless))


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

"""Checkpoints as people save them: the loaded network must answer as the saved one did."""

from __future__ import annotations

import copy
import hashlib
import threading
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from cam_engine.errors import (
    ArchitectureUnknown,
    CamError,
    CheckpointInvalid,
    WeightsMismatch,
)
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import Classifier, load_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ["gametocyte", "ring", "schizont"]


@cache
def trained(name: str, naming: str = "torchvision", classes: int = 3) -> nn.Module:
    """A network with random weights, its norms having seen data; never changed by a test."""
    torch.manual_seed(0)
    if naming == "timm":
        network = timm.create_model(name, pretrained=False, num_classes=classes)
    else:
        network = torchvision.models.get_model(name, weights=None, num_classes=classes)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 64))
    return network.eval()


def fresh(name: str) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=3)
    return network.eval()


def save(folder: Path, saved: object, **options: Any) -> Path:
    path = folder / "best.pt"
    folder.mkdir(exist_ok=True)
    torch.save(saved, path, **options)
    return path


def entries(network: nn.Module, name: str = "resnet18", **others: object) -> dict[str, object]:
    return {"model_state_dict": network.state_dict(), "model_name": name, **others}


def assert_same(
    classifier: Classifier, network: nn.Module, size: int = 64, tolerance: float = 1e-5
) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(
            classifier.network(images), network(images), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(
    ("name", "naming", "architecture", "head"),
    [
        ("densenet121", "torchvision", "densenet121", "classifier"),
        ("resnet18", "torchvision", "resnet18", "fc"),
        ("efficientnet_b0", "torchvision", "efficientnet_b0", "classifier.1"),
        ("mobilenet_v3_small", "torchvision", "mobilenet_v3_small", "classifier.3"),
        ("efficientnet_b0", "timm", "efficientnet_b0", "classifier"),
        ("mobilenetv3_small_100", "timm", "mobilenet_v3_small", "classifier"),
        ("mobilenetv2_100", "timm", "mobilenet_v2", "classifier"),
    ],
)
@pytest.mark.parametrize("named", ["by the file", "by the weights"])
def test_loads_with_or_without_a_name(
    tmp_path: Path, *, name: str, naming: str, architecture: str, head: str, named: str
) -> None:
    network = trained(name, naming)
    saved = entries(network, name) if named == "by the file" else network.state_dict()
    classifier = load_classifier(save(tmp_path, saved))
    assert_same(classifier, network)
    assert (classifier.architecture, classifier.naming) == (architecture, naming)
    assert classifier.head == head
    assert classifier.network.get_submodule(head).out_features == 3
    assert classifier.class_names == ("Class_0", "Class_1", "Class_2")


def test_a_loaded_network_is_frozen_whole_float32_and_in_eval_mode(tmp_path: Path) -> None:
    network = trained("mobilenet_v3_small")
    path = save(tmp_path, entries(network, "mobilenet_v3_small"))
    classifier = load_classifier(path)
    tensors = [*classifier.network.parameters(), *classifier.network.buffers()]
    assert not any(module.training for module in classifier.network.modules())
    assert not any(tensor.requires_grad for tensor in tensors)
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32}
    assert classifier.family == "mobilenet"
    assert classifier.depthwise
    assert classifier.path == path
    assert classifier.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "key", ["model_state_dict", "state_dict", "model", "net", "weights", "my_own_key"]
)
def test_loads_a_state_dict_under_any_key(tmp_path: Path, key: str) -> None:
    network = trained("resnet18")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    saved = {"optimizer_state_dict": optimizer.state_dict(), key: network.state_dict()}
    assert_same(load_classifier(save(tmp_path, saved | {"arch": "resnet18"})), network)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "backbone.", "module._orig_mod.model."]
)
def test_strips_wrappers_prefixes(tmp_path: Path, prefix: str) -> None:
    network = trained("resnet18")
    weights = {prefix + key: tensor for key, tensor in network.state_dict().items()}
    assert_same(load_classifier(save(tmp_path, {"state_dict": weights})), network)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_loads_other_precisions_and_leaves_integers_alone(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    network = fresh("resnet18")
    network.load_state_dict(
        {
            key: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for key, tensor in trained("resnet18").state_dict().items()
        }
    )
    weights = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in network.state_dict().items()
    }
    classifier = load_classifier(save(tmp_path, {"model": weights}))
    assert_same(classifier, network)
    counter = classifier.network.get_buffer("bn1.num_batches_tracked")
    assert (counter.dtype, counter.item()) == (torch.int64, 1)


def test_loads_the_older_file_format(tmp_path: Path) -> None:
    network = trained("resnet18")
    saved = entries(network, class_names=CLASSES, val_acc=np.float64(80.0))
    path = save(tmp_path, saved, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    classifier = load_classifier(path)
    assert_same(classifier, network)
    assert classifier.val_accuracy == pytest.approx(0.8)
    assert read_header(path).class_names == tuple(CLASSES)


def test_loads_without_the_norms_counters(tmp_path: Path) -> None:
    network = trained("resnet18")
    weights = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    assert_same(load_classifier(save(tmp_path, weights)), network)


def test_loads_parameters_and_weights_that_are_laid_out_otherwise(tmp_path: Path) -> None:
    network = trained("resnet18")
    weights = network.to(memory_format=torch.channels_last).state_dict(keep_vars=True)
    classifier = load_classifier(save(tmp_path, dict(weights)))
    assert_same(classifier, network, tolerance=1e-4)
    assert all(p.is_contiguous() for p in classifier.network.parameters())


@pytest.mark.parametrize("zipped", [True, False])
def test_loads_weights_that_are_views_into_one_storage(tmp_path: Path, zipped: bool) -> None:
    """All in one flat storage at offsets, one of them transposed in it."""
    network = copy.deepcopy(trained("resnet18"))
    state = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    state["fc.weight"] = state["fc.weight"].t().contiguous()
    flat = torch.cat([torch.zeros(7), *(one.flatten() for one in state.values())])
    weights, start = {}, 7
    for name, one in state.items():
        weights[name] = flat[start : start + one.numel()].view(one.shape)
        start += one.numel()
    weights["fc.weight"] = weights["fc.weight"].t()
    path = save(tmp_path, weights, _use_new_zipfile_serialization=zipped)
    assert_same(load_classifier(path), network)


@pytest.mark.parametrize("zipped", [True, False])
def test_loads_weights_that_two_names_share(tmp_path: Path, zipped: bool) -> None:
    network = copy.deepcopy(trained("resnet18"))
    first, second = network.get_submodule("layer1.0.conv1"), network.get_submodule("layer1.1.conv1")
    second.weight = first.weight
    path = save(tmp_path, entries(network), _use_new_zipfile_serialization=zipped)
    classifier = load_classifier(path)
    assert_same(classifier, network)
    weights = classifier.network.state_dict()
    one, other = weights["layer1.0.conv1.weight"], weights["layer1.1.conv1.weight"]
    assert one.data_ptr() != other.data_ptr()  # folding norms into one leaves the other alone


@pytest.mark.parametrize("device", ["cuda:0", "cuda:7", "mps"])
@pytest.mark.parametrize("zipped", [True, False])
def test_loads_weights_that_were_saved_from_another_device(
    tmp_path: Path, device: str, zipped: bool
) -> None:
    """As torch writes them there: the device's name stands beside each storage."""
    network = trained("resnet18")
    path = save(
        tmp_path, entries(network, class_names=CLASSES), _use_new_zipfile_serialization=zipped
    )
    put_on_device(path, device)
    assert_same(load_classifier(path), network)
    assert read_header(path).class_names == tuple(CLASSES)


def put_on_device(path: Path, device: str) -> None:
    def text(word: str) -> bytes:
        return b"X" + len(word).to_bytes(4, "little") + word.encode()

    def moved(data: bytes) -> bytes:
        assert text("cpu") in data
        return data.replace(text("cpu"), text(device))

    if not zipfile.is_zipfile(path):
        path.write_bytes(moved(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as archive:
        members = {one.filename: archive.read(one) for one in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, moved(data) if name.endswith("data.pkl") else data)


def test_the_network_does_not_share_memory_with_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, entries(trained("resnet18")))
    classifier = load_classifier(path)
    path.write_bytes(b"another file")
    assert_same(classifier, trained("resnet18"))


def test_loads_in_many_threads_at_once(tmp_path: Path) -> None:
    path = save(tmp_path, entries(trained("resnet18"), val_acc=np.float32(0.5)))
    allowed = torch.serialization.get_safe_globals()
    found: list[object] = []

    def load() -> None:
        try:
            found.append(load_classifier(path).val_accuracy)
        except CamError as error:
            found.append(error)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0.5] * 6
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


@pytest.mark.parametrize(
    ("name", "path", "head"),
    [
        ("resnet18", "fc", lambda: nn.Sequential(nn.Dropout(0.3), nn.Linear(512, 4))),
        ("resnet18", "fc", lambda: nn.Linear(512, 4, bias=False)),
        ("densenet121", "classifier", lambda: nn.Sequential(nn.Dropout(), nn.Linear(1024, 4))),
        ("efficientnet_b0", "classifier", lambda: nn.Linear(1280, 4)),
        ("efficientnet_b0", "classifier.1", lambda: nn.Sequential(nn.Linear(1280, 4))),
        ("mobilenet_v3_small", "classifier", lambda: nn.Linear(576, 4)),
        (
            "mobilenet_v3_small",
            "classifier",
            lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(576, 4)),
        ),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_loads_a_single_layer_in_place_of_the_head(
    tmp_path: Path, name: str, path: str, head: Callable[[], nn.Module], named: bool
) -> None:
    network = fresh(name)
    network.set_submodule(path, head().eval())
    saved = entries(network, name) if named else network.state_dict()
    classifier = load_classifier(save(tmp_path, saved))
    assert_same(classifier, network)
    assert classifier.network.get_submodule(classifier.head).out_features == 4
    assert len(classifier.class_names) == 4


@pytest.mark.parametrize(
    ("name", "path", "features"),
    [("resnet18", "fc", 512), ("efficientnet_b0", "classifier", 1280)],
)
def test_a_head_of_several_layers_is_refused_by_name(
    tmp_path: Path, name: str, path: str, features: int
) -> None:
    network = fresh(name)
    layers = nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 3)
    network.set_submodule(path, nn.Sequential(*layers))
    with pytest.raises(WeightsMismatch, match=rf"head has several layers \({path}\.0\.weight"):
        load_classifier(save(tmp_path, entries(network, name)))
    with pytest.raises(ArchitectureUnknown, match=rf"nearest is {name}.*several layers"):
        load_classifier(save(tmp_path, network.state_dict()))


def test_weights_without_a_head_are_refused(tmp_path: Path) -> None:
    weights = {k: v for k, v in trained("resnet18").state_dict().items() if "fc" not in k}
    with pytest.raises(WeightsMismatch, match=r"no classifier head \(fc\); missing: fc\.weight"):
        load_classifier(save(tmp_path, {"model": weights, "arch": "resnet18"}))


@pytest.mark.parametrize("folder", ["cls_resnet18_focal", "cls_ResNet18_cb_v2", "cls_resnet18"])
def test_the_folder_names_the_architecture(tmp_path: Path, folder: str) -> None:
    path = save(tmp_path / folder, trained("resnet18").state_dict())
    assert load_classifier(path).architecture == "resnet18"
    assert read_header(path).architecture == "resnet18"


def test_a_name_in_the_file_goes_before_the_folders(tmp_path: Path) -> None:
    path = save(tmp_path / "cls_densenet121_focal", entries(trained("resnet18")))
    assert load_classifier(path).architecture == "resnet18"
    assert read_header(path).architecture == "resnet18"


def test_a_name_that_is_not_known_leaves_it_to_the_weights(tmp_path: Path) -> None:
    path = save(tmp_path / "cls_mine_ce", entries(trained("resnet18"), "my_network"))
    assert load_classifier(path).architecture == "resnet18"
    assert read_header(path).architecture == "my_network"


@pytest.mark.parametrize("name", ["regnety_002", "timm/regnety_002.pycls_in1k"])
def test_loads_any_network_of_timm_by_name(tmp_path: Path, name: str) -> None:
    network = trained("regnety_002", "timm")
    classifier = load_classifier(save(tmp_path, {"arch": name, "state_dict": network.state_dict()}))
    assert_same(classifier, network)
    assert (classifier.family, classifier.naming) == ("timm", "timm")
    assert classifier.architecture in name
    assert (classifier.layout.early, classifier.layout.late) == ("s2", "s4")
    assert not classifier.depthwise


def test_constants_that_a_state_dict_lacks_are_there_after_loading(tmp_path: Path) -> None:
    """Swin's index of relative positions is no part of its state dict."""
    network = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=2)
    path = save(tmp_path / "cls_swin_tiny_patch4_window7_224_ce", network.state_dict())
    assert_same(load_classifier(path), network.eval(), size=224)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(64, dtype=torch.int8),
        torch.ones(64, dtype=torch.complex64),
        torch.ones(1).expand(64),
        torch.ones(64).to_sparse(),
        torch.ones(64, device="meta"),
    ],
    ids=["int8", "complex", "expanded", "sparse", "meta"],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:DeprecationWarning")
def test_tensors_of_another_kind_are_refused(tmp_path: Path, tensor: Tensor) -> None:
    weights = trained("resnet18").state_dict() | {"bn1.weight": tensor}
    with pytest.raises(CamError) as caught:
        load_classifier(save(tmp_path, {"model": weights, "arch": "resnet18"}))
    assert isinstance(caught.value, WeightsMismatch | CheckpointInvalid)


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "family", "accuracy", "epoch", "depthwise"),
    [
        ("cls_densenet121_cb", "densenet", 0.7753, 5, False),
        ("cls_densenet121_focal", "densenet", 0.8539, 34, False),
        ("cls_efficientnet_b1_cb", "efficientnet", 0.8202, 22, True),
        ("cls_efficientnet_b1_focal", "efficientnet", 0.8427, 22, True),
        ("cls_resnet50_focal", "resnet", 0.8202, 16, False),
    ],
)
def test_loads_the_real_experiments_models(
    real_experiment: Path, *, folder: str, family: str, accuracy: float, epoch: int, depthwise: bool
) -> None:
    path = real_experiment / folder / "best.pt"
    classifier, header = load_classifier(path), read_header(path)
    for facts in (classifier, header):
        assert facts.architecture == folder.removeprefix("cls_").rpartition("_")[0]
        assert facts.class_names == ("gametocyte", "ring", "schizont", "trophozoite")
        assert facts.val_accuracy == pytest.approx(accuracy, abs=1e-4)
        assert facts.epoch == epoch
    assert (classifier.family, classifier.naming) == (family, "torchvision")
    assert classifier.depthwise is depthwise
    assert classifier.preprocessing == Preprocessing()
    with torch.no_grad():
        logits = classifier.network(torch.zeros(1, 3, 224, 224))
    assert logits.shape == (1, 4)
    assert logits.isfinite().all()


def test_a_name_that_timm_has_deprecated_is_read_as_the_one_of_today(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = trained("tf_efficientnet_lite0", "timm")
    folder = tmp_path / "cls_lite_ce"
    for said, today in (
        ("tf_efficientnet_b0_ns", "tf_efficientnet_b0.ns_jft_in1k"),
        ("timm/tf-efficientnet-b0-ns", "tf_efficientnet_b0.ns_jft_in1k"),
        ("tv_resnet50", "resnet50"),
        ("swsl_resnet18", "resnet18"),
    ):
        path = save(folder, {"arch": said, "state_dict": network.state_dict()})
        assert read_header(path).architecture == today
    network = trained("tf_efficientnet_b0", "timm")
    path = save(folder, {"arch": "tf_efficientnet_b0_ns", "state_dict": network.state_dict()})
    classifier = load_classifier(path)
    assert_same(classifier, network)
    assert classifier.architecture == "tf_efficientnet_b0.ns_jft_in1k"
    assert "cls_lite_ce: timm's deprecated name tf_efficientnet_b0_ns is read as" in caplog.text
    assert read_header(path).input_size == (224, 224)

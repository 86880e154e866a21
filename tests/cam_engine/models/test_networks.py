"""Networks that torchvision and timm build, and what they record of them."""

from __future__ import annotations

import socket

import pytest
import timm
import torch
import torchvision
from torch import nn

from cam_engine.errors import ArchitectureUnknown
from cam_engine.models.architectures import NAMINGS, Layout, Naming, Sign, Stage, Tap
from cam_engine.models.networks import (
    before_last_window,
    build,
    config_of,
    current_timm_name,
    find_network,
    find_timm_model,
    find_torchvision_model,
    is_depthwise,
    libraries_of,
    recorded_layout,
    skeleton_of,
    timm_config,
    torchvision_models,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_timm_names_are_found_with_a_tag_that_timm_knows() -> None:
    assert find_timm_model("tf_efficientnet_b0") == "tf_efficientnet_b0"
    assert find_timm_model("timm/regnety_002.pycls_in1k") == "regnety_002.pycls_in1k"
    assert find_timm_model("RegNetY-002.my_own_tag") == "regnety_002"
    assert find_timm_model("no_such_network") is None
    assert find_timm_model("") is None


@pytest.mark.parametrize("naming", NAMINGS)
def test_an_unknown_network_is_not_built(naming: Naming) -> None:
    with pytest.raises(ArchitectureUnknown, match=r"no_such_network.*densenet121.*vit_b_16"):
        build("no_such_network", naming, 3)
    with pytest.raises(ArchitectureUnknown, match="torchvision network 'regnety_002'"):
        build("regnety_002", "torchvision", 3)


@pytest.mark.parametrize("naming", NAMINGS)
def test_no_pretrained_weights_are_asked_for(
    naming: Naming, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    for name in ("densenet121", "mobilenet_v3_small", "vit_b_16"):
        with torch.device("meta"):
            build(name, naming, 3)


@pytest.mark.parametrize(
    ("name", "depthwise"),
    [
        ("efficientnet_b0", True),
        ("mobilenet_v2", True),
        ("convnext_tiny", True),
        ("densenet121", False),
        ("resnet50", False),
        ("vgg16", False),
        ("vit_b_16", False),
    ],
)
def test_depthwise_networks_are_told(name: str, depthwise: bool) -> None:
    assert [is_depthwise(skeleton_of(name, naming, 3)) for naming in NAMINGS] == [depthwise] * 2


@pytest.mark.parametrize(
    ("name", "found", "libraries"),
    [
        ("mnasnet0_5", "mnasnet0_5", ("torchvision",)),
        ("torchvision.models.MNASNet0-5", "mnasnet0_5", ("torchvision",)),
        ("tv_mnasnet0_5", "mnasnet0_5", ("torchvision",)),
        ("inception_v3", "inception_v3", ("torchvision", "timm")),
        ("regnety_002", "regnety_002", ("timm",)),
        ("fasterrcnn_resnet50_fpn", None, ()),
        ("no_such_network", None, ()),
        ("", None, ()),
    ],
)
def test_networks_are_found_by_the_names_of_both_libraries(
    name: str, found: str | None, libraries: tuple[Naming, ...]
) -> None:
    assert find_network(name) == found
    assert libraries_of(name) == libraries
    assert (find_torchvision_model(name) is not None) == ("torchvision" in libraries)


def test_names_that_timm_has_deprecated_have_one_of_today() -> None:
    assert current_timm_name("timm/tv-resnet50") == "resnet50.tv_in1k"
    assert find_timm_model("tv_resnet50") == "resnet50.tv_in1k"
    assert current_timm_name("resnet50") is None


def test_models_of_torchvision_are_its_classifiers() -> None:
    everything = torchvision_models()
    assert everything == torchvision.models.list_models(module=torchvision.models)
    assert torchvision_models("timm.models.resnet") == everything
    assert torchvision_models("torchvision.models.googlenet") == ["googlenet"]
    assert torchvision_models("torchvision.models.nothing") == []


@pytest.mark.parametrize(
    ("name", "naming", "size"),
    [
        ("vit_b_16", "torchvision", (96, 96)),
        ("vit_tiny_patch16_224", "timm", (96, 96)),
        ("maxvit_t", "torchvision", (448, 448)),
        ("resnet18", "torchvision", (96, 96)),
        ("resnet26", "timm", (96, 96)),
    ],
)
def test_networks_are_built_for_a_size_where_they_have_one(
    name: str, naming: Naming, size: tuple[int, int]
) -> None:
    network = skeleton_of(name, naming, 3, size)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert network.eval()(torch.zeros(1, 3, *size, device="meta")).shape == (1, 3)


def test_what_torchvision_records_is_read_from_its_weights_and_layers() -> None:
    config = config_of("inception_v3", "torchvision")
    assert (config.head, config.input_size, config.fixed_size) == ("fc", (299, 299), False)
    vit = config_of("vit_l_16", "torchvision")
    assert (vit.head, vit.input_size, vit.fixed_size) == ("heads.head", (224, 224), True)
    assert config_of("squeezenet1_0", "torchvision").head == "classifier.1"
    assert config_of("regnety_002", "timm") == timm_config("regnety_002")
    with pytest.raises(ArchitectureUnknown, match="torchvision has no nobody; supported are"):
        config_of("nobody", "torchvision")
    with pytest.raises(ArchitectureUnknown, match="timm records nothing of nobody"):
        timm_config("nobody")


STAGES = tuple(Stage(name, name, Tap(name, Sign.SIGNED)) for name in ("a", "b", "c"))
LAYOUT = Layout(STAGES, "a", "b", "c")


def test_a_swins_late_layer_is_what_its_last_attention_reads() -> None:
    network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3)
    layout = before_last_window(LAYOUT, network)
    assert layout.stages[:2] == STAGES[:2]
    assert layout.stages[2].tap == Tap("layers.3.blocks.1.norm1", Sign.SIGNED)
    assert layout.stages[2].label == "c"


def test_others_keep_their_late_layer() -> None:
    assert before_last_window(LAYOUT, nn.Sequential(nn.ReLU())) is LAYOUT


@pytest.mark.parametrize("name", ["twins_pcpvt_small", "coat_tiny"])
def test_of_a_timm_network_without_three_feature_maps_nothing_is_recorded(name: str) -> None:
    assert recorded_layout(skeleton_of(name, "timm", 3)) is None


def test_timms_own_preprocessing_is_known() -> None:
    config = timm_config("deit3_small_patch16_384")
    assert config.input_size == (384, 384)
    assert config.fixed_size
    assert config.head == "head"
    assert not timm_config("regnety_002").fixed_size

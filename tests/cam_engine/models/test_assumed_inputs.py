"""What is assumed of inputs where files are silent: as the libraries record it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from cam_engine.errors import InvalidOption
from cam_engine.images.preparing import Preprocessing
from cam_engine.models.architectures import Naming
from cam_engine.models.assumed_inputs import (
    check_size,
    default_preprocessing,
    recorded_preprocessing,
)
from cam_engine.models.fitting.comparing import Fit, Hints, as_it_is, compare
from cam_engine.models.libraries.plugins import OwnNetwork

PATH = Path("best.pt")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OF_ALL = "assumed: 224 x 224 px and ImageNet's statistics"


def fit_of(name: str, naming: Naming, head: str, image_size: tuple[int, int] | None = None) -> Fit:
    """Of weights that do not matter here."""
    return compare(name, naming, head, {}, Hints(image_size=image_size))


def own_fit(naming: Naming, image_size: tuple[int, int] | None = None) -> Fit:
    return as_it_is("own", nn.Linear(2, 2), {}, naming, Hints(image_size=image_size))


def test_networks_of_the_table_are_given_what_torchvision_trains_with() -> None:
    seen, source = default_preprocessing(fit_of("efficientnet_b1", "torchvision", "classifier.1"))
    assert (seen, source) == (Preprocessing((224, 224), *IMAGENET), OF_ALL)
    assert recorded_preprocessing("efficientnet_b1") == seen


@pytest.mark.parametrize(
    ("name", "naming", "head", "recorded", "by"),
    [
        # As timm's and torchvision's own pages of these weights say.
        ("efficientnet_b1", "timm", "classifier", ((240, 240), *INCEPTION), "efficientnet_b1"),
        ("vit_b_16", "timm", "head", ((224, 224), *INCEPTION), "vit_base_patch16_224"),
        ("inception_v3", "torchvision", "fc", ((299, 299), *IMAGENET), "inception_v3"),
        ("resnet26", "timm", "fc", ((224, 224), *IMAGENET), "resnet26"),
    ],
)
def test_others_are_given_what_their_library_records(
    name: str, naming: Naming, head: str, recorded: tuple[object, ...], by: str
) -> None:
    seen, source = default_preprocessing(fit_of(name, naming, head))
    assert (seen.input_size, seen.mean, seen.std) == recorded
    assert source == f"assumed: as {naming} records them of {by}"


@pytest.mark.parametrize(
    ("name", "size"),
    [("inception_v3", (299, 299)), ("resnet26", (224, 224)), ("maxvit_nano_rw_256", (256, 256))],
)
def test_a_name_alone_says_the_size(name: str, size: tuple[int, int]) -> None:
    assert recorded_preprocessing(name).input_size == size


def test_a_size_that_a_network_was_built_for_goes_before_the_record() -> None:
    fit = fit_of("vit_tiny_patch16_224", "timm", "head", (96, 96))
    assert default_preprocessing(fit)[0] == Preprocessing((96, 96), *INCEPTION)


def test_networks_of_transformers_are_given_the_size_of_their_config() -> None:
    said = "assumed: image_size in config.json, and ImageNet's statistics"
    assert default_preprocessing(own_fit("transformers", (64, 48))) == (
        Preprocessing((64, 48)),
        said,
    )
    assert default_preprocessing(own_fit("transformers")) == (Preprocessing(), OF_ALL)


def test_the_files_own_layers_are_given_what_all_are() -> None:
    assert default_preprocessing(own_fit("file")) == (Preprocessing(), OF_ALL)


def test_a_labs_own_network_says_it_itself() -> None:
    own = OwnNetwork(nn.Linear(2, 2), {}, (96, 64), *INCEPTION)
    seen, source = default_preprocessing(own_fit("file"), own)
    assert seen == Preprocessing((96, 64), *INCEPTION)
    assert source == "assumed: as own says"


@pytest.mark.parametrize(
    ("fit", "size"),
    [
        (lambda: fit_of("vit_b_16", "torchvision", "heads.head"), 224),
        (lambda: fit_of("levit_128s", "timm", "head.linear"), 224),
        (lambda: fit_of("vit_tiny_patch16_224", "timm", "head", (96, 96)), 96),
    ],
)
def test_networks_of_one_size_take_no_other(fit: Callable[[], Fit], size: int) -> None:
    made = fit()
    check_size(made, Preprocessing((size, size)), PATH)
    said = rf"^best\.pt: {made.name} takes images of {size}x{size} px only, input_size is 64x80$"
    with pytest.raises(InvalidOption, match=said):
        check_size(made, Preprocessing((64, 80)), PATH)


def test_networks_of_any_size_take_it() -> None:
    check_size(fit_of("resnet18", "torchvision", "fc"), Preprocessing((64, 80)), PATH)
    check_size(fit_of("resnet26", "timm", "fc"), Preprocessing((64, 80)), PATH)

"""torchvision's networks are known by their weights, without building each of them."""

from __future__ import annotations

import json

import pytest
import torchvision

from cam_engine.models.libraries.signatures import names_of
from scripts.generate_signatures import PATH, signature


def test_all_classifiers_of_torchvision_are_in_the_file() -> None:
    known = json.loads(PATH.read_text())
    names = {name for of in known.values() for names in of.values() for name in names}
    assert names == set(torchvision.models.list_models(module=torchvision.models))


@pytest.mark.parametrize("name", ["squeezenet1_1", "mnasnet0_5", "shufflenet_v2_x0_5", "vgg11"])
def test_a_network_is_found_by_its_weights_whatever_its_classes(name: str) -> None:
    network = torchvision.models.get_model(name, weights=None, num_classes=5)
    assert names_of(network.state_dict()) == [name]
    assert json.loads(PATH.read_text())[signature(name)[0]][signature(name)[1]] == [name]


def test_other_weights_are_of_none() -> None:
    weights = torchvision.models.get_model("squeezenet1_1", weights=None).state_dict()
    del weights["features.0.bias"]
    assert names_of(weights) == []

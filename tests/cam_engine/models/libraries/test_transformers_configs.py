"""What `config.json` of transformers says, honest or not, and what the library makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cam_engine.errors import ArchitectureUnknown, CheckpointInvalid
from cam_engine.models.libraries.transformers_configs import (
    KEY,
    check_numbers,
    class_name,
    classes_of,
    config_of,
    image_size_of,
    is_of_transformers,
    named_in_config,
    recorded_size,
    said_of,
    shown,
)

transformers: Any = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'gradcam-service[hf]'"
)
PLACE = "model.safetensors"
CONFIGS: list[tuple[object, bool]] = [
    ({"model_type": "vit"}, True),
    ({}, True),
    ({"model_type": "timm_wrapper"}, False),
    (["vit"], False),
    ("vit", False),
    (None, False),
]


@pytest.mark.parametrize(("config", "expected"), CONFIGS)
def test_a_config_is_of_transformers_unless_timms_network_is_in_it(
    config: object, *, expected: bool
) -> None:
    assert is_of_transformers({KEY: config}) is expected
    assert not is_of_transformers({})


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"architectures": ["ViTModel", 3, None, "X"]}, ("ViTModel", "X")),
        ({"architectures": "ViTModel"}, ()),
        ({"architectures": None}, ()),
        ({}, ()),
        (["ViTModel"], ()),
        (None, ()),
    ],
)
def test_classes_are_named_as_text(config: object, names: tuple[str, ...]) -> None:
    assert named_in_config({KEY: config}) == names


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"model_type": "vit", "image_size": 64}, 64),
        ({"model_type": "vit", "image_size": "large"}, "large"),
        ({"model_type": "vit", "image_size": None}, None),
        ({"vision_config": {"image_size": [64, 48]}, "image_size": 1}, [64, 48]),
        ({"model_type": "vit"}, (224, 224)),
        ({"model_type": "efficientnet"}, (600, 600)),
        ({"model_type": "clip", "vision_config": {}}, (224, 224)),
        ({"model_type": "resnet"}, None),
        ({"model_type": "nobody"}, None),
        ({}, None),
        ("vit", None),
        (None, None),
    ],
)
def test_the_size_is_as_it_is_said_or_the_librarys_own(config: object, size: object) -> None:
    assert recorded_size({KEY: config}) == size


def test_classes_that_classify_images_are_those_of_the_kind() -> None:
    assert classes_of({"model_type": "vit"}, PLACE) == ("ViTForImageClassification",)
    assert classes_of({"model_type": "deit"}, PLACE) == (
        "DeiTForImageClassification",
        "DeiTForImageClassificationWithTeacher",
    )


@pytest.mark.parametrize("kind", ["nobody", "bert", None, ["vit"], 3])
def test_kinds_that_do_not_classify_images_are_refused(kind: object) -> None:
    with pytest.raises(ArchitectureUnknown, match=r"^model\.safetensors: model_type .* is none of"):
        classes_of({"model_type": kind}, PLACE)


def test_of_the_classes_that_are_said_one_that_classifies_is_taken() -> None:
    names = ("Plain", "WithTeacher")
    assert class_name((), names, "deit", PLACE) == "Plain"
    assert class_name(("Model", "WithTeacher"), names, "deit", PLACE) == "WithTeacher"
    said = r"says 'Model', which does not classify images; of deit, Plain or WithTeacher does"
    with pytest.raises(ArchitectureUnknown, match=said):
        class_name(("Model",), names, "deit", PLACE)


@pytest.mark.parametrize(
    "said",
    [
        {"hidden_size": 1 << 20, "eps": 1e-12, "big": 1e30, "labels": ["a", None, True]},
        {"num_labels": 100_000},
        {"num_labels": "many"},
        {"nested": [[[-(1 << 20)]]]},
        [],
        None,
    ],
)
def test_numbers_within_limits_are_passed(said: object) -> None:
    check_numbers(said, PLACE)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"hidden_size": (1 << 20) + 1}, "'hidden_size' in config.json is larger than 1,048,576"),
        ({"hidden_size": -(1 << 20) - 1}, "'hidden_size'"),
        ({"a": {"b": [[1, {"depths": [1 << 30]}]]}}, "'depths'"),
        ([1 << 30], "'config.json'"),
        ({"num_labels": 100_001}, "num_labels in config.json is larger than 100,000"),
    ],
)
def test_numbers_that_cost_more_than_the_file_are_refused(said: object, name: str) -> None:
    with pytest.raises(CheckpointInvalid, match=rf"^model\.safetensors: {name}"):
        check_numbers(said, PLACE)


def test_a_config_is_the_librarys_with_the_settings_that_it_declares() -> None:
    config = config_of(
        {
            "model_type": "vit",
            "hidden_size": 16,
            "id2label": {"0": "ring", "1": "schizont"},
            "problem_type": "multi_label_classification",
            "auto_map": {"AutoConfig": "evil.Config"},
            "_attn_implementation": "evil/kernels",
            "torch_dtype": "float16",
            "quantization_config": {"load_in_8bit": True},
            "mine": 3,
        },
        PLACE,
    )
    assert isinstance(config, transformers.ViTConfig)
    assert config.hidden_size == 16
    assert config.id2label == {0: "ring", 1: "schizont"}
    assert config.problem_type == "multi_label_classification"
    held = config.to_dict()
    assert not {"auto_map", "quantization_config", "mine"} & held.keys()
    assert "evil" not in repr(held)


def test_labels_are_counted_where_they_are_not_named() -> None:
    assert config_of({"model_type": "vit", "num_labels": 7}, PLACE).num_labels == 7
    named = {"model_type": "vit", "num_labels": 7, "id2label": {"0": "a", "1": "b"}}
    assert config_of(named, PLACE).num_labels == 2


def test_configs_within_a_config_are_cleared_as_well() -> None:
    vision = {"model_type": "clip_vision_model", "image_size": 64, "auto_map": {"x": "evil.y"}}
    config = config_of({"model_type": "clip", "vision_config": vision}, PLACE)
    assert config.vision_config.image_size == 64
    assert "evil" not in repr(config.to_dict())
    assert image_size_of(config) == (64, 64)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"model_type": "nobody"}, r"of nobody \(KeyError: 'nobody'\)"),
        ({"model_type": "vit", "id2label": 3}, r"of vit \("),
    ],
)
def test_what_the_library_refuses_is_said_in_its_words(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointInvalid, match=rf"transformers refuses config\.json {reason}"):
        config_of(said, PLACE)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (SimpleNamespace(image_size=64), (64, 64)),
        (SimpleNamespace(image_size=[64, 48]), (64, 48)),
        (SimpleNamespace(image_size=(64, 48)), (64, 48)),
        (SimpleNamespace(image_size=[64]), None),
        (SimpleNamespace(image_size=[3, 64, 48]), None),
        (SimpleNamespace(image_size="64"), None),
        (SimpleNamespace(image_size=None), None),
        (SimpleNamespace(), None),
        (SimpleNamespace(vision_config=SimpleNamespace(image_size=32), image_size=64), (32, 32)),
    ],
)
def test_the_size_of_a_config_is_height_and_width(
    config: object, size: tuple[int, int] | None
) -> None:
    assert image_size_of(config) == size


def test_values_and_errors_are_shown_in_bounded_length_on_one_line() -> None:
    assert shown("vit") == "'vit'"
    assert len(shown("x" * 1000)) == 300
    assert shown({"a": "\x1b[31m"}).isprintable()
    assert said_of(ValueError("two\n  lines\x1b[31m")) == "ValueError: two lines"
    assert said_of("plain  text") == "plain text"
    assert len(said_of(ValueError("x" * 1000))) == len("ValueError: ") + 300

"""Folders that transformers' own `save_pretrained` writes answer as transformers does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cam_engine import CamOptions, Explainer
from cam_engine.errors import (
    ArchitectureUnknown,
    CheckpointInvalid,
    InvalidOption,
    WeightsMismatch,
)
from cam_engine.models.loading import load_classifier, read_header

transformers: Any = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'gradcam-service[hf]'"
)
pytestmark = pytest.mark.usefixtures("one_thread", "silent")

SIDE = 64
CLASSES = ("ring", "schizont", "trophozoite")
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
TOKENS = {
    "image_size": SIDE,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WINDOWS = {
    "image_size": SIDE,
    "embed_dim": 8,
    "depths": [1, 1, 2, 1],
    "num_heads": [1, 2, 2, 2],
    "window_size": 2,
}
CNN_GRIDS = ((8, 8), (4, 4), (2, 2))
TOKEN_GRIDS = ((8, 8),) * 3
# Class, settings, the module of "late", grids of early, mid and late.
NETWORKS: dict[str, tuple[dict[str, Any], str, tuple[tuple[int, int], ...]]] = {
    "ResNet": (STAGES | {"embedding_size": 8}, "resnet.encoder.stages.3", CNN_GRIDS),
    "RegNet": (
        STAGES | {"embedding_size": 8, "groups_width": 8},
        "regnet.encoder.stages.3",
        CNN_GRIDS,
    ),
    "ConvNext": (STAGES | {"image_size": SIDE}, "convnext.encoder.stages.3", CNN_GRIDS),
    "MobileNetV2": (
        {"image_size": SIDE, "depth_multiplier": 0.25},
        "mobilenet_v2.conv_1x1",
        CNN_GRIDS,
    ),
    "EfficientNet": (
        {
            "image_size": SIDE,
            "width_coefficient": 0.25,
            "depth_coefficient": 0.3,
            "hidden_dim": 320,
        },
        "efficientnet.encoder.top_activation",
        CNN_GRIDS,
    ),
    "ViT": (TOKENS, "vit.layers.4", TOKEN_GRIDS),
    "DeiT": (TOKENS, "deit.layers.4", TOKEN_GRIDS),
    "Beit": (TOKENS | {"use_relative_position_bias": True}, "beit.layers.5", TOKEN_GRIDS),
    "Dinov2": (
        {key: TOKENS[key] for key in TOKENS if key != "intermediate_size"},
        "dinov2.encoder.layer.5",
        TOKEN_GRIDS,
    ),
    "Swin": (WINDOWS, "swin.encoder.layers.3.blocks.0", CNN_GRIDS),
    "Swinv2": (WINDOWS, "swinv2.encoder.layers.3.blocks.0", CNN_GRIDS),
    "Pvt": (
        STAGES | {"image_size": SIDE, "num_attention_heads": [1, 1, 2, 2], "num_labels": 3},
        "pvt.encoder.block.3.0.layer_norm_1",
        CNN_GRIDS,
    ),
    "PoolFormer": (STAGES, "poolformer.encoder.block.3.0", CNN_GRIDS),
    "FocalNet": (
        {"image_size": SIDE, "embed_dim": 8, "depths": [1, 1, 2, 1]},
        "focalnet.encoder.stages.3.layers.0",
        CNN_GRIDS,
    ),
}


@pytest.fixture
def silent() -> Iterator[None]:
    """Without what transformers says of its own writing and reading of the same folder."""
    logging = transformers.utils.logging
    verbosity, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(verbosity)
    if shows_progress:
        logging.enable_progress_bar()


def made(name: str, **settings: Any) -> Any:
    """A classifier of transformers with random weights, also where it begins with none."""
    torch.manual_seed(0)
    chosen = {"id2label": dict(enumerate(CLASSES)), **NETWORKS[name][0], **settings}
    config = getattr(transformers, f"{name}Config")(**chosen)
    network: Any = getattr(transformers, f"{name}ForImageClassification")(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for key, buffer in network.named_buffers():
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return network


def saved(network: Any, folder: Path, **preprocessor: Any) -> Path:
    network.save_pretrained(folder)
    if preprocessor:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder / "model.safetensors"


def changed(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


def noise(channels: int = 3, side: int = SIDE) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def answers(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        answer = network(images)
    logits: Tensor = getattr(answer, "logits", answer)
    return logits


def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (80, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    path = saved(made(name), tmp_path)
    classifier = load_classifier(path, input_size=SIDE)
    read_by_itself = getattr(transformers, f"{name}ForImageClassification").from_pretrained(
        tmp_path, local_files_only=True
    )
    images = noise()
    expected = answers(read_by_itself.eval(), images)
    assert expected.std() > 1e-3  # no network that answers the same to all
    assert (answers(classifier.network, images) - expected).abs().max() < 1e-4
    assert classifier.architecture == f"{name}ForImageClassification"
    assert (classifier.family, classifier.naming) == ("transformers", "transformers")
    assert classifier.sources["architecture"] == "architectures in config.json"
    assert classifier.class_names == CLASSES
    assert not any(one.requires_grad for one in classifier.network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_early_mid_and_late_have_grids_and_maps(tmp_path: Path, name: str) -> None:
    classifier = load_classifier(saved(made(name), tmp_path), input_size=SIDE)
    _, late, grids = NETWORKS[name]
    assert classifier.layout.late == f"model.{late}"
    (explained,) = Explainer(classifier).explain([picture()])
    assert tuple(layer.grid for layer in explained.layers) == grids
    assert all(np.isfinite(layer.values).all() for layer in explained.layers)
    assert not all(layer.empty for layer in explained.layers)


def test_a_block_can_be_named(tmp_path: Path) -> None:
    classifier = load_classifier(saved(made("Swin"), tmp_path))
    options = CamOptions(layers=("model.swin.encoder.layers.1.blocks.0",))
    (explained,) = Explainer(classifier).explain([picture()], options)
    assert [layer.grid for layer in explained.layers] == [(8, 8)]


def test_weights_in_pickles_and_in_halves_are_read(tmp_path: Path) -> None:
    network = made("ViT")
    saved(network, tmp_path).unlink()
    path = tmp_path / "pytorch_model.bin"
    torch.save({key: value.half() for key, value in network.state_dict().items()}, path)
    classifier = load_classifier(path)
    assert {one.dtype for one in classifier.network.parameters()} == {torch.float32}
    difference = answers(classifier.network, noise()) - answers(network, noise())
    assert difference.abs().max() < 0.01


def test_inputs_are_those_of_the_preprocessor(tmp_path: Path) -> None:
    path = saved(
        made("ResNet"),
        tmp_path,
        do_normalize=True,
        image_mean=[0.5, 0.4, 0.3],
        image_std=[0.2, 0.3, 0.4],
        size={"height": 96, "width": 64},
    )
    seen = load_classifier(path).preprocessing
    assert (seen.input_size, seen.mean, seen.std) == ((96, 64), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def test_without_a_preprocessor_what_is_assumed_is_said(tmp_path: Path) -> None:
    classifier = load_classifier(saved(made("ViT"), tmp_path))
    assert classifier.preprocessing.input_size == (SIDE, SIDE)
    assert classifier.sources["input_size"].startswith("assumed: image_size in config.json")
    assert read_header(classifier.path or tmp_path).architecture == "ViTForImageClassification"


def test_efficientnets_are_given_what_their_processor_gives_them(tmp_path: Path) -> None:
    processor = transformers.EfficientNetImageProcessor(
        size={"height": SIDE, "width": SIDE},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.4785, 0.4733, 0.4743],
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        include_top=True,
    )
    path = saved(made("EfficientNet"), tmp_path)
    processor.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    expected = processor(image, return_tensors="pt")["pixel_values"]
    seen = load_classifier(path).preprocessing
    unit = torch.from_numpy(image).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (seen.mean, seen.std))
    torch.testing.assert_close((unit - mean) / std, expected[0], atol=1e-4, rtol=1e-4)


def test_one_channel_is_given_the_luma(tmp_path: Path) -> None:
    network = made("ResNet", num_channels=1)
    classifier = load_classifier(saved(network, tmp_path), input_size=SIDE)
    grey = noise(1)
    expected = answers(network, grey)
    assert (answers(classifier.network, grey.expand(-1, 3, -1, -1)) - expected).abs().max() < 1e-4
    assert any("made grey" in notice for notice in classifier.notices)


def test_channels_that_the_processor_turns_are_turned(tmp_path: Path) -> None:
    network = made("ResNet")
    path = saved(network, tmp_path, do_normalize=False, do_flip_channel_order=True, size=SIDE)
    classifier = load_classifier(path)
    expected = answers(network, noise().flip(1))
    assert (answers(classifier.network, noise()) - expected).abs().max() < 1e-4
    assert any("blue, green and red" in notice for notice in classifier.notices)


def test_code_that_a_config_names_is_not_read(tmp_path: Path) -> None:
    network = made("ResNet")
    path = saved(network, tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('was run')")
    changed(
        tmp_path,
        auto_map={"AutoModelForImageClassification": "evil.Model", "AutoConfig": "evil.Config"},
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True},
        attn_implementation="kernels-community/evil",
        _attn_implementation="kernels-community/evil",
        fusion_config={"patch_embeddings": True},
        transformers_weights="elsewhere.bin",
    )
    classifier = load_classifier(path, input_size=SIDE)
    assert (answers(classifier.network, noise()) - answers(network, noise())).abs().max() < 1e-4
    assert any("auto_map" in remark for remark in classifier.remarks)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"model_type": "nobody"}, ArchitectureUnknown, "'nobody'.* is none of the image"),
        ({"model_type": ["vit"]}, ArchitectureUnknown, "is none of the image"),
        ({"model_type": "bert"}, ArchitectureUnknown, "'bert'.* is none of the image"),
        ({"architectures": ["ViTModel"]}, ArchitectureUnknown, "'ViTModel', which does not cl"),
        ({"model_type": "imagegpt", "architectures": None}, ArchitectureUnknown, "take images"),
        ({"hidden_size": 200_000}, CheckpointInvalid, "more than 1,500,000,000 parameters"),
        ({"num_hidden_layers": 1_000_000}, CheckpointInvalid, "more than 10,000 modules"),
        ({"hidden_size": 10**9}, CheckpointInvalid, "'hidden_size'.* is larger than"),
        ({"id2label": None, "num_labels": 10**6}, CheckpointInvalid, "num_labels.* is larger"),
        ({"hidden_act": "os.system"}, CheckpointInvalid, "cannot build|refuses"),
        ({"hidden_size": "large"}, CheckpointInvalid, "cannot build|refuses"),
        ({"num_channels": 5}, WeightsMismatch, "wrong shape: "),
        ({"hidden_size": 32}, WeightsMismatch, "wrong shape: "),
        ({"num_hidden_layers": 7}, WeightsMismatch, "missing: vit.layers.6"),
        ({"num_hidden_layers": 5}, WeightsMismatch, "unexpected: vit.layers.5"),
        ({"problem_type": "regression"}, ArchitectureUnknown, "is a regression"),
    ],
)
def test_what_does_not_work_is_said(
    tmp_path: Path, settings: dict[str, object], error: type[Exception], said: str
) -> None:
    path = saved(made("ViT"), tmp_path)
    changed(tmp_path, **settings)
    with pytest.raises(error, match=said):
        load_classifier(path)


def test_a_config_that_is_no_json_is_said(tmp_path: Path) -> None:
    path = saved(made("ViT"), tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit",')
    with pytest.raises(CheckpointInvalid, match=r"config.json is no JSON"):
        load_classifier(path)


def test_images_of_another_size_than_it_takes_are_said(tmp_path: Path) -> None:
    path = saved(made("ViT"), tmp_path)
    with pytest.raises(InvalidOption, match=r"no images of 96x96 px.*match model .64\*64"):
        load_classifier(path, input_size=96)


def test_several_classes_an_image_are_a_notice(tmp_path: Path) -> None:
    path = saved(made("ResNet", problem_type="multi_label_classification"), tmp_path)
    classifier = load_classifier(path, input_size=SIDE)
    assert any("several classes in an image" in notice for notice in classifier.notices)


def test_without_the_library_what_to_install_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(made("ResNet"), tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ArchitectureUnknown, match=r"pip install 'gradcam-service\[hf\]'"):
        load_classifier(path)


def test_nothing_is_said_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = saved(made("Swin"), tmp_path)
    transformers.utils.logging.set_verbosity_info()
    transformers.utils.logging.enable_progress_bar()
    capfd.readouterr()
    load_classifier(path)
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()

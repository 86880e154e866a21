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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cam_engine import CamOptions, Explainer
from cam_engine.errors import (
    ArchitectureUnknown,
    CheckpointInvalid,
    InvalidOption,
    WeightsMismatch,
)
from cam_engine.models.header_reading import read_header
from cam_engine.models.loading import load_classifier

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
    "Cvt": (
        {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 2], "depth": [1, 2, 3], "num_labels": 3},
        "cvt.encoder.stages.2.layers.2.layernorm_before",
        ((16, 16), (8, 8), (4, 4)),
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
    assert not any(parameter.requires_grad for parameter in classifier.network.parameters())


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
    assert {parameter.dtype for parameter in classifier.network.parameters()} == {torch.float32}
    difference = answers(classifier.network, noise()) - answers(network, noise())
    assert difference.abs().max() < 0.01


def in_parts(network: Any, folder: Path) -> Path:
    network.save_pretrained(folder, max_shard_size="20KB")
    assert len([*folder.glob("model-0000*.safetensors")]) > 1
    return folder / "model.safetensors.index.json"


def pickled_in_parts(network: Any, folder: Path) -> Path:
    """As versions before safetensors wrote them."""
    network.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    weights = [*network.state_dict().items()]
    places: dict[str, str] = {}
    for number, start in enumerate(range(0, len(weights), 30), start=1):
        name = f"pytorch_model-{number:05}-of-00003.bin"
        torch.save(dict(weights[start : start + 30]), folder / name)
        places |= {key: name for key, _ in weights[start : start + 30]}
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("write", [in_parts, pickled_in_parts])
def test_weights_in_several_files_are_read(tmp_path: Path, write: Any) -> None:
    network = made("ViT")
    path = write(network, tmp_path)
    classifier = load_classifier(path)
    assert (answers(classifier.network, noise()) - answers(network, noise())).abs().max() < 1e-5
    header = read_header(path)
    assert (header.architecture, header.class_names) == ("ViTForImageClassification", CLASSES)
    (tmp_path / f"{path.name.partition('.')[0]}.json").write_text('{"val_acc": 0.75}')
    assert load_classifier(path).val_accuracy == 0.75


def test_each_part_is_part_of_the_digest_and_must_be_there(tmp_path: Path) -> None:
    path = in_parts(made("ViT"), tmp_path)
    before = load_classifier(path).sha256
    part = min(tmp_path.glob("model-0000*"))
    weights = load_file(part)
    save_file({key: value + 1 for key, value in weights.items()}, part)
    assert load_classifier(path).sha256 != before
    part.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointInvalid, match=f"names {part.name}, which is not beside it"):
        load_classifier(path)


def test_an_index_that_says_no_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text('{"weight_map": {}}')
    for reader in (load_classifier, read_header):
        with pytest.raises(CheckpointInvalid, match="names no weights"):
            reader(path)


def test_a_part_that_is_a_link_out_is_not_read(tmp_path: Path) -> None:
    path = in_parts(made("ViT"), tmp_path / "model")
    part = min((tmp_path / "model").glob("model-0000*"))
    part.rename(tmp_path / "outside")
    part.symlink_to(tmp_path / "outside")
    with pytest.raises(CheckpointInvalid, match="which is not beside it"):
        load_classifier(path)


def test_a_checkpoint_of_a_trainer_is_read(tmp_path: Path) -> None:
    network = made("ViT")
    folder = tmp_path / "checkpoint-500"
    path = saved(network, folder)
    torch.save({"state": {}, "param_groups": []}, folder / "optimizer.pt")
    (folder / "trainer_state.json").write_text('{"best_metric": 0.9}')
    classifier = load_classifier(path)
    assert (answers(classifier.network, noise()) - answers(network, noise())).abs().max() < 1e-5


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


def with_own_head(name: str, *layers: nn.Module) -> Any:
    network = made(name)
    network.classifier = nn.Sequential(*layers)
    return network.eval()


def of_two_layers(features: int) -> list[nn.Module]:
    return [nn.Linear(features, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 3)]


@pytest.mark.parametrize(
    ("name", "before", "features", "words"),
    [
        ("ViT", [], 16, "linear relu dropout linear"),
        ("ResNet", [nn.Flatten()], 32, "flatten linear relu dropout linear"),
    ],
)
@pytest.mark.parametrize("said_by", ["argument", "sidecar"])
def test_a_head_of_several_layers_is_said_in_words(
    tmp_path: Path, name: str, before: list[nn.Module], features: int, words: str, said_by: str
) -> None:
    network = with_own_head(name, *before, *of_two_layers(features))
    path = saved(network, tmp_path)
    head = words if said_by == "argument" else None
    if head is None:
        (tmp_path / "model.json").write_text(json.dumps({"head": words}))
    classifier = load_classifier(path, input_size=SIDE, head=head)
    expected = answers(network, noise())
    assert expected.std() > 1e-3
    assert (answers(classifier.network, noise()) - expected).abs().max() < 1e-5
    assert classifier.head.startswith("model.classifier.")
    assert classifier.class_names == CLASSES


def test_a_head_that_was_not_said_is_refused_with_the_line_to_give(tmp_path: Path) -> None:
    path = saved(with_own_head("ViT", *of_two_layers(16)), tmp_path)
    with pytest.raises(WeightsMismatch, match='--head "linear relu dropout linear"'):
        load_classifier(path)
    with pytest.raises(InvalidOption, match="has linear with weights"):
        load_classifier(path, head="linear")


def test_a_head_in_words_of_a_network_with_its_own_is_never_passed_over(tmp_path: Path) -> None:
    network = made("ViT")
    path = saved(network, tmp_path)
    with pytest.raises(WeightsMismatch, match="is one linear layer, not linear relu linear"):
        load_classifier(path, head="linear relu linear")
    classifier = load_classifier(path, head="dropout linear")
    assert (answers(classifier.network, noise()) - answers(network, noise())).abs().max() < 1e-5


def test_a_body_that_does_not_fit_is_refused_whatever_the_head(tmp_path: Path) -> None:
    path = saved(with_own_head("ViT", *of_two_layers(16)), tmp_path)
    changed(tmp_path, num_hidden_layers=7)
    with pytest.raises(WeightsMismatch, match=r"missing: .*vit\.layers\.6"):
        load_classifier(path, head="linear relu dropout linear")


def test_headers_have_the_size_that_loading_gives(tmp_path: Path) -> None:
    sized = saved(made("ViT"), tmp_path / "a")
    assert read_header(sized).input_size == (SIDE, SIDE)
    processed = saved(made("ResNet"), tmp_path / "b", size={"height": 96, "width": 64})
    assert read_header(processed).input_size == (96, 64)
    silent = saved(made("ViT", image_size=224, patch_size=16), tmp_path / "c")
    config = json.loads((tmp_path / "c/config.json").read_text())
    del config["image_size"]
    (tmp_path / "c/config.json").write_text(json.dumps(config | {"patch_size": 16}))
    for path in (sized, processed, silent):
        assert read_header(path).input_size == load_classifier(path).preprocessing.input_size


def test_headers_of_damaged_configs_have_no_size(tmp_path: Path) -> None:
    path = saved(made("ViT"), tmp_path)
    for settings in ({"image_size": "large"}, {"image_size": [64]}, {"image_size": 10**9}):
        changed(tmp_path, **settings)
        assert read_header(path).input_size is None


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

"""Attention is kept without a change of what the network answers, and LeGrad is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from cam_engine.errors import MethodNotPossible
from cam_engine.images.preparing import Preprocessing
from cam_engine.maps.attention import AttentionTap, by_keys, of_whole_images
from cam_engine.maps.explainer import Explainer
from cam_engine.models.architectures import transformer_layout
from cam_engine.models.loading import Classifier
from cam_engine.options import CamOptions
from tests.networks import classifier_of, small_network

SIDE, PATCH, BLOCKS, HEADS = 32, 8, 6, 2
CELLS = SIDE // PATCH
UNIT = Preprocessing((SIDE, SIDE), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def of_timm() -> nn.Module:
    network: nn.Module = timm.models.VisionTransformer(
        img_size=SIDE, patch_size=PATCH, embed_dim=16, depth=BLOCKS, num_heads=HEADS, num_classes=3
    )
    return network


def of_torchvision() -> nn.Module:
    network: nn.Module = torchvision.models.VisionTransformer(
        SIDE, PATCH, BLOCKS, HEADS, hidden_dim=16, mlp_dim=32, num_classes=3
    )
    return network


BUILDERS: Mapping[str, Callable[[], nn.Module]] = {"timm": of_timm, "torchvision": of_torchvision}
NORMS = {"timm": "blocks.{}.norm1", "torchvision": "encoder.layers.encoder_layer_{}.ln_1"}


def transformer(library: str) -> nn.Module:
    """Random, with a head that is not zero and weights that are not small."""
    torch.manual_seed(3)
    network = BUILDERS[library]().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def classifier(library: str) -> Classifier:
    base = classifier_of(transformer(library), preprocessing=UNIT)
    layout = transformer_layout(BLOCKS, NORMS[library], tokens=1)
    return replace(base, layout=layout, architecture="small_vit")


@pytest.fixture
def batch() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("library", BUILDERS)
def test_logits_are_as_without_and_each_block_is_kept(library: str, batch: Tensor) -> None:
    network = transformer(library)
    with torch.no_grad():
        expected = network(batch)
    with torch.enable_grad(), AttentionTap() as tap:
        logits = network(batch.clone().requires_grad_())
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    tokens = CELLS**2 + 1
    kept = of_whole_images(tap.kept, 2, tokens)
    assert len(kept) == len(tap.kept) == BLOCKS
    for attention in kept:
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))


def test_attention_of_windows_and_of_other_tokens_is_left_out() -> None:
    whole, torchs = torch.zeros(2, 3, 17, 17), torch.zeros(6, 17, 17)
    windows, fewer, of_none = (
        torch.zeros(8, 3, 17, 17),
        torch.zeros(2, 3, 17, 5),
        torch.zeros(3, 7, 17),
    )
    assert of_whole_images([whole, windows, torchs, fewer, of_none], 2, 17) == [whole, torchs]


@pytest.mark.parametrize("masking", ["none", "bool", "float", "causal", "scale", "groups"])
def test_the_parts_make_what_the_fused_function_makes(masking: str) -> None:
    generator = torch.Generator().manual_seed(7)
    heads = 2 if masking == "groups" else 4
    query = torch.randn(2, 4, 6, 8, generator=generator)
    key, value = (torch.randn(2, heads, 6, 8, generator=generator) for _ in range(2))
    visible = torch.rand(6, 6, generator=generator) > 0.3
    visible[:, 0] = True
    every: dict[str, dict[str, Any]] = {
        "none": {},
        "bool": {"attn_mask": visible},
        "float": {"attn_mask": torch.randn(2, 1, 6, 6, generator=generator)},
        "causal": {"is_causal": True},
        "scale": {"scale": 0.3},
        "groups": {"enable_gqa": True},
    }
    options = every[masking]
    expected = functional.scaled_dot_product_attention(query, key, value, **options)
    with AttentionTap() as tap:
        answer = functional.scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)
    [kept] = tap.kept
    assert kept.shape == (2, 4, 6, 6)


def test_by_keys_rectifies_before_it_averages() -> None:
    gradient = torch.tensor([[[[1.0, -4.0], [3.0, 2.0]]]])  # one image, one head, queries x keys
    assert by_keys([gradient, -gradient], 1).tolist() == [[[2.0, 0.0], [1.0, 2.0]]]


def by_hand(network: Any, batch: Tensor, target: int, blocks: int) -> np.ndarray:
    """LeGrad of timm's network, from the output of its attention's dropout."""
    kept: list[Tensor] = []
    handles = []
    for block in network.blocks[:blocks]:
        block.attn.fused_attn = False
        handles.append(
            block.attn.attn_drop.register_forward_hook(lambda _m, _i, out: kept.append(out))
        )
    with torch.enable_grad():
        logits = network(batch.clone().requires_grad_())
        gradients = torch.autograd.grad(logits[:, target].sum(), kept)
    for handle in handles:
        handle.remove()
    received = sum(gradient.relu().mean((1, 2)) for gradient in gradients)
    assert isinstance(received, Tensor)
    maps = received[:, 1:].reshape(len(batch), CELLS, CELLS)
    maps = maps - maps.amin((1, 2), keepdim=True)
    answer: np.ndarray = (maps / maps.amax((1, 2), keepdim=True)).numpy()
    return answer


def test_a_map_sums_up_the_blocks_so_far(batch: Tensor) -> None:
    model = classifier("timm")
    explainer = Explainer(model, device="cpu", precision="float32")
    options = CamOptions(method="legrad", layers=("early", "block4", "late"), fused=True)
    explained = explainer.explain_batch(batch, options, [1, 1])
    for name, blocks in {"early": 2, "block4": 4, "late": 6}.items():
        maps = np.stack([explanation.layer(name).values for explanation in explained])
        np.testing.assert_allclose(maps, by_hand(transformer("timm"), batch, 1, blocks), atol=1e-5)
    fused = [explanation.layer("fused").method for explanation in explained]
    assert fused == ["layercam", "layercam"]


def test_torchvisions_own_attention_gives_another_map_for_another_class(batch: Tensor) -> None:
    explainer = Explainer(classifier("torchvision"), device="cpu", precision="float32")
    options = CamOptions(method="legrad", layers=("late",))
    first, second = explainer.explain_batch(batch[[0, 0]], options, [0, 2])
    assert first.layer("late").grid == (CELLS, CELLS)
    assert np.abs(first.layer("late").values - second.layer("late").values).max() > 0.05


def test_a_network_without_attention_is_refused() -> None:
    explainer = Explainer(classifier_of(small_network()), device="cpu")
    with pytest.raises(
        MethodNotPossible, match=r"LeGrad needs a vision transformer.*another method"
    ):
        explainer.plan(CamOptions(method="legrad"))


def test_a_module_that_is_no_block_is_refused() -> None:
    explainer = Explainer(classifier("timm"), device="cpu")
    with pytest.raises(
        MethodNotPossible, match=r"blocks\.2\.mlp is no end of one: choose from early"
    ):
        explainer.plan(CamOptions(method="legrad", layers=("blocks.2.mlp",)))

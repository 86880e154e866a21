"""Networks made random from the head downwards: what changes, what does not, and by how much."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import timm
import torch
from scipy.stats import entropy
from skimage.metrics import structural_similarity
from timm.layers.std_conv import ScaledStdConv2d
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from cam_engine.evidence.randomisation import (
    BINS,
    STEPS,
    complexity,
    complexity_rise,
    randomised,
    similarity,
)


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small networks."""


def trained(network: nn.Module) -> nn.Module:
    """With weights and statistics that are those of no new network."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter + 0.3 + max(spread, 0.1) * noise)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
                norm.running_mean += 0.5
    return network.eval()


def small() -> nn.Sequential:
    """Two layers with batch norms, and a head."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )


def inputs(side: int = 16, count: int = 4) -> Tensor:
    return torch.randn((count, 3, side, side), generator=torch.Generator().manual_seed(3))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    """Names of the layers of which a bit is another."""
    after = network.state_dict()
    return {
        name.rsplit(".", 1)[0] for name, value in before.items() if not value.equal(after[name])
    }


def test_layers_are_reached_from_the_head_downwards() -> None:
    """Of five layers: the head, then one more, 2.5 (even: 2), 3.75 (4) and all."""
    network = trained(small())
    before = state(network)
    found = [changed(before, step.network) for step in randomised(network, inputs(), 0)]
    assert found == [{"8"}, {"8"}, {"8", "4"}, {"8", "4", "3", "1"}, {"8", "4", "3", "1", "0"}]


def test_steps_are_named_by_their_share() -> None:
    network = trained(small())
    assert [step.share for step in randomised(network, inputs(), 0)] == list(STEPS)
    found = [step.share for step in randomised(network, inputs(), 0, (0.4, 1.0))]
    assert found == [0.4, 1.0]


def test_a_layer_that_was_drawn_is_not_drawn_again() -> None:
    network = trained(small())
    heads = [step.network.state_dict()["8.weight"] for step in randomised(network, inputs(), 0)]
    assert all(one.equal(other) for one, other in pairwise(heads))


def test_the_network_that_is_given_is_not_touched() -> None:
    network = trained(small()).train()
    before = state(network)
    for step in randomised(network, inputs(), 0):
        step.network.state_dict()["0.weight"].zero_()
    assert changed(before, network) == set()
    assert network.training
    assert all(module.training for module in network.modules())


def test_what_is_done_to_one_step_does_not_reach_the_next() -> None:
    network = trained(small())
    before = state(network)
    steps = randomised(network, inputs(), 0, (0.0, 0.2))  # the head alone, twice
    with torch.no_grad():
        for parameter in next(steps).network.parameters():
            parameter.zero_()
    assert changed(before, next(steps).network) == {"8"}


def test_the_global_random_state_is_not_touched() -> None:
    network = trained(small())
    torch.manual_seed(11)
    expected = torch.rand(6)
    torch.manual_seed(11)
    found = [torch.rand(1)]
    found += [torch.rand(1) for _ in randomised(network, inputs(), 0)]
    assert torch.cat(found).equal(expected)


def test_the_same_seed_draws_the_same_bits_and_another_draws_others() -> None:
    network = trained(small())

    def bits(seed: int, drawn_between: int) -> Iterator[dict[str, Tensor]]:
        for step in randomised(network, inputs(), seed):
            torch.rand(drawn_between)
            yield state(step.network)

    for one, other in zip(bits(0, 0), bits(0, 5), strict=True):
        assert all(one[name].equal(other[name]) for name in one)
    last, others = list(bits(0, 0))[-1], list(bits(1, 0))[-1]
    assert not last["8.weight"].equal(others["8.weight"])
    assert not last["0.weight"].equal(others["0.weight"])


def test_layers_of_one_size_are_drawn_apart() -> None:
    """Also in different steps."""
    network = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    *_, last = randomised(network, inputs(), 0, (0.5, 1.0))
    weights = last.network.state_dict()
    assert not (weights["0.weight"] == weights["2.weight"]).any()


def test_torch_layers_are_drawn_as_they_draw_themselves() -> None:
    """A linear layer's weights: evenly, within 1 / sqrt(inputs)."""
    network = nn.Sequential(nn.Flatten(), nn.LayerNorm(3072), trained(nn.Linear(3072, 40)))
    *_, last = randomised(network, inputs(32), 0)
    weight = last.network.state_dict()["2.weight"]
    bound = 1 / np.sqrt(3072)
    assert float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert (last.network.state_dict()["1.weight"] == 1).all()


def test_statistics_of_random_batch_norms_are_those_of_the_batch() -> None:
    network, batch = trained(small()), inputs()
    for step in randomised(network, batch, 0):
        copied = copy.deepcopy(step.network)
        assert isinstance(copied, nn.Sequential)
        reached = changed(state(network), copied)
        for at in (1, 4):
            norm = copied[at]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            with torch.no_grad():
                before = copied[:at](batch)
            if str(at) not in reached:
                assert norm.running_mean.equal(network.state_dict()[f"{at}.running_mean"])
                continue
            torch.testing.assert_close(norm.running_mean, before.mean((0, 2, 3)), atol=2e-3, rtol=0)
            torch.testing.assert_close(norm.running_var, before.var((0, 2, 3)), atol=0, rtol=1e-2)
            assert norm.momentum == 0.1
            assert not norm.training


def test_copies_only_answer() -> None:
    """Whatever the network was doing: dropout and batch norms of a copy are still."""
    network = nn.Sequential(small(), nn.Dropout(0.5)).train()
    for step in randomised(network, inputs(), 0):
        assert not any(module.training for module in step.network.modules())
        with torch.no_grad():
            assert step.network(inputs()).equal(step.network(inputs()))


def test_batch_norms_without_weights_or_without_statistics() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        *(nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False)),
        *(nn.Flatten(), nn.Linear(4 * 14 * 14, 2)),
    )
    *_, last = randomised(network, inputs(), 0)
    random = last.network
    assert isinstance(random, nn.Sequential)
    with torch.no_grad():
        expected = random[0](inputs()).mean((0, 2, 3))
    torch.testing.assert_close(random.state_dict()["1.running_mean"], expected)


def test_a_shared_layer_is_one_layer() -> None:
    """Drawn once, shared afterwards, and counted once: of two layers, half is one."""
    layer = nn.Conv2d(3, 3, 3, padding=1)
    network = nn.Sequential(layer, nn.ReLU(), layer, nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    before = state(network)
    half, last = randomised(network, inputs(), 0, (0.5, 1.0))
    assert changed(before, half.network) == {"4"}
    assert isinstance(last.network, nn.Sequential)
    assert last.network[0] is last.network[2]
    alone = nn.Sequential(copy.deepcopy(layer), nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    *_, expected = randomised(alone, inputs(), 0, (0.5, 1.0))
    assert last.network.state_dict()["0.weight"].equal(expected.network.state_dict()["0.weight"])


def own_drawn(network: nn.Module, name: str, side: int = 32) -> tuple[Tensor, Tensor]:
    """A parameter before and after all of the network was made random."""
    before = network.state_dict()[name].clone()
    *_, last = randomised(network, inputs(side), 0)
    with torch.no_grad():
        assert torch.isfinite(last.network(inputs(side))).all()
    return before, last.network.state_dict()[name]


def swin() -> nn.Module:
    return timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=32,
        window_size=4,
        embed_dim=24,
        depths=(1, 1),
        num_heads=(4, 4),
        num_classes=3,
    )


def scaled() -> nn.Module:
    """A layer of torch to which a library added a parameter, which the layer's reset leaves out."""
    return nn.Sequential(
        *(ScaledStdConv2d(3, 256, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 3))
    )


def vit() -> nn.Module:
    network: nn.Module = VisionTransformer(32, 8, 1, 4, 64, 64, num_classes=3)
    return network


def timm_vit() -> nn.Module:
    return timm.create_model("test_vit", img_size=32, num_classes=3, init_values=0.1)


def convnext() -> nn.Module:
    return timm.create_model("test_convnext", num_classes=3)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (convnext, "stages.3.blocks.0.gamma"),
        (timm_vit, "cls_token"),
        (timm_vit, "pos_embed"),
        (timm_vit, "blocks.0.ls1.gamma"),
        (swin, "layers.0.blocks.0.attn.relative_position_bias_table"),
        (scaled, "0.gain"),
        (vit, "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"),
        (vit, "encoder.layers.encoder_layer_0.self_attention.in_proj_bias"),
        (vit, "class_token"),
    ],
)
def test_parameters_of_a_modules_own_are_drawn_with_the_spread_they_had(
    make: Callable[[], nn.Module], name: str
) -> None:
    """Also those that libraries would set to a constant, and those that a reset leaves out."""
    torch.manual_seed(0)
    before, after = own_drawn(trained(make()), name)
    assert not (before == after).any()
    flat = np.corrcoef(before.ravel(), after.ravel())[0, 1]
    assert abs(flat) < 4 / np.sqrt(before.numel())
    spread = float(before.std())
    assert float(after.std()) == pytest.approx(spread, rel=4 / np.sqrt(before.numel()))
    assert float(after.mean()) == pytest.approx(
        float(before.mean()), abs=4 * spread / np.sqrt(before.numel())
    )


def test_parameters_without_a_spread_are_drawn_all_the_same() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((500,), 2.0))
            self.temperature = nn.Parameter(torch.tensor(4.0))

        def forward(self, batch: Tensor) -> Tensor:
            return batch * self.scale.mean() * self.temperature

    _, after = own_drawn(Scaled(), "scale")
    assert float(after.std()) == pytest.approx(0.02, rel=0.2)
    assert float(after.mean()) == pytest.approx(2.0, abs=0.005)
    before, after = own_drawn(Scaled(), "temperature")
    assert 0 < abs(float(after - before)) < 0.1


@pytest.mark.parametrize("make", [convnext, timm_vit, swin, scaled, vit])
def test_in_the_end_every_weight_is_another(make: Callable[[], nn.Module]) -> None:
    """Biases and norms may be set to what they began with; nothing keeps what was learned."""
    torch.manual_seed(0)
    network = trained(make())
    before = dict(network.named_parameters())
    *_, last = randomised(network, inputs(32), 0)
    for name, parameter in last.network.named_parameters():
        assert float((parameter == before[name]).float().mean()) < 0.01, name
        assert torch.isfinite(parameter).all(), name


def test_the_head_alone_changes_first_in_known_networks() -> None:
    for make, head in ((convnext, "head.fc"), (timm_vit, "head"), (swin, "head.fc")):
        network = trained(make())
        before = state(network)
        first = next(randomised(network, inputs(32), 0))
        assert changed(before, first.network) == {head}


def maps(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((40, 50))
    return np.asarray(noise / noise.max(), np.float32)


def test_similarity_is_scikit_images_over_the_whole_range() -> None:
    one, other = maps(0), np.asarray(0.5 * maps(0) + 0.3 * maps(1), np.float32)
    expected = structural_similarity(one, other, data_range=1.0)
    assert similarity(one, other) == pytest.approx(float(expected))
    assert similarity(one, one) == 1.0
    assert 0.0 < similarity(one, other) < 0.99
    # By hand, where both are the same everywhere: (2ab + c) / (a² + b² + c), c = 0.01².
    flat = [np.full((10, 10), value, np.float32) for value in (0.5, 0.25)]
    by_hand = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert similarity(flat[0], flat[1]) == pytest.approx(by_hand, abs=1e-4)


def test_complexity_by_hand() -> None:
    """Half of the pixels in one bin, a quarter in each of two others: 1.5 bits."""
    values = np.array([[0.0, 0.0, 0.5, 1.0]])
    assert complexity(values) == pytest.approx(1.5 * np.log(2))
    assert complexity(np.ones((4, 4))) == 0.0
    even = np.arange(1000).reshape(20, 50) / 1000
    assert complexity(even) == pytest.approx(np.log(BINS))
    assert complexity(even, 10) == pytest.approx(np.log(10))


def test_complexity_is_the_papers_discrete_entropy() -> None:
    """As its authors compute it: SciPy's entropy of a histogram of 100 bins, not normalised."""
    for values in (maps(0), maps(1) ** 4, -maps(2)):
        expected = entropy(np.histogram(values, bins=100)[0])
        assert complexity(values) == pytest.approx(float(expected), abs=1e-12)


def test_the_rise_of_complexity_by_hand() -> None:
    two = np.array([[0.0, 0.0, 1.0, 1.0]])  # 1 bit
    three = np.array([[0.0, 0.0, 0.5, 1.0]])  # 1.5 bits
    assert complexity_rise(two, three) == pytest.approx(0.5)
    assert complexity_rise(three, two) == pytest.approx(-1 / 3)
    assert complexity_rise(two, two) == 0.0
    assert complexity_rise(two, np.ones((1, 4))) == -1.0
    assert np.isnan(complexity_rise(np.ones((1, 4)), two))

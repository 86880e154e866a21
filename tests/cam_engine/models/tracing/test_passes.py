"""One pass of small networks, whose outputs can be made a second time by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cam_engine.errors import ArchitectureUnknown, InvalidOption
from cam_engine.models.tracing.passes import noise, run, watched
from tests.networks import ThreeStages, small_network

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (32, 32)


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def test_noise_is_one_image_that_its_seed_decides() -> None:
    network = small_network()
    image = noise(network, (8, 12), seed=3)
    assert image.shape == (1, 3, 8, 12)
    assert torch.equal(image, noise(network, (8, 12), seed=3))
    assert not torch.equal(image, noise(network, (8, 12), seed=4))
    assert abs(noise(network, (200, 200), seed=0).std() - 1) < 0.01


def test_noise_is_where_the_network_is() -> None:
    assert noise(nn.Linear(1, 1, device="meta"), SIZE, seed=0).is_meta
    assert noise(nn.ReLU(), SIZE, seed=0).device.type == "cpu"


def test_outputs_are_as_they_were_before_the_next_step_wrote_into_them() -> None:
    network = small_network()
    image = noise(network, SIZE, seed=0)
    logits, outputs = run(network, image)
    torch.testing.assert_close(logits, network(image))
    kept = {output.module: output.tensor for output in outputs}
    convolved = network.mid[0](network.early(image))
    torch.testing.assert_close(kept["mid.0"], convolved)
    torch.testing.assert_close(kept["mid.1"], network.mid[1](convolved))
    torch.testing.assert_close(kept["mid"], kept["mid.1"].relu())
    assert kept["mid.1"].min() < 0


def test_outputs_come_as_they_were_finished_and_say_what_holds_others() -> None:
    network = small_network()
    _, outputs = run(network, noise(network, SIZE, seed=0))
    ends = (".0", ".1", ".2", "")
    expected = [f"{stage}{end}" for stage in ("mid", "late") for end in ends]
    assert list(dict.fromkeys(output.module for output in outputs)) == expected
    containers = {output.module for output in outputs if output.is_container}
    assert containers == {"mid", "late"}


class Twice(nn.Module):
    """One ReLU in two places, and layers that do nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.first = nn.Conv2d(3, 3, 4, stride=4)
        self.nothing = nn.Identity()
        self.dropout = nn.Dropout2d()
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        cells = self.relu(self.first(self.relu(images)))
        logits: Tensor = self.head(self.dropout(self.nothing(cells)).mean((2, 3)))
        return logits


def test_of_a_module_that_is_called_twice_the_last_is_kept_and_what_does_nothing_is_not() -> None:
    network = Twice().eval()
    image = noise(network, (16, 16), seed=0)
    _, outputs = run(network, image)
    assert list(dict.fromkeys(output.module for output in outputs)) == ["first", "relu"]
    torch.testing.assert_close(outputs[-1].tensor, network.first(image.relu()).relu())


def test_a_graph_is_recorded_also_where_gradients_are_off() -> None:
    network = small_network()
    with torch.no_grad():
        logits, _ = run(network, noise(network, SIZE, seed=0))
    assert logits.requires_grad


class Answering(nn.Module):
    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.answer = answer

    def forward(self, images: Tensor) -> object:
        return self.answer(self.stem(images))


def refusing(error: Exception) -> Callable[[Tensor], object]:
    def answer(_cells: Tensor) -> object:
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [lambda cells: cells, lambda cells: cells.mean(), lambda cells: {"logits": cells.mean((2, 3))}],
    ids=["cells", "a number", "a dict"],
)
def test_what_is_no_logits_is_refused(answer: Callable[[Tensor], object]) -> None:
    network = Answering(answer)
    with pytest.raises(ArchitectureUnknown, match="Answering does not answer with logits"):
        run(network, noise(network, SIZE, seed=0))
    assert hooks(network) == 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("too small\nand more"), r"32x32 px: too small$"),
        (AssertionError(), r"32x32 px: AssertionError$"),
        (ValueError("odd"), r"px: odd$"),
        (IndexError("none"), r"px: none$"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_size_that_a_network_does_not_take_is_said_in_a_line(error: Exception, said: str) -> None:
    network = Answering(refusing(error))
    with pytest.raises(InvalidOption, match=said):
        run(network, noise(network, SIZE, seed=0))
    assert hooks(network) == 0


def test_what_watch_returns_goes_on_in_place_of_the_output() -> None:
    network: ThreeStages = small_network()
    image = noise(network, SIZE, seed=0)
    seen: list[str] = []

    def nothing(name: str, output: Tensor) -> Tensor:
        seen.append(name)
        return torch.zeros_like(output)

    with watched(network, ["late", "head"], nothing):
        torch.testing.assert_close(network(image), network.head.bias.expand(1, -1))
    assert seen == ["late"]  # the head's has neither a grid nor tokens
    assert hooks(network) == 0
    expected = network(image)
    with watched(network, ["late"], lambda _name, _output: None):
        torch.testing.assert_close(network(image), expected)


def test_a_tuple_keeps_what_is_beside_its_tensor() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    tokens = torch.randn(1, 5, 4)
    network = nn.ModuleDict({"attention": attention})
    with watched(network, ["attention"], lambda _name, output: output * 0):
        answer, weights = attention(tokens, tokens, tokens, need_weights=False)
    assert not answer.any()
    assert weights is None


def test_hooks_are_taken_away_also_where_the_block_breaks_off() -> None:
    network = small_network()
    with pytest.raises(ZeroDivisionError), watched(network, ["late"], lambda _n, _o: None):
        raise ZeroDivisionError
    assert hooks(network) == 0

"""Networks made anew from records: the layers are those that were saved, setting by setting."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cam_engine.models.files.pickles.module_records import ModuleRecord
from cam_engine.models.fitting import rebuilding
from cam_engine.models.fitting.rebuilding import LayerUnknown, rebuilt
from tests.cam_engine.models.recording import recorded

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES, VECTORS, SERIES = (2, 4, 6, 6), (3, 4), (2, 4, 6)
# Layers whose settings are not their defaults, and what they take.
LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(4, 3), VECTORS),
    (nn.Linear(4, 3, bias=False), VECTORS),
    (nn.Identity(), VECTORS),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), SERIES),
    (nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), IMAGES),
    (nn.Conv2d(4, 4, 3, padding="same", padding_mode="circular", groups=4, bias=False), IMAGES),
    (nn.BatchNorm1d(4, eps=0.1), VECTORS),
    (nn.BatchNorm2d(4, eps=0.1, momentum=0.5), IMAGES),
    (nn.BatchNorm2d(4, affine=False), IMAGES),
    (nn.BatchNorm2d(4, track_running_stats=False), IMAGES),
    (nn.InstanceNorm2d(4, eps=0.1, affine=True), IMAGES),
    (nn.LayerNorm((4,), eps=0.1), VECTORS),
    (nn.LayerNorm((6, 6), bias=False), IMAGES),
    (nn.LayerNorm((4,), elementwise_affine=False), VECTORS),
    (nn.GroupNorm(2, 4, eps=0.1), IMAGES),
    (nn.Dropout(0.3), VECTORS),
    (nn.Dropout1d(0.3), SERIES),
    (nn.Dropout2d(0.3), IMAGES),
    (nn.AlphaDropout(0.3), VECTORS),
    (nn.Flatten(2), IMAGES),
    (nn.MaxPool2d(3, stride=2, padding=1, dilation=2, ceil_mode=True), IMAGES),
    (nn.AvgPool2d((3, 2), padding=1, ceil_mode=True, count_include_pad=False), IMAGES),
    (nn.AdaptiveAvgPool1d(2), SERIES),
    (nn.AdaptiveAvgPool2d((2, 3)), IMAGES),
    (nn.AdaptiveMaxPool2d(2), IMAGES),
    (nn.ReLU(), VECTORS),
    (nn.ReLU6(), VECTORS),
    (nn.LeakyReLU(0.3), VECTORS),
    (nn.PReLU(4, init=0.1), IMAGES),
    (nn.ELU(0.5), VECTORS),
    (nn.CELU(0.5), VECTORS),
    (nn.SELU(), VECTORS),
    (nn.GELU("tanh"), VECTORS),
    (nn.SiLU(), VECTORS),
    (nn.Mish(), VECTORS),
    (nn.Hardswish(), VECTORS),
    (nn.Hardsigmoid(), VECTORS),
    (nn.Hardtanh(-0.5, 0.25), VECTORS),
    (nn.Softplus(2, 1), VECTORS),
    (nn.Sigmoid(), VECTORS),
    (nn.Tanh(), VECTORS),
    (nn.Softmax(1), VECTORS),
    (nn.LogSoftmax(1), VECTORS),
]


def answers(made: nn.Module, like: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of both, with the same weights."""
    made.load_state_dict(like.state_dict(), strict=True, assign=True)
    return made.eval()(images), like.eval()(images)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_a_layer_of_the_list_is_the_one_that_was_saved(
    tmp_path: Path, layer: nn.Module, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    made = rebuilt(recorded(tmp_path, layer), None)
    assert type(made) is type(layer)
    assert all(parameter.is_meta for parameter in made.parameters())
    torch.testing.assert_close(*answers(made, layer, torch.randn(shape)))


def test_every_layer_of_the_list_is_tested() -> None:
    tested = {f"{type(one).__module__}.{type(one).__name__}" for one, _ in LAYERS}
    assert tested == {f"torch.nn.modules.{name}" for name in rebuilding._LAYERS}


def test_a_layer_with_the_same_settings_is_left_and_others_are_made(tmp_path: Path) -> None:
    record = recorded(tmp_path, nn.Conv2d(3, 4, 3, stride=2))
    alike = nn.Conv2d(3, 4, 3, stride=2)
    assert rebuilt(record, alike) is alike
    others: list[nn.Module] = [
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(3, 4, 3, stride=2, bias=False),
        nn.Linear(3, 4),
        nn.Identity(),
    ]
    for other in others:
        made = rebuilt(record, other)
        assert made is not other
        assert isinstance(made, nn.Conv2d)
        assert (made.stride, made.bias is not None) == ((2, 2), True)


class Own(nn.Module):
    """A network whose code is not in the file."""

    def __init__(self, activation: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.activation = activation
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.head(self.activation(self.stem(images)).mean((2, 3)))
        return answer


def test_a_network_of_a_class_that_is_there_gets_the_layers_of_the_record(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = Own(nn.SiLU(), nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)))
    record = recorded(tmp_path, saved)
    own = Own(nn.ReLU(), nn.Linear(4, 1000))
    stem = own.stem
    assert rebuilt(record, own) is own
    assert own.stem is stem
    assert isinstance(own.activation, nn.SiLU)
    torch.testing.assert_close(*answers(own, saved, torch.randn(2, 3, 4, 4)))


def test_a_sequence_keeps_what_is_at_its_places(tmp_path: Path) -> None:
    block = Own(nn.ReLU(), nn.Linear(4, 2))
    record = recorded(tmp_path, nn.Sequential(copy.deepcopy(block), nn.Dropout(), nn.Tanh()))
    own = nn.Sequential(block, nn.Tanh())
    made = rebuilt(record, own)
    assert isinstance(made, nn.Sequential)
    assert made is not own
    assert made[0] is block
    assert [type(layer) for layer in made] == [Own, nn.Dropout, nn.Tanh]
    same = nn.Sequential(block, nn.Dropout(), nn.Tanh())
    assert rebuilt(record, same) is same


class Transforming(Own):
    """As torchvision's GoogLeNet."""

    transform_input = False


class Else(nn.Module):
    """Another network."""


@pytest.mark.parametrize("own", [lambda: None, Else, lambda: nn.Linear(2, 2)])
def test_a_class_that_is_not_there_is_named(
    tmp_path: Path, own: Callable[[], nn.Module | None]
) -> None:
    record = recorded(tmp_path, Own(nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(LayerUnknown, match=r"^the network is of class .*test_rebuilding\.Own$"):
        rebuilt(record, own())


def test_a_class_within_is_named_with_its_place(tmp_path: Path) -> None:
    saved = Own(nn.ReLU(), nn.Sequential(nn.Linear(4, 2), Else()))
    record = recorded(tmp_path, saved)
    with pytest.raises(LayerUnknown, match=r"^head\.1 is of class .*Else$"):
        rebuilt(record, Own(nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(LayerUnknown, match=r"^0\.head\.1 is of class .*Else$"):
        rebuilt(
            ModuleRecord("torch.nn.modules.container.Sequential", {}, {}, {"0": record}),
            nn.Sequential(Own(nn.ReLU(), nn.Linear(4, 2))),
        )


def test_a_class_that_another_version_has_moved_is_the_same() -> None:
    """By its name alone, or by the library and its children."""
    children = {"0": ModuleRecord("torch.nn.modules.activation.ReLU", {}, {}, {})}
    own = nn.Sequential(nn.Tanh(), nn.Tanh())
    for kind in ("mine.old.Sequential", "torch.old.Row"):
        made = rebuilt(ModuleRecord(kind, {}, {}, children), copy.deepcopy(own))
        assert isinstance(made, nn.Sequential)
        assert [type(layer) for layer in made] == [nn.ReLU, nn.Tanh]
    for kind, within in (("mine.Row", children), ("torch.old.Row", {}), ("torch.Module", {})):
        with pytest.raises(LayerUnknown):
            rebuilt(ModuleRecord(kind, {}, {}, within), copy.deepcopy(own))


@pytest.mark.parametrize(
    "settings",
    [
        {"in_features": -1, "out_features": 3},
        {"in_features": "many", "out_features": 3},
        {"in_features": None, "out_features": 3},
        {"out_features": 3},
    ],
)
def test_settings_that_a_layer_cannot_have_are_said(settings: dict[str, object]) -> None:
    record = ModuleRecord("torch.nn.modules.linear.Linear", settings, {}, {})
    with pytest.raises(LayerUnknown, match=r"linear\.Linear cannot have the settings"):
        rebuilt(record, None)


def test_what_is_for_training_alone_stays_away_and_how_input_is_transformed_is_kept(
    tmp_path: Path,
) -> None:
    saved = Own(nn.ReLU(), nn.Linear(4, 2))
    record = replace(recorded(tmp_path, saved), settings={"transform_input": True})
    own = Transforming(nn.ReLU(), nn.Linear(4, 2))
    own.register_module("activation", None)
    rebuilt(record, own)
    assert getattr(own, "activation", own) is None
    assert own.transform_input is True

"""What is saved beside what: the weights are found wherever training scripts put them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sklearn.svm
import torch
from torch import Tensor, nn

from cam_engine.errors import CheckpointInvalid
from cam_engine.models.files import sorting
from cam_engine.models.files.opening import opened, saved_in
from cam_engine.models.files.pickles.reading import Items, Pairs, Value
from cam_engine.models.files.sorting import WEIGHT_KEYS, Entries, check_keys, sorted_out

PATH = Path("best.pt")


def state(*keys: str) -> OrderedDict[str, Tensor]:
    return OrderedDict((key, torch.ones(1)) for key in keys or ("fc.weight", "fc.bias"))


def many(prefix: str = "layer", count: int = 10) -> OrderedDict[str, Tensor]:
    """More than a head has."""
    return state(*(f"{prefix}{number}.weight" for number in range(count)))


def value_of(saved: object, folder: Path) -> Value:
    torch.save(saved, folder / "best.pt")
    with opened(folder / "best.pt") as file, saved_in(file, folder / "best.pt") as held:
        return held.read.value


@pytest.fixture
def sort(tmp_path: Path) -> Callable[..., Entries]:
    """Sorts what `torch.save` writes."""

    def sort_out(saved: object, **options: Any) -> Entries:
        return sorted_out(value_of(saved, tmp_path), PATH, **options)

    return sort_out


OPTIMISER = torch.optim.SGD([nn.Parameter(torch.ones(1))], momentum=0.9).state_dict()
Sort = Callable[..., Entries]


@pytest.mark.parametrize("key", [*WEIGHT_KEYS, "my_own_key"])
def test_a_state_dict_is_found_under_any_key(sort: Sort, key: str) -> None:
    entries = sort({"epoch": 3, key: state(), "optimizer": OPTIMISER})
    assert list(entries.weights) == ["fc.weight", "fc.bias"]
    assert entries.key == key
    assert set(entries.beside) == {"epoch", "optimizer"}
    assert entries.beside["epoch"] == 3
    assert (entries.record, entries.averaged, entries.others) == (None, (), ())


def test_weights_may_be_saved_without_a_dict_around_them(sort: Sort) -> None:
    entries = sort({**state(), "epoch": 3})
    assert list(entries.weights) == ["fc.weight", "fc.bias"]
    assert (entries.key, entries.beside) == (None, {"epoch": 3})


def test_bare_weights_go_before_fewer_in_an_entry(sort: Sort) -> None:
    entries = sort({**many(), "extra": state()})
    assert list(entries.weights) == list(many())
    assert set(entries.beside) == {"extra"}
    entries = sort({"steps": torch.ones(1), "mine": many()})
    assert (entries.key, list(entries.beside)) == ("mine", ["steps"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: (weights, 0.93),
        lambda weights: [3, weights, {"loss": 0.1}],
        lambda weights: {"checkpoint": {"model": weights, "arch": "vit"}, "epoch": 3},
        lambda weights: ({"model": weights}, 3),
        lambda weights: {"best": (3, weights)}["best"],
    ],
    ids=["tuple", "list", "dict", "dict in a tuple", "tuple behind"],
)
def test_weights_are_found_in_what_is_around_them(
    sort: Sort, wrap: Callable[[object], object]
) -> None:
    assert list(sort(wrap(state())).weights) == ["fc.weight", "fc.bias"]


def test_what_is_around_is_beside_and_what_is_nearer_overrules_it(sort: Sort) -> None:
    entries = sort({"run": {"model": state(), "epoch": 5, "arch": "vit"}, "epoch": 3, "seed": 1})
    assert entries.beside == {"epoch": 5, "arch": "vit", "seed": 1}


def test_of_several_entries_the_first_known_key_is_taken_and_the_others_named(sort: Sort) -> None:
    entries = sort({"teacher": state(), "net": state(), "model": state(), "ema": state()})
    assert entries.key == "model"
    assert entries.averaged == ("ema",)
    assert entries.others == ("net", "teacher")
    assert set(entries.beside) == {"teacher", "net", "ema"}


def test_averages_are_taken_where_they_are_asked_for_or_alone(sort: Sort) -> None:
    saved = {"model": state(), "model_ema": many(), "state_dict_ema": state()}
    entries = sort(saved, averaged=True)
    assert (entries.key, entries.averaged, entries.others) == (
        "state_dict_ema",
        ("model_ema",),
        ("model",),
    )
    assert sort({"model_ema": many(), "epoch": 1}).key == "model_ema"
    for without in ({"model": state()}, state()):
        with pytest.raises(CheckpointInvalid, match=r"best\.pt holds no averaged weights, under"):
            sort(without, averaged=True)


def test_whole_networks_are_records(sort: Sort) -> None:
    network = nn.Sequential(nn.Linear(2, 3))
    entries = sort(network)
    assert list(entries.weights) == ["0.weight", "0.bias"]
    assert entries.record is not None
    assert (entries.key, entries.beside) == (None, {})
    entries = sort({"model": network, "epoch": 3})
    assert (entries.key, entries.beside) == ("model", {"epoch": 3})
    assert entries.record is not None
    assert list(entries.record.children) == ["0"]


class FocalLoss(nn.Module):
    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.ones(3))
        self.inner = inner


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(torch.ones(3)), FocalLoss()], ids=["of torch", "own"]
)
def test_losses_and_optimisers_are_no_networks(sort: Sort, loss: nn.Module) -> None:
    saved = {"criterion": loss, "optimizer_state_dict": state(), "classifier": state()}
    entries = sort(saved)
    assert (entries.key, entries.others) == ("classifier", ())


def test_a_loss_with_a_network_in_it_is_one(sort: Sort) -> None:
    inner = nn.Sequential(*(nn.Linear(1, 1) for _ in range(4)))
    assert sort({"criterion": FocalLoss(inner)}).key == "criterion"


def test_parts_of_one_network_are_put_together(sort: Sort) -> None:
    entries = sort({"encoder": many(), "head": state("weight", "bias"), "epoch": 3})
    assert list(entries.weights) == [
        *(f"encoder.{key}" for key in many()),
        "head.weight",
        "head.bias",
    ]
    assert (entries.key, entries.beside) == (None, {"epoch": 3})


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({"fold0": many(), "fold1": many()}, "several networks, fold0, fold1: save each"),
        ({"a": many(), "b": many(count=15)}, "several networks, a, b"),
        ({"a": nn.Linear(1, 1), "b": state()}, "several networks, a, b"),
        ({f"{n}": state(f"w{n}") for n in range(21)}, "several networks, 0, 1, 2, 3, 4, 5, 6, 7:"),
        ([state(), many()], "holds 2 networks in a list"),
        (("name", nn.Linear(1, 1), state()), "holds 2 networks in a list"),
    ],
    ids=["folds", "alike", "whole", "many", "a list", "a tuple"],
)
def test_several_networks_are_refused(sort: Sort, saved: object, said: str) -> None:
    with pytest.raises(CheckpointInvalid, match=said):
        sort(saved)


def test_parts_that_share_few_keys_are_of_one_network(sort: Sort) -> None:
    shared = {**many("a", 6), **many("b", 6)}
    other = {**many("a", 6), **many("c", 6)}
    assert len(sort({"one": shared, "two": other}).weights) == 24
    with pytest.raises(CheckpointInvalid, match="several networks"):
        sort({"one": shared, "two": {**other, "b0.weight": torch.ones(1)}})


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({}, "holds no model weights.*entries are nothing"),
        ({"epoch": 3, "acc": 0.5}, "holds no model weights.*entries are epoch, acc;"),
        ({"optimizer": state()}, "holds no model weights.*entries are optimizer"),
        (OPTIMISER, "is the state of an optimiser"),
        ([1, 2], "holds a list, not a dict"),
        ((1, 2), "holds a tuple, not a dict"),
        (3, "holds a int, not a dict"),
        (None, "holds a NoneType, not a dict"),
        (torch.ones(3), "holds an object of torch._utils._rebuild_tensor_v2, not a dict"),
        (sklearn.svm.SVC(), "holds a model of sklearn"),
        (print, "holds an object of"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_no_weights_is_said(sort: Sort, saved: object, said: str) -> None:
    with pytest.raises(CheckpointInvalid, match=said):
        sort(saved)


def test_circles_end() -> None:
    endless = Items()
    endless.values.append(endless)
    with pytest.raises(CheckpointInvalid, match="holds a list"):
        sorted_out(endless, PATH)
    around = Pairs()
    around.pairs.append(("again", around))
    with pytest.raises(CheckpointInvalid, match="holds no model weights"):
        sorted_out(around, PATH)


def test_only_as_many_entries_are_looked_at_as_honest_files_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = value_of({"x": [*range(3)], "model": many()}, tmp_path)
    assert sorted_out(value, PATH).key == "model"
    monkeypatch.setattr(sorting, "_MOST_LOOKED", 5)  # in place of a million
    with pytest.raises(CheckpointInvalid, match="holds no model weights"):
        sorted_out(value, PATH)


def test_what_is_looked_at_once_costs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = many()
    value = value_of({**{f"{n}": shared for n in range(50)}, "model": state()}, tmp_path)
    monkeypatch.setattr(sorting, "_MOST_LOOKED", 200)
    assert sorted_out(value, PATH).key == "model"


def test_weights_that_are_of_no_network_by_themselves_are_refused() -> None:
    check_keys(["fc.weight", "fc.bias"], PATH)
    with pytest.raises(CheckpointInvalid, match=r"best\.pt holds .*adapter"):
        check_keys(["vit.lora_A.weight"], PATH)
    with pytest.raises(CheckpointInvalid, match="quantised"):
        check_keys(["fc.weight"], PATH, {"torch._utils._rebuild_qtensor"})

"""The check of all networks: what it sees, what its log keeps, what its page says."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import networks
from benchmarks.networks_check import LayerFact, Outcome, _elsewhere, check, parameters_of
from benchmarks.networks_report import report
from cam_engine.models.tracing.places import changes_in_place

pytestmark = pytest.mark.usefixtures("one_thread")

LAYER = LayerFact("early", "stages.1", "signed", (28, 28), "channels first", 0.0)
GOOD = Outcome(
    "timm",
    "little_1",
    "little",
    2_000_000,
    input_size=(224, 224),
    layers=(LAYER, replace(LAYER, name="mid"), replace(LAYER, name="late")),
    logits_difference=0.0,
    map_difference=1e-6,
)


def named(name: str, outcome: Outcome = GOOD, parameters: int = 2_000_000) -> Outcome:
    return replace(outcome, name=name, parameters=parameters)


def log_of(folder: Path, sizes: list[Outcome], *lines: object) -> Path:
    said = [json.dumps(size.as_json()) for size in sizes]
    (folder / "sizes.jsonl").write_text("\n".join(said) + "\n")
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "outcomes-0.jsonl").write_text("\n".join(texts) + "\n")
    return folder


def options(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{"names": None, "most_parameters": 120, **changes})


def test_a_real_network_passes_its_check() -> None:
    outcome = check("timm", "test_resnet", parameters_of("timm", "test_resnet"))
    assert outcome.problem is None
    assert [layer.module for layer in outcome.layers] == ["layer2", "layer3", "layer4"]
    assert [layer.grid for layer in outcome.layers] == [(20, 20), (10, 10), (5, 5)]
    assert outcome.input_size == (160, 160)


def test_what_cannot_be_built_is_that_networks_reason() -> None:
    outcome = check("timm", "vit_wee_patch16_reg1_gap_256.no_such_tag", 0)
    assert "does not build it" in (outcome.problem or "")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (replace(GOOD, reason="it is too old"), "it is too old"),
        (replace(GOOD, logits_difference=0.1), "logits differ"),
        (replace(GOOD, logits_difference=float("nan")), "logits differ"),
        (replace(GOOD, map_difference=0.1), "maps differ"),
        (replace(GOOD, layers=(replace(LAYER, elsewhere=0.8),)), "stages.1 depend most on other"),
    ],
)
def test_problems(outcome: Outcome, said: str) -> None:
    assert said in (outcome.problem or "")


def test_cells_in_another_order_are_seen_both_ways() -> None:
    """By gradients here, by what changes in the engine: the two do not know of each other."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Tanh(), nn.Conv2d(8, 8, 3, padding=1))
    image = torch.randn(1, 3, 64, 64, requires_grad=True)
    cells = network(image)
    order = torch.randperm(256)
    sorted_anew = cells.flatten(2)[..., order].unflatten(2, (16, 16))
    assert _elsewhere(cells, image) < 0.1
    assert _elsewhere(sorted_anew, image) > 0.5
    changes = torch.zeros(16, 16)
    changes[3:7, 9:14] = torch.rand(4, 5) + 0.1
    assert changes_in_place(changes)
    assert not changes_in_place(changes.flatten()[order].reshape(16, 16))


def test_the_log_is_read_back_and_a_run_that_was_ended_goes_on(tmp_path: Path) -> None:
    sizes = [named("a"), named("b"), named("c"), named("d", parameters=10**9)]
    began = {"began": ["timm", "b"]}
    log = log_of(tmp_path, sizes, named("a").as_json(), began, '{"library": "ti')
    assert networks.read(log) == {("timm", "a"): named("a")}
    todo = networks.chosen(networks.sized(log, ()) or _by_key(sizes), _with_log(log))
    assert [size.name for size in todo] == ["b", "c"]


def test_a_network_that_twice_ended_its_process_is_not_tried_again(tmp_path: Path) -> None:
    began = {"began": ["timm", "b"]}
    log = log_of(tmp_path, [named("a"), named("b")], began, began)
    assert networks.read(log)["timm", "b"].problem == "it ended the process that tried it"
    todo = networks.chosen(_by_key([named("a"), named("b")]), _with_log(log))
    assert [size.name for size in todo] == ["a"]


def test_the_smallest_come_first_and_names_are_tried_again(tmp_path: Path) -> None:
    sizes = [named("large", parameters=9), named("small", parameters=3)]
    log = log_of(tmp_path, sizes, sizes[0].as_json())
    again = networks.chosen(_by_key(sizes), _with_log(log, names=["large", "small"]))
    assert [size.name for size in again] == ["small", "large"]


def _by_key(sizes: list[Outcome]) -> dict[tuple[str, str], Outcome]:
    return {(size.library, size.name): size for size in sizes}


def _with_log(log: Path, **changes: object) -> argparse.Namespace:
    return options(log=log, **changes)


def test_the_page_says_what_was_not_tried_and_why() -> None:
    sizes = [named(name) for name in ("good", "bad", "bad_too", "missed")]
    sizes.append(named("large", parameters=300_000_000))
    outcomes = {("timm", "good"): named("good")}
    for name, difference in (("bad", 0.25), ("bad_too", 0.5)):
        outcomes["timm", name] = named(name, replace(GOOD, map_difference=difference))
    page = "\n".join(report(_by_key(sizes), outcomes, 120_000_000))
    assert "| timm | 5 | 3 | 1 | 33.3 % (goal 95 %, NOT REACHED) | 1 | 1 |" in page
    assert "| little | 1 | 5 | good at 224 x 224 px | `stages.1`, `stages.1`, `stages.1` |" in page
    assert "- bad, bad_too: maps differ from pytorch-grad-cam's by 2.5e-01" in page
    assert "large (300 million)." in page
    assert "little (1)." in page


def test_from_names_to_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "networks.md"
    command = ["networks", "--log", str(tmp_path / "log"), "--output", str(page)]
    command += ["--library", "timm", "--names", "test_resnet", "test_vit"]
    monkeypatch.setattr(sys, "argv", command)
    networks.main()
    assert "| timm | 2 | 2 | 2 | 100.0 % (goal 95 %) | 0 | 0 |" in page.read_text()
    assert "1 + 100 tokens" in page.read_text()

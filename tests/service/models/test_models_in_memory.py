"""Models in one process's memory: side by side, put out, pinned, replaced, loaded once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from processes.serving import Server, running
from tests.service.asking import (
    CB,
    FOCAL,
    JSON,
    SPECIES,
    assert_problem,
    facts,
    log_lines,
    metric,
    post_image,
    sound,
    together,
)
from tests.service.odd_root import rewrite

pytestmark = pytest.mark.system

EXPERIMENT = "experiment_memory"
PINNED = f"{EXPERIMENT}/cls_mobilenet_v3_small_cb"
OTHERS = (
    f"{EXPERIMENT}/cls_mobilenet_v3_small_focal",
    f"{EXPERIMENT}/cls_mobilenet_v3_small_third",
)


@pytest.fixture(scope="module")
def models(lifecycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with three models, to be written to."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(lifecycle, root / EXPERIMENT, ignore=shutil.ignore_patterns("masks"))
    shutil.copytree(root / OTHERS[0], root / OTHERS[1])
    rewrite(root / OTHERS[1] / "best.pt", epoch=99)
    return root


@pytest.fixture(scope="module")
def tight(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that keeps two models, one of them always."""
    settings = {"cached_models": "2", "pinned_models": PINNED}
    with running(models, tmp_path_factory.mktemp("tight"), **settings) as started:
        yield started


@pytest.fixture(scope="module")
def memory(tight: Server) -> Iterator[httpx.Client]:
    with tight.client() as client:
        yield client


def loaded(client: httpx.Client) -> set[str]:
    return {fact["id"] for fact in facts(client.get("/v1/models"))["models"] if fact["loaded"]}


def explain(client: httpx.Client, cell: Path, model: str) -> dict[str, Any]:
    return facts(post_image(client, cell, headers=JSON, model=model))


def test_the_pinned_model_stays_and_the_least_recently_used_goes(
    memory: httpx.Client, cell: Path
) -> None:
    evictions = metric(memory, "gradcam_model_evictions_total")
    for name in (*OTHERS, *OTHERS):
        explain(memory, cell, name)
        assert loaded(memory) == {PINNED, name}
        assert metric(memory, "gradcam_models_loaded") == 2
    assert metric(memory, "gradcam_model_evictions_total") >= evictions + 3


def test_many_first_requests_load_a_model_once(memory: httpx.Client, cell: Path) -> None:
    explain(memory, cell, OTHERS[0])
    name = next(iter({*OTHERS} - loaded(memory)))
    count = partial(metric, memory, "gradcam_model_loads_total")
    before = count()
    answers = together([partial(explain, memory, cell, name)] * 8)
    assert count() == before + 1
    assert count(outcome="failed") == 0
    assert len({str(answer["digest"]) for answer in answers}) == 1


def test_a_model_file_that_was_replaced_is_used_at_the_next_request(
    memory: httpx.Client, models: Path, cell: Path
) -> None:
    checkpoint = models / OTHERS[1] / "best.pt"
    for epoch in (100, 101):
        before = explain(memory, cell, OTHERS[1])
        rewrite(checkpoint, epoch=epoch, class_names=["a", "b", f"c{epoch}", "d"])
        after = explain(memory, cell, OTHERS[1])
        sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert after["model"]["sha256"] == sha256 != before["model"]["sha256"]
        assert after["prediction"]["name"] == f"c{epoch}"
        assert after["digest"] != before["digest"]


def test_answers_of_a_replaced_model_can_still_be_had(
    memory: httpx.Client, models: Path, cell: Path
) -> None:
    before = explain(memory, cell, OTHERS[0])
    rewrite(models / OTHERS[0] / "best.pt", epoch=7)
    explain(memory, cell, OTHERS[0])
    again = facts(memory.get(before["links"]["self"], headers=JSON))
    assert again == before


def test_what_needs_another_pass_of_a_replaced_model_is_gone(
    memory: httpx.Client, models: Path, cell: Path
) -> None:
    """An overlay was computed without the class that the network would name without CLAHE."""
    place = sound(post_image(memory, cell, model=OTHERS[0])).headers["content-location"]
    sound(memory.get(place))
    rewrite(models / OTHERS[0] / "best.pt", epoch=8)
    explain(memory, cell, OTHERS[0])
    assert_problem(memory.get(place, headers=JSON), "explanation-gone")
    sound(memory.get(place))


def test_a_model_file_that_is_gone_is_not_found(
    memory: httpx.Client, models: Path, cell: Path
) -> None:
    explain(memory, cell, OTHERS[1])
    checkpoint = models / OTHERS[1] / "best.pt"
    aside = checkpoint.with_suffix(".aside")
    checkpoint.rename(aside)
    try:
        response = post_image(memory, cell, model=OTHERS[1])
        assert (response.status_code, response.json()["code"]) == (404, "model-not-found")
        explain(memory, cell, PINNED)
    finally:
        aside.rename(checkpoint)
    explain(memory, cell, OTHERS[1])


def test_two_models_at_once_answer_as_each_does_alone(http: httpx.Client, cell: Path) -> None:
    species = f"{SPECIES}/cls_mobilenetv3_small_050_cb"
    names = [CB, species, FOCAL] * 5
    answers = together([partial(explain, http, cell, name) for name in names])
    for name, answer in zip(names, answers, strict=True):
        assert answer["model"]["id"] == name
        alone = explain(http, cell, name)
        assert answer["prediction"]["name"] == alone["prediction"]["name"]
        probability = alone["prediction"]["probability"]
        assert answer["prediction"]["probability"] == pytest.approx(probability, abs=1e-4)


def test_requests_that_come_together_share_a_pass(
    common: Server, http: httpx.Client, cell: Path
) -> None:
    passes = metric(http, "gradcam_batch_size_count")
    images = metric(http, "gradcam_batch_size_sum")
    together([partial(explain, http, cell, CB)] * 24)
    assert metric(http, "gradcam_batch_size_sum") == images + 24
    assert metric(http, "gradcam_batch_size_count") < passes + 24
    sizes = [line.get("batch_size", 0) for line in log_lines(common, event="request", model=CB)]
    assert max(sizes) > 1


def test_a_wrong_request_does_not_harm_those_in_its_batch(http: httpx.Client, cell: Path) -> None:
    right = partial(post_image, http, cell, model=CB)
    wrong = [
        partial(post_image, http, cell, model=CB, target="elf"),
        partial(post_image, http, cell, model=CB, layer="attic"),
        partial(post_image, http, b"no image", model=CB),
    ]
    answers = together([call for refused in wrong for call in (right, refused, right)])
    assert [answer.status_code for answer in answers] == [200, 422, 200] * 3


def test_different_targets_and_colours_share_a_batch_without_mixing(
    http: httpx.Client, cell: Path
) -> None:
    names = ["gametocyte", "ring", "schizont", "trophozoite"] * 3
    calls = [partial(post_image, http, cell, headers=JSON, model=CB, target=name) for name in names]
    for name, response in zip(names, together(calls), strict=True):
        assert facts(response)["target"]["name"] == name

"""Programs of `torch.export` run what their files say: over HTTP nobody can have one loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from torch import nn

from processes.serving import listening
from tests.service.asking import JSON, assert_problem, post_image, sound

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ROOT = Path(__file__).resolve().parents[3]
MODEL = "experiment_x/cls_program"
WAYS = ("trust_file", "trusted", "trust-file", "trust")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    root = tmp_path_factory.mktemp("root")
    folder = root / MODEL
    folder.mkdir(parents=True)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    exported = torch.export.export(network.eval(), (torch.zeros(1, 3, 64, 64),))
    torch.export.save(exported, folder / "best.pt2")
    (folder / "best.json").write_text('{"trusted": true, "trust_file": true}')
    scratch = tmp_path_factory.mktemp("service")
    settings = {"trust_file": "true", "trusted": "true", "default_model": MODEL}
    with listening(root, scratch, **settings) as server, server.client() as client:
        yield client


def test_it_is_listed_with_its_sentence(service: httpx.Client) -> None:
    (model,) = sound(service.get("/v1/models")).json()["models"]
    assert model["id"] == MODEL
    assert model["problem"]["code"] == "checkpoint-unsafe"


@pytest.mark.parametrize("way", WAYS)
def test_no_field_trusts_it(service: httpx.Client, cell: Path, way: str) -> None:
    refused = post_image(service, cell, model=MODEL, headers=JSON, **{way: "true"})
    assert refused.json()["code"] in {"checkpoint-unsafe", "invalid-request"}
    asked = service.post(f"/v1/explanations?{way}=true", json={"model": MODEL, "image": "a.png"})
    assert asked.status_code >= 400
    assert_problem(post_image(service, cell, model=MODEL, headers=JSON), "checkpoint-unsafe")


def test_no_field_is_documented(service: httpx.Client) -> None:
    document = sound(service.get("/openapi.json")).text
    assert re.findall(r'"name": ?"trust\w*"', document) == []
    assert "trust_file" not in document


def test_neither_the_service_nor_workers_trust_a_file() -> None:
    calls = [
        call
        for folder in ("service", "worker")
        for file in (ROOT / folder).rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "load_classifier"
    ]
    assert len(calls) == 2
    assert all(len(call.args) == 1 and not call.keywords for call in calls)

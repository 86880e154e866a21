"""/openapi.json: whole, true to the routes, and with examples that work."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from service.http.problems import MEDIA_TYPE, PROBLEMS
from tests.service.asking import EXPLANATIONS, JSON, documented_body, facts, sound

ROUTES = {
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
    "/v1/explanations": {"post"},
    "/v1/explanations/{digest}": {"get"},
    "/v1/experiments": {"get"},
    "/v1/experiments/{path}": {"get"},
    "/v1/experiments/{path}/images": {"get"},
    "/v1/models": {"get"},
    "/v1/models/{id}": {"get"},
}


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    return facts(http.get("/openapi.json"))


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for part in value.values() for ref in references(part)]
    return [ref for part in value for ref in references(part)] if isinstance(value, list) else []


def test_the_document_is_whole(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    operations = {
        path: {method for method in by_method if method != "parameters"}
        for path, by_method in document["paths"].items()
    }
    for path, methods in ROUTES.items():
        assert operations[path] == methods, path
    for reference in references(document):
        value: Any = document
        for part in reference.removeprefix("#/").split("/"):
            value = value[part]
        assert value
    ids = [
        entry["operationId"]
        for by_method in document["paths"].values()
        for entry in by_method.values()
    ]
    assert len(ids) == len(set(ids))
    for by_method in document["paths"].values():
        for operation in by_method.values():
            assert operation["summary"]


def test_documented_problems_are_those_of_the_table(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                codes = re.findall(r"`([a-z-]+)`:", answer["description"])
                assert all(PROBLEMS[code].status == int(status) for code in codes), path
                assert bool(codes) == (MEDIA_TYPE in answer.get("content", {})), (path, status)


def test_examples_of_bodies_work_as_they_stand(
    http: httpx.Client, document: dict[str, Any]
) -> None:
    body = documented_body(document, EXPLANATIONS)
    assert len(body["examples"]) >= 2
    for example in body["examples"].values():
        assert sound(http.post(EXPLANATIONS, json=example["value"])).content.startswith(b"\x89PNG")
        assert facts(http.post(EXPLANATIONS, json=example["value"], headers=JSON))["digest"]


def test_examples_of_addresses_work_as_they_stand(
    http: httpx.Client, document: dict[str, Any]
) -> None:
    tried = set()
    for path, methods in document["paths"].items():
        named = [
            parameter
            for parameter in methods.get("get", {}).get("parameters", [])
            if "example" in parameter
        ]
        if named:
            examples = {
                place: {
                    parameter["name"]: parameter["example"]
                    for parameter in named
                    if parameter["in"] == place
                }
                for place in ("path", "query")
            }
            address = path.format(**{k: quote(v) for k, v in examples["path"].items()})
            sound(http.get(address, params=examples["query"]))
            tried.add(path)
    assert tried == {
        "/v1/experiments/{path}",
        "/v1/experiments/{path}/images",
        "/v1/experiments/{path}/predictions",
        "/v1/experiments/{path}/thumbnails/{image}",
        "/v1/models/{id}",
    }


def test_the_document_knows_every_option(document: dict[str, Any]) -> None:
    content = document["paths"][EXPLANATIONS]["post"]["requestBody"]["content"]
    options = {"view", "layer", "method", "target", "clahe", "colormap", "alpha", "pictures"}
    upload = content["multipart/form-data"]["schema"]
    assert options | {"image", "model"} <= set(upload["properties"])
    assert upload["required"] == ["image"]
    stored = content["application/json"]["schema"]
    assert options | {"experiment", "model", "image"} <= set(stored["properties"])
    for schema in (upload, stored):
        assert schema["additionalProperties"] is False

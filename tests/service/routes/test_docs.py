"""/docs and /openapi.json: whole, self-hosted, and with examples that work."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from service.http.problems import MEDIA_TYPE, PROBLEMS
from tests.service.asking import (
    EXPLANATIONS,
    JSON,
    assert_problem,
    documented_body,
    facts,
    sound,
)

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


class Page(HTMLParser):
    """What a page refers to, and whether it holds code."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts: list[str | None] = []
        self.inline = ""
        self.handlers: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._in_script = tag in {"script", "style"}
        if tag == "script":
            self.scripts.append(values.get("src"))
        self.addresses += [v for k, v in attrs if k in {"src", "href", "data-openapi"} and v]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, _tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.inline += data.strip()


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    return facts(http.get("/openapi.json"))


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for one in value.values() for ref in references(one)]
    return [ref for one in value for ref in references(one)] if isinstance(value, list) else []


def test_the_page_holds_no_code_and_refers_to_own_files_only(http: httpx.Client) -> None:
    response = sound(http.get("/docs"))
    assert response.headers["content-type"].startswith("text/html")
    page = Page(response.text)
    assert (page.inline, page.handlers) == ("", [])
    assert page.scripts
    assert all(page.scripts)
    own = [address for address in page.addresses if not address.startswith("data:")]
    assert len(own) == 4
    for address in own:
        assert address.startswith("/")
        assert not address.startswith("//")
        assert len(sound(http.get(address)).content) > 100


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui-bundle.js", "javascript"),
        ("docs.js", "javascript"),
        ("swagger-ui.css", "text/css"),
    ],
)
def test_its_files_have_types_that_browsers_accept(
    http: httpx.Client, name: str, media_type: str
) -> None:
    response = sound(http.get(f"/docs/{name}"))
    assert media_type in response.headers["content-type"]  # nosniff is on
    assert b"sourceMappingURL=http" not in response.content


def test_its_policy_lets_no_foreign_or_inline_script_run(http: httpx.Client) -> None:
    policy = sound(http.get("/docs")).headers["content-security-policy"]
    rules = {one.split()[0]: one.split()[1:] for one in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["script-src"] == ["'self'"]
    assert rules["connect-src"] == ["'self'"]
    assert rules["frame-ancestors"] == ["'none'"]
    assert "http" not in policy


def test_the_document_is_whole(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    operations = {
        path: {method for method in found if method != "parameters"}
        for path, found in document["paths"].items()
    }
    for path, methods in ROUTES.items():
        assert operations[path] == methods, path
    for reference in references(document):
        value: Any = document
        for part in reference.removeprefix("#/").split("/"):
            value = value[part]
        assert value
    ids = [one["operationId"] for found in document["paths"].values() for one in found.values()]
    assert len(ids) == len(set(ids))
    for found in document["paths"].values():
        for operation in found.values():
            assert operation["summary"]


def test_documented_problems_are_those_of_the_table(document: dict[str, Any]) -> None:
    for path, found in document["paths"].items():
        for operation in found.values():
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
    for path, found in document["paths"].items():
        named = [one for one in found.get("get", {}).get("parameters", []) if "example" in one]
        if named:
            examples = {
                place: {one["name"]: one["example"] for one in named if one["in"] == place}
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


def test_other_documentation_addresses_are_not_there(http: httpx.Client) -> None:
    for path in ("/redoc", "/docs/", "/docs/nothing.js", "/docs/oauth2-redirect"):
        response = http.get(path)
        if response.status_code != 307:
            assert_problem(response, "not-found")

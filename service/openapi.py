"""The OpenAPI document: FastAPI's, with schemas of negotiated answers and examples that work."""

from __future__ import annotations

import copy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.components import Components
from service.explanations import responses
from service.http.bodies import JSON
from service.http.documented import EVERYWHERE, REFERENCE, REQUEST_ID_HEADER, problems
from service.http.responses import Problem

_NEGOTIATED = (responses.ExplanationAnswer, responses.SheetAnswer)

# What FastAPI says of wrong parameters; here they are problems like all other errors.
_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")


def describe(app: FastAPI, parts: Components) -> None:
    """Make the application answer with this document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
            if parts.settings.root_path:
                app.openapi_schema["servers"] = [{"url": parts.settings.root_path}]
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document["components"].setdefault("schemas", {})
    for model in (*_NEGOTIATED, Problem):
        schema = model.model_json_schema(ref_template=REFERENCE, mode="serialization")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    for name in _FASTAPI_ERRORS:
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"] = _responses(operation["responses"])
    return document


def _responses(documented: dict[str, Any]) -> dict[str, Any]:
    """A route's answers, those that every route has, and the headers of all of them."""
    own = {
        status: answer
        for status, answer in documented.items()
        if not any(f"/{name}" in str(answer) for name in _FASTAPI_ERRORS)
    }
    shared = {str(status): answer for status, answer in problems(*EVERYWHERE).items()}
    return {
        status: {**answer, "headers": {**answer.get("headers", {}), **REQUEST_ID_HEADER}}
        for status, answer in sorted({**own, **shared}.items())
    }


def with_examples(document: dict[str, Any], parts: Components) -> dict[str, Any]:
    """The document with examples that name what this data root really holds. Blocks."""
    document = copy.deepcopy(document)
    for entry in parts.catalog.experiments()[:1]:
        sheet = {"experiment": entry.id}
        bodies = {"contact sheet": {"summary": "One image a class", "value": sheet}}
        known = {"path": entry.id}
        if entry.models:
            known |= {"id": entry.models[0].id, "model": entry.models[0].id}
        for image in parts.catalog.images(entry, "test")[:1]:
            known["image"] = parts.catalog.data.id_of(image.path).removeprefix(f"{entry.id}/")
            value = {**sheet, "image": known["image"], "view": "panel"}
            bodies["one image"] = {"summary": "An image of the root", "value": value}
        _body(document, "/v1/explanations")["examples"] = bodies
        for path in ("/v1/jobs", "/v1/job-plans"):
            _body(document, path)["example"] = {**sheet, "max_images": 10}
        _body(document, "/v1/view-tokens")["example"] = sheet
        for path, operations in document["paths"].items():
            if path.startswith(("/v1/experiments/", "/v1/models/")):
                _name_parameters(operations["get"], known)
    return document


def _body(document: dict[str, Any], path: str) -> dict[str, Any]:
    content: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"][JSON]
    return content


def _name_parameters(operation: dict[str, Any], known: dict[str, str]) -> None:
    for parameter in operation["parameters"]:
        if parameter["name"] in known:
            parameter["example"] = known[parameter["name"]]

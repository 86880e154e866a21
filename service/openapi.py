"""The OpenAPI document: FastAPI's, with schemas of negotiated answers and examples that work."""

from __future__ import annotations

import copy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import responses
from service.components import Components
from service.routes.documented import EVERYWHERE, REFERENCE, REQUEST_ID_HEADER, problems
from service.uploads import JSON

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

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document["components"].setdefault("schemas", {})
    for model in (*_NEGOTIATED, responses.Problem):
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
    found = parts.catalog.experiments()
    body = document["paths"]["/v1/explanations"]["post"]["requestBody"]["content"][JSON]
    body["examples"] = {}
    for entry in found[:1]:
        sheet = {"experiment": entry.id}
        body["examples"]["contact sheet"] = {"summary": "One image a class", "value": sheet}
        for image in parts.catalog.images(entry, "test")[:1]:
            path = parts.catalog.data.id_of(image.path).removeprefix(f"{entry.id}/")
            value = {**sheet, "image": path, "view": "panel"}
            body["examples"]["one image"] = {"summary": "An image of the root", "value": value}
        _example(document, "/v1/experiments/{path}", "path", entry.id)
        _example(document, "/v1/experiments/{path}/images", "path", entry.id)
        for model in entry.models[:1]:
            _example(document, "/v1/models/{id}", "id", model.id)
    return document


def _example(document: dict[str, Any], path: str, parameter: str, value: str) -> None:
    for one in document["paths"][path]["get"]["parameters"]:
        if one["name"] == parameter:
            one["example"] = value

"""Pieces of the OpenAPI document that several routes share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from service.http.middleware import REQUEST_ID
from service.http.problems import MEDIA_TYPE, PROBLEMS

REFERENCE = "#/components/schemas/{model}"
Documented = dict[int | str, dict[str, Any]]

GUARD = ("cross-site-request", "host-not-allowed")
"""Codes that every address may answer with."""

BASIC = (*GUARD, "api-key-required", "api-key-invalid", "rate-limited", "data-unavailable")
"""Codes that every address below /v1 may answer with."""

VIEW_TOKENS = ("view-token-invalid", "view-token-expired")
"""Codes beside them, of addresses that take view tokens."""

IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags of what is at hand: 304 where the answer is one of them",
    "schema": {"type": "string"},
}
"""The header of requests for what is cached, read by the route itself."""

EVERYWHERE = ("method-not-allowed", "internal-error")
"""Codes that every address may answer with."""


def header(description: str, *, required: bool = False, **schema: object) -> dict[str, Any]:
    """A response header; schema: JSON Schema keywords beside its type, which is text."""
    return {
        "description": description,
        "required": required,
        "schema": {"type": "string", **schema},
    }


REQUEST_ID_HEADER: Mapping[str, Any] = MappingProxyType(
    {
        REQUEST_ID: header(
            "the request's own, where it has 1 to 64 letters, digits, dots, dashes or underscores",
            required=True,
            pattern="^[A-Za-z0-9._-]{1,64}$",
        )
    }
)
_RETRY_AFTER = {"Retry-After": header("seconds", required=True, pattern="^[1-9][0-9]*$")}
_HEADERS: Mapping[int, Mapping[str, Any]] = MappingProxyType(
    {
        401: {"WWW-Authenticate": header("how to send the key", required=True)},
        405: {"Allow": header("the methods that there are", required=True)},
        415: {"Accept-Post": header("the media types that are read", required=True)},
        422: {"Link": header("where `too-many-images` are taken as a job")},
        429: _RETRY_AFTER,
        503: _RETRY_AFTER,
    }
)


def problems(*codes: str) -> Documented:
    """The error answers of a route, for its documentation."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[PROBLEMS[code].status].append(code)
    return {
        status: {
            "description": ", ".join(f"`{code}`: {PROBLEMS[code].title}" for code in named),
            "headers": dict(_HEADERS.get(status, {})),
            "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
        }
        for status, named in by_status.items()
    }

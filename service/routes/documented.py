"""Pieces of the OpenAPI document that several routes share."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from service.problems import MEDIA_TYPE, PROBLEMS

REFERENCE = "#/components/schemas/{model}"
Documented = dict[int | str, dict[str, Any]]


def problems(*codes: str) -> Documented:
    """The error answers of a route, for its documentation."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[PROBLEMS[code].status].append(code)
    return {
        status: {
            "description": ", ".join(f"`{code}`: {PROBLEMS[code].title}" for code in found),
            "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
        }
        for status, found in by_status.items()
    }


BASIC = ("api-key-required", "rate-limited")
"""Codes that every address below /v1 may answer with."""

"""Pieces of the API document, as OpenAPI 3.1 has them."""

from __future__ import annotations

from service.http.documented import header, problems
from service.http.problems import PROBLEMS


def test_a_header_is_text_unless_more_is_said() -> None:
    plain = {"description": "seconds", "required": False, "schema": {"type": "string"}}
    assert header("seconds") == plain
    assert header("seconds", required=True, pattern="^[0-9]+$") == {
        "description": "seconds",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    }


def test_codes_of_one_status_stand_together_with_their_headers() -> None:
    answers = problems("api-key-required", "invalid-request", "api-key-invalid", "queue-full")
    assert list(answers) == [401, PROBLEMS["invalid-request"].status, 503]
    titles = [PROBLEMS[code].title for code in ("api-key-required", "api-key-invalid")]
    assert answers[401]["description"] == (
        f"`api-key-required`: {titles[0]}, `api-key-invalid`: {titles[1]}"
    )
    assert set(answers[401]["headers"]) == {"WWW-Authenticate"}
    assert answers[503]["headers"]["Retry-After"]["schema"]["pattern"] == "^[1-9][0-9]*$"
    assert answers[401]["content"] == {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
    }
    assert problems() == {}
    assert problems("job-not-found")[404]["headers"] == {}
